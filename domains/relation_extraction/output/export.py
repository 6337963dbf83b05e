"""Triples files and what they are exported to. Every writer is all-or-nothing."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.relation_extraction.output import graph as knowledge
from domains.relation_extraction.output.page import render
from domains.relation_extraction.types import Triple
from suite.errors import InputError
from suite.files import atomic_file, write_text

CSV_COLUMNS = ["doc_id", "head", "relation", "pid", "tail", "head_start", "head_end", "tail_start", "tail_end", "score"]


@dataclass(frozen=True)
class Extracted:
    """What every writer gets.

    Attributes:
        texts: the user's text by document id; formats with highlights or offsets need it.
        entities: gold entities by document id, each a list of its spellings; a DocRED submission indexes them.
    """

    triples: Sequence[Triple]
    texts: Mapping[str, str] = field(default_factory=dict)
    entities: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    base_iri: str = knowledge.DEFAULT_BASE_IRI
    max_nodes: int = 60
    escape_formulas: bool = False
    group_by: str = "triple"
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def graph(self) -> knowledge.KnowledgeGraph:
        return knowledge.build(self.triples, self.aliases)


def read_triples(path: str | Path) -> list[Triple]:
    """Read a triples file (JSON lines, one triple or one document with `triples` a line).

    Raises:
        InputError: the file is missing, or a line is not a triple; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such triples file; write one with `suite relation_extraction predict`")
    triples = []
    for number, line in _numbered_lines(path):
        try:
            record = json.loads(line)
            triples += [Triple.from_dict(item) for item in record.get("triples", [record])]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number}: not a triple ({type(error).__name__}: {error}); "
                "each line must be an object as `suite relation_extraction predict` writes it"
            ) from None
    return triples


