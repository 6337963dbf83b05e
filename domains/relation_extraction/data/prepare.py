"""The verb `prepare`: from a data set to the sample files that a trainer reads, LLaMA-Factory's included."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

from domains.relation_extraction.data.documents import Document
from domains.relation_extraction.data.documents import pretokenize as bring_into_shape
from domains.relation_extraction.data.readers import read_documents
from domains.relation_extraction.data.samples import Sample, Split, build_samples
from domains.relation_extraction.data.sources import labelled_documents
from domains.relation_extraction.model.paradigms import find as find_protocol
from domains.relation_extraction.model.protocol import OFFICIAL, Layout, Protocol
from domains.relation_extraction.model.schema import Schema
from suite.domain import Alias
from suite.errors import InputError
from suite.files import atomic_file, read_json, write_text

_INFO = "dataset_info.json"
_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "history": "history"}


def prepare(
    source: str,
    out: Path,
    *,
    protocol: Annotated[str, Alias("paradigm")] = "suite-v1/D_R_H_F_desc",
    protocol_templates: Path | None = None,
    schema: str = "redocred",
    relation_descriptions: Path | None = None,
    layout: Layout = "three",
    split: Split = "train",
    name: str = "",
    pretokenize: Literal["auto", "docred", "none"] = "auto",
    seed: int = 42,
    shuffles: int | None = None,
    negatives: float = 0.0,
    official_duplicates: bool = False,
    format: str = "auto",
    encoding: str = "utf-8",
) -> dict[str, Any]:
    """Write a labelled data set as training samples (JSON lines, alpaca layout) and list them in dataset_info.json.

    Args:
        source: a labelled file or folder of any format that the suite reads, a part of a file (`dev.json[:400]`), a
            split of the made world (`tiny:train`), or `-` for standard input.
        out: folder for `<name>_<adapter>_<split>.jsonl`, one file an adapter; a `dataset_info.json` that is there
            already is kept and gets the new entries.
        protocol: how the model is asked, `suite-v1/VERSION` or `autore-official/VERSION`; `VERSION` alone is ours.
        protocol_templates: JSON file with the wording of an official protocol that is not shipped (see the docs).
        schema: a built-in schema, or a YAML or JSON file.
        relation_descriptions: a JSON file `{relation name: text}` in place of the schema's descriptions.
        layout: `three` adapters, one a step, or a `single` one for all steps.
        split: `train` or `eval`; of `eval` there are neither shuffles nor negatives.
        name: of the data set; default: that of the source.
        pretokenize: the shape of running text: `docred` (tokens joined by blanks), `none` (as it is), or `auto`: docred
            for the official protocols.
        seed: of shuffles and negatives.
        shuffles: in how many further orders each relation list is repeated; default: as the official data has it.
        negatives: how many absent relations are asked about for each present one (protocols of suite-v1 only).
        official_duplicates: repeat the triples that the official sample files repeat.
        format: of the source, where it cannot be told from it.
        encoding: of the source.

    Returns:
        the files, the number of documents and of samples by adapter, and a `message` for people.

    Raises:
        InputError: the source is malformed or holds no labels, or options do not go together. Nothing is written then.
    """
    chosen = find_protocol(protocol, protocol_templates).require_wording()
    relations = Schema.load(schema)
    if relation_descriptions is not None:
        relations = relations.with_descriptions(relation_descriptions)
    title = _title(name or ("stdin" if source == "-" else Path(source).stem))
    info = _read_info(out / _INFO)
    how = ("docred" if chosen.family == OFFICIAL else "none") if pretokenize == "auto" else pretokenize
    documents = _documents(source, relations, format, encoding)
    samples = build_samples(
        (bring_into_shape(document, how) for document in documents),
        chosen,
        relations,
        layout=layout,
        split=split,
        seed=seed,
        shuffles=shuffles,
        negatives=negatives,
        official_duplicates=official_duplicates,
    )
    paths = {adapter: out / f"{title}_{adapter}_{split}.jsonl" for adapter in _adapters(chosen, layout)}
    count, used = _write_samples(samples, paths, source)
    info |= {path.stem: {"file_name": path.name, "columns": _COLUMNS} for path in paths.values()}
    write_text(out / _INFO, json.dumps(info, ensure_ascii=False, indent=2) + "\n")
    listed = ", ".join(f"{number:,} {adapter}" for adapter, number in count.items())
    return {
        "message": f"{used:,} documents with labels -> {listed} samples in {out}",
        "documents": used,
        "samples": count,
        "files": [str(path) for path in (*paths.values(), out / _INFO)],
        "protocol": chosen.id,
    }


def _documents(source: str, schema: Schema, format: str, encoding: str) -> Iterable[Document]:
    if source == "-":
        return read_documents(source, schema=schema, format=format, encoding=encoding, labelled=True)
    return labelled_documents(source, schema, format=format, encoding=encoding)


def _write_samples(samples: Iterable[Sample], paths: Mapping[str, Path], source: str) -> tuple[dict[str, int], int]:
    """Write the samples of each adapter to its file; return how many each got, and of how many documents."""
    count = dict.fromkeys(paths, 0)
    used, last = 0, None
    with ExitStack() as stack:
        files: dict[str, TextIO] = {
            adapter: stack.enter_context(stack.enter_context(atomic_file(path)).open("w", encoding="utf-8"))
            for adapter, path in paths.items()
        }
        for sample in samples:
            entry = sample.to_dict() | {"id": f"identity_{count[sample.adapter]}"}
            files[sample.adapter].write(json.dumps(entry, ensure_ascii=False) + "\n")
            count[sample.adapter] += 1
            used += sample.document != last
            last = sample.document
        if not used:
            raise InputError(f"{source}: no document has a labelled fact; give labelled documents")
    return count, used


def _adapters(protocol: Protocol, layout: Layout) -> list[str]:
    return list(dict.fromkeys(protocol.adapter(step, layout) for step in protocol.steps))


def _title(name: str) -> str:
    """Return `name` as the beginning of file names."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "dataset"


def _read_info(path: Path) -> dict[str, Any]:
    """Return the entries of a `dataset_info.json`, none where there is no such file.

    Raises:
        InputError: it is there but not a JSON object; it would have to be overwritten.
    """
    if not path.exists():
        return {}
    return read_json(path, "correct it, or choose another --out")