def read_texts(path: str | Path) -> dict[str, str]:
    """Read a documents file, JSON lines of `{"id": ..., "text": ...}`, as `predict` writes it beside the triples.

    Raises:
        InputError: the file is missing or a line has no `id` or `text`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such documents file; `predict` writes it beside the triples")
    texts = {}
    for number, line in _numbered_lines(path):
        try:
            record = json.loads(line)
            texts[record["id"]] = record["text"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f'{path}, line {number}: expected {{"id": ..., "text": ...}}') from None
    return texts


def _jsonl(data: Extracted) -> str:
    if data.group_by == "triple":
        return _json_lines(triple.to_dict() for triple in data.triples)
    grouped: dict[str, list[dict[str, Any]]] = {name: [] for name in data.texts}
    for triple in data.triples:
        grouped.setdefault(triple.doc_id, []).append(triple.to_dict())
    return _json_lines({"doc_id": name, "triples": triples} for name, triples in grouped.items())


def _documents(data: Extracted) -> str:
    return _json_lines({"id": name, "text": text} for name, text in data.texts.items())


def _table(data: Extracted, delimiter: str) -> str:
    def row(triple: Triple) -> list[Any]:
        head, tail = triple.head, triple.tail
        cells = [triple.doc_id, head.text, triple.relation, triple.pid, tail.text]
        return [*cells, head.start, head.end, tail.start, tail.end, triple.score]

    return _rows([CSV_COLUMNS, *map(row, data.triples)], data.escape_formulas, delimiter)


def _neo4j_nodes(data: Extracted) -> str:
    rows = [[node.key, node.label, ";".join(node.documents)] for node in data.graph.nodes.values()]
    return _rows([[":ID", "label:string", "docs:string[]"], *rows], data.escape_formulas)


def _neo4j_edges(data: Extracted) -> str:
    rows = [[e.head, e.tail, e.relation, e.pid, e.score, ";".join(e.scores)] for e in data.graph.edges]
    header = [":START_ID", ":END_ID", ":TYPE", "pid:string", "score:float", "docs:string[]"]
    return _rows([header, *rows], data.escape_formulas)


def _rdf(data: Extracted, syntax: str) -> str:
    return knowledge.to_rdf(data.graph, data.base_iri).serialize(format=syntax)


def _graphml(data: Extracted) -> str:
    import networkx

    return "\n".join(networkx.generate_graphml(knowledge.to_networkx(data.graph))) + "\n"


def _gexf(data: Extracted) -> str:
    import networkx

    return "\n".join(networkx.generate_gexf(knowledge.to_networkx(data.graph))) + "\n"


def _node_link(data: Extracted) -> str:
    import networkx

    record = networkx.node_link_data(knowledge.to_networkx(data.graph), edges="links")
    return json.dumps(record, ensure_ascii=False, indent=1) + "\n"


def _docred(data: Extracted) -> str:
    """A string names every entity that has it as a mention, and every combination is submitted.

    Documents without gold entities are indexed by the order of their own entities in the graph.
    """
    by_document: dict[str, list[Triple]] = defaultdict(list)
    for triple in data.triples:
        by_document[triple.doc_id].append(triple)
    rows = []
    for title, triples in by_document.items():
        entities = data.entities.get(title) or [
            [n.label, *n.spellings] for n in knowledge.build(triples).nodes.values()
        ]
        index: dict[str, list[int]] = defaultdict(list)
        for number, spellings in enumerate(entities):
            for spelling in dict.fromkeys(spellings):
                index[spelling].append(number)
        for triple in triples:
            for head in index[triple.head.text]:
                for tail in index[triple.tail.text]:
                    rows.append({"title": title, "h_idx": head, "t_idx": tail, "r": triple.pid or triple.relation})
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def _langextract(data: Extracted) -> str:
    def interval(start: int | None, end: int | None) -> dict[str, int | None] | None:
        return None if start is None else {"start_pos": start, "end_pos": end}

    records: dict[str, dict[str, Any]] = {
        name: {"document_id": name, "text": text, "extractions": []} for name, text in data.texts.items()
    }
    for triple in data.triples:
        head, tail = triple.head, triple.tail
        attributes = {
            "head": head.text,
            "relation": triple.relation,
            "tail": tail.text,
            "tail_interval": interval(tail.start, tail.end),
        }
        extraction = {
            "extraction_class": "triple",
            "extraction_text": head.text,
            "char_interval": interval(head.start, head.end),
            "attributes": attributes,
        }
        record = records.setdefault(triple.doc_id, {"document_id": triple.doc_id, "text": None, "extractions": []})
        record["extractions"].append(extraction)
    return _json_lines(records.values())


def _html(data: Extracted) -> str:
    return render(data.triples, data.texts)


def _write_picture(data: Extracted, path: Path) -> list[Path]:
    from suite.media import graph, plots

    figure = graph.draw(data.graph.labelled(), max_nodes=data.max_nodes)
    return [plots.save(figure, path)]


def _write_brat(data: Extracted, folder: Path) -> list[Path]:
    """One `.txt` and one `.ann` a document; triples without offsets have no place in stand-off annotation."""
    by_document: dict[str, list[Triple]] = {name: [] for name in data.texts}
    for triple in data.triples:
        if triple.doc_id in by_document and triple.head.mentions and triple.tail.mentions:
            by_document[triple.doc_id].append(triple)
    written = []
    for number, (name, triples) in enumerate(by_document.items()):
        stem = f"{number:04d}_{_file_name(name)}"
        text = data.texts[name]
        spans: dict[tuple[int, int], str] = {}
        relations: list[str] = []
        for triple in triples:
            ends = []
            for argument in (triple.head, triple.tail):
                place = (argument.mentions[0].start, argument.mentions[0].end)
                ends.append(spans.setdefault(place, f"T{len(spans) + 1}"))
            kind = "".join(c if c.isalnum() else "_" for c in triple.relation)
            relations.append(f"R{len(relations) + 1}\t{kind} Arg1:{ends[0]} Arg2:{ends[1]}")
        # brat reads one annotation a line, so a mention that runs over a line break shows a blank there.
        entities = [f"{key}\tEntity {a} {b}\t{' '.join(text[a:b].splitlines())}" for (a, b), key in spans.items()]
        written.append(write_text(folder / f"{stem}.txt", text))
        written.append(write_text(folder / f"{stem}.ann", "".join(f"{line}\n" for line in [*entities, *relations])))
    return written


@dataclass(frozen=True)
class _Format:
    """A format: its files (`{stem}` is filled in) with the function that makes each one's text, or one `write`."""

    texts: Mapping[str, Callable[[Extracted], str]] = field(default_factory=dict)
    write: Callable[[Extracted, Path], list[Path]] | None = None
    path: str = ""
    needs_text: bool = False


FORMATS: Mapping[str, _Format] = {
    "jsonl": _Format({"{stem}.triples.jsonl": _jsonl, "{stem}.documents.jsonl": _documents}),
    "csv": _Format({"{stem}.triples.csv": lambda data: _table(data, ",")}),
    "tsv": _Format({"{stem}.triples.tsv": lambda data: _table(data, "\t")}),
    "neo4j": _Format({"{stem}.nodes.csv": _neo4j_nodes, "{stem}.edges.csv": _neo4j_edges}),
    "ntriples": _Format({"{stem}.nt": lambda data: _rdf(data, "nt11")}),
    "turtle": _Format({"{stem}.ttl": lambda data: _rdf(data, "turtle")}),
    "graphml": _Format({"{stem}.graphml": _graphml}),
    "gexf": _Format({"{stem}.gexf": _gexf}),
    "node-link": _Format({"{stem}.graph.json": _node_link}),
    "html": _Format({"{stem}.html": _html}),
    "docred": _Format({"{stem}.docred.json": _docred}),
    "langextract": _Format({"{stem}.langextract.jsonl": _langextract}, needs_text=True),
    "brat": _Format(write=_write_brat, path="{stem}.brat", needs_text=True),
    "png": _Format(write=_write_picture, path="{stem}.graph.png"),
    "svg": _Format(write=_write_picture, path="{stem}.graph.svg"),
}
DEFAULT_FORMATS = ("jsonl", "csv", "html", "png")


def check_formats(formats: Iterable[str]) -> list[str]:
    """The formats without repeats, `all` spelled out.

    Raises:
        InputError: a name is not a format.
    """
    wanted = list(dict.fromkeys(formats))
    if "all" in wanted:
        return list(FORMATS)
    for name in wanted:
        if name not in FORMATS:
            raise InputError(f"unknown export format {name!r}; choose from {', '.join(FORMATS)} or all")
    return wanted


def write(data: Extracted, folder: str | Path, stem: str, formats: Iterable[str] = DEFAULT_FORMATS) -> list[Path]:
    """Write `data` into `folder` in each format; return the files.

    Raises:
        InputError: a format is unknown, or needs the documents' text and there is none.
    """
    if data.group_by not in ("triple", "doc"):
        raise InputError(f"group_by is {data.group_by!r}; choose triple or doc")
    folder, written, stem = Path(folder), [], _file_name(stem)
    for name in check_formats(formats):
        form = FORMATS[name]
        if form.needs_text and not data.texts:
            raise InputError(f"format {name} needs the documents' text; give the documents file that predict wrote")
        for file_name, make in form.texts.items():
            with atomic_file(folder / file_name.format(stem=stem)) as temporary:
                temporary.write_text(make(data), encoding="utf-8", newline="")
            written.append(folder / file_name.format(stem=stem))
        if form.write:
            written += form.write(data, folder / form.path.format(stem=stem))
    return written


def export(
    triples: Path,
    out: Path,
    formats: list[str] | None = None,
    documents: Path | None = None,
    aliases: Path | None = None,
    base_iri: str = knowledge.DEFAULT_BASE_IRI,
    max_nodes: int = 60,
    escape_formulas: bool = False,
    group_by: str = "triple",
) -> dict[str, Any]:
    """Export a triples file to other formats: tables, graphs, RDF, annotations, pictures.

    Args:
        triples: file that `predict` wrote (JSON lines).
        out: folder for the exports.
        formats: any of jsonl, csv, tsv, neo4j, ntriples, turtle, graphml, gexf, node-link, html, docred, langextract,
            brat, png, svg; `all` for every one. Default: jsonl, csv, html, png.
        documents: documents file beside it; found by its name when left out.
        aliases: JSON object from spelling to canonical spelling, for merging entities.
        base_iri: under which entities and relations without a Wikidata property are named in RDF.
        max_nodes: the picture keeps this many best-connected entities.
        escape_formulas: put an apostrophe before CSV cells that a spreadsheet would run as a formula.
        group_by: `triple` or `doc`: what one line of the JSONL holds.
    """
    stem = triples.name.removesuffix(".jsonl").removesuffix(".triples")
    beside = triples.with_name(f"{stem}.documents.jsonl")
    texts = read_texts(documents) if documents else read_texts(beside) if beside.is_file() else {}
    table = _read_aliases(aliases) if aliases else {}
    data = Extracted(read_triples(triples), texts, {}, base_iri, max_nodes, escape_formulas, group_by, table)
    written = write(data, out, stem, formats or DEFAULT_FORMATS)
    return {
        "triples": len(data.triples),
        "files": [str(path) for path in written],
        "message": f"{len(data.triples)} triples exported: " + ", ".join(str(path) for path in written),
    }


def diff(before: Path, after: Path) -> dict[str, Any]:
    """Compare two triples files document by document: added, removed and changed facts.

    Args:
        before: the first triples file.
        after: the second triples file.
    """
    found = knowledge.difference(read_triples(before), read_triples(after))
    lines = [f"+ {_line(triple)}" for triple in found.added] + [f"- {_line(triple)}" for triple in found.removed]
    lines += [f"~ {_line(old)} -> {new.relation}" for old, new in found.changed]
    summary = (
        f"{len(found.added)} added, {len(found.removed)} removed, {len(found.changed)} changed, {found.unchanged} equal"
    )
    return {
        "added": [triple.to_dict() for triple in found.added],
        "removed": [triple.to_dict() for triple in found.removed],
        "changed": [{"before": old.to_dict(), "after": new.to_dict()} for old, new in found.changed],
        "unchanged": found.unchanged,
        "message": "\n".join([*lines, summary]),
    }


def _line(triple: Triple) -> str:
    return f"[{triple.doc_id}] {triple.head.text} | {triple.relation} | {triple.tail.text}"


def _read_aliases(path: Path) -> dict[str, str]:
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read the alias table ({error})") from None
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise InputError(f"{path}: the alias table must be a JSON object from spelling to canonical spelling")
    return table


# JSON may hold them as they are, but many readers (str.splitlines, for one) would break the line there.
_LINE_BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def _numbered_lines(path: Path) -> list[tuple[int, str]]:
    # Not splitlines: a JSON string may hold U+2028 and its like as they are.
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _json_lines(records: Iterable[Mapping[str, Any]]) -> str:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return text.translate(_LINE_BREAKS)


def _rows(rows: Iterable[Sequence[Any]], escape_formulas: bool, delimiter: str = ",") -> str:
    def cell(value: Any) -> Any:
        # Only text: a negative number is no formula.
        return (
            f"'{value}"
            if escape_formulas and isinstance(value, str) and value.startswith(("=", "+", "-", "@"))
            else value
        )

    buffer = io.StringIO()
    # RFC 4180 ends records with CRLF and doubles quotes inside quoted cells.
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\r\n")
    writer.writerows([[cell(value) for value in row] for row in rows])
    return buffer.getvalue()


def _file_name(text: str) -> str:
    cleaned = "".join(c if c.isalnum() or c in "-_." else "_" for c in text).strip(".")
    return cleaned[:80] or "document"
