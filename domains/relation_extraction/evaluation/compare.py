"""The verb `compare`: one table of several systems on the same documents."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from domains.relation_extraction.evaluation.docred import official_evaluate, triples_of
from domains.relation_extraction.evaluation.gold import Gold, default_schema, gold_documents, oracle
from domains.relation_extraction.evaluation.peers import PEERS, Strings, read_peer, read_submission
from domains.relation_extraction.evaluation.scores import Evaluation
from domains.relation_extraction.inference.parsing import locate, relation_name
from domains.relation_extraction.model.paradigms import PARADIGMS
from domains.relation_extraction.model.paradigms import find as find_protocol
from domains.relation_extraction.model.protocol import OFFICIAL
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError
from suite.files import write_text
from suite.tables import aligned, records_csv

MODELS = ("adapter", "frozen", "zero-shot")
KINDS = (*MODELS, "oracle", *PEERS)

# Classifiers over given entities are far ahead of systems that read the text alone; a table must tell them apart.
_SEES = {"oracle": "gold answers", "docred": "gold entities", "glirel": "given entities"}


@dataclass(frozen=True)
class SystemScores:
    """One system.

    Attributes:
        sees: what it was given: the text alone, entities too, or the gold answers.
        f1: AutoRE's, like precision and recall; `docred_f1`: DocRED's, over entity pairs.
        dropped: predictions left out because the schema has no such relation.
        calls, tokens, seconds: of the model; None where a peer's file does not tell. Tokens are those that went through
            the model, prompts and answers.
    """

    system: str
    kind: str
    sees: str
    precision: float
    recall: float
    f1: float
    docred_f1: float
    tp: int
    fp: int
    miss: int
    dropped: int = 0
    calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None


def compare(
    data: str,
    runs: tuple[str, ...],
    *,
    schema: str | None = None,
    base: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int = 0,
    max_new_tokens: int = 1024,
    format: str = "auto",
    encoding: str = "utf-8",
    out: Path | None = None,
) -> dict[str, Any]:
    """Compare adapters, paradigms and the output files of other systems on the same labelled documents.

    Args:
        data: a labelled file, a part of one (`dev.json[:100]`), or a split of the made world (`tiny:test`).
        runs: what to compare (after --runs separated by commas), each `KIND:WHAT` or `NAME=KIND:WHAT`. Kinds: adapter,
            frozen (its base without it, same prompts) and zero-shot (its base, a plain prompt), each with an adapter's
            reference; oracle with a paradigm; docred, rebel, glirel, langextract or triples with a file.
        schema: relations of the data; redocred by default, tiny for the made world.
        base: reference of the base of all adapters; the one that each names by default.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16, float16 or nf4.
        batch_size: calls side by side; 0 chooses by free memory.
        max_new_tokens: longest answer.
        format: of the data, where it cannot be told from it.
        encoding: of the data.
        out: folder for comparison.csv and comparison.json.

    Returns:
        `rows`, one a run: precision, recall and both F1, what the system was given, calls, tokens, seconds.

    Raises:
        InputError: a run is not one of these, or its file or the data are malformed.
    """
    wanted = [_split(run) for run in runs]
    if not wanted:
        raise InputError("nothing to compare; give runs such as adapter:tiny, oracle:D_F or rebel:FILE")
    for name, kind, what in wanted:  # before any model works for minutes
        if kind in PEERS and not Path(what).is_file():
            raise InputError(f"run {name!r}: {what}: no such file; give the output of {kind}")
    schema = schema or default_schema(data)
    relations = Schema.load(schema)
    gold = gold_documents(data, relations, format=format, encoding=encoding)
    source = {"base": base, "device": device, "dtype": dtype}
    query = {"batch_size": batch_size, "max_new_tokens": max_new_tokens, "schema": schema}
    rows, notices = [], []
    for name, kind, what in wanted:
        if kind in MODELS:
            reading = {"format": format, "encoding": encoding}
            rows.append(_model_row(name, kind, data, {"adapter": what, **source}, query, reading))
        elif kind == "oracle":
            rows.append(_oracle_row(name, what, gold, relations))
        else:
            row, notice = _peer_row(name, kind, Path(what), gold, relations)
            rows.append(row)
            notices += notice
    records = [asdict(row) for row in rows]
    files = _write(out, rows) if out is not None else []
    return {
        "message": "\n".join([_table(rows), *notices, *files]),
        "documents": sum(bool(one.groups) for one in gold),
        "rows": records,
        "notices": notices,
        "files": files,
    }


def _split(run: str) -> tuple[str, str, str]:
    """Name, kind and argument of `[NAME=]KIND:WHAT`."""
    head, _, what = run.partition(":")
    name, equals, kind = head.rpartition("=")
    if kind not in KINDS or not what:
        raise InputError(f"run {run!r}: write KIND:WHAT or NAME=KIND:WHAT with a kind of {', '.join(KINDS)}")
    return (name if equals else run), kind, what


def _row(name: str, kind: str, evaluation: Evaluation, docred_f1: float | None = None, **cost: Any) -> SystemScores:
    counts = evaluation.report.micro
    if docred_f1 is None:
        docred_f1 = official_evaluate(evaluation.submission, evaluation.truth).f1
    ratios = (counts.precision, counts.recall, counts.f1)
    return SystemScores(
        name, kind, _SEES.get(kind, "text"), *ratios, docred_f1, counts.tp, counts.fp, counts.miss, **cost
    )


def _model_row(
    name: str, kind: str, data: str, source: dict[str, Any], query: dict[str, Any], reading: dict[str, Any]
) -> SystemScores:
    from domains.relation_extraction.evaluation.judge import judge

    options = {**query, "paradigm": "zero-shot" if kind == "zero-shot" else None}
    evaluation, about = judge(data, source, options, frozen=kind == "frozen", **reading)
    cost = about["cost"]
    return _row(
        name,
        kind,
        evaluation,
        dropped=sum(sum(reasons.values()) for reasons in evaluation.drops.to_dict().values()),
        calls=cost["calls"],
        tokens=cost["prefilled_tokens"] + cost["generated_tokens"],
        seconds=round(cost["seconds"], 3),
    )


def _oracle_row(name: str, paradigm: str, gold: Sequence[Gold], schema: Schema) -> SystemScores:
    if "/" not in paradigm and paradigm not in PARADIGMS:
        raise InputError(f"run {name!r}: unknown paradigm {paradigm!r}; choose one of {', '.join(PARADIGMS)}")
    protocol = find_protocol(paradigm if "/" in paradigm else f"{OFFICIAL}/{paradigm}")
    start, evaluation = time.perf_counter(), Evaluation(schema)
    gold = [one for one in gold if one.groups]
    for one, extraction in zip(gold, oracle(gold, protocol, schema), strict=True):
        evaluation.add(one, [extraction])
    return _row(name, "oracle", evaluation, calls=evaluation.calls, seconds=round(time.perf_counter() - start, 3))


def _peer_row(name: str, kind: str, path: Path, gold: Sequence[Gold], schema: Schema) -> tuple[SystemScores, list[str]]:
    """Score a peer's file on the gold documents; also what people should know about it."""
    ids = [one.document.id for one in gold]
    notices, docred_f1 = [], None
    if kind == "docred":
        submission = read_submission(path)
        by_title = {title: [one for one in submission if one["title"] == title] for title in ids}
        names = {relation.pid: relation.name for relation in schema if relation.pid}
        found = {one.document.id: triples_of(one.document, by_title[one.document.id], names) for one in gold}
        given = {one["title"] for one in submission}
    else:
        found = read_peer(kind, path, ids)
        given = set(found)
    if not given & set(ids):
        raise InputError(f"{path}: none of its documents is among the {len(ids)} of the data; ids must be their titles")
    labelled = {one.document.id for one in gold if one.groups}
    if missing := len(labelled - given):
        notices.append(f"{name}: nothing about {missing} of {len(labelled)} documents, which counts as misses")
    if outside := len(given - set(ids)):
        counted = ", which counts as wrong in DocRED's F1" if kind == "docred" else ""
        notices.append(f"{name}: {outside} documents are not in the data and were left out{counted}")
    evaluation, dropped = Evaluation(schema), 0
    for one in gold:
        triples = found.get(one.document.id, [])
        grounded = [_grounded(triple, one, schema) for triple in triples]
        kept = [triple for triple in dict.fromkeys(grounded) if triple is not None]
        dropped += grounded.count(None)
        evaluation.add_triples(one, [kept])
    if kind == "docred":
        # Unknown titles stay in the denominator, as in the official script.
        docred_f1 = official_evaluate(submission, evaluation.truth).f1
    if dropped:
        notices.append(f"{name}: {dropped} triples of relations that schema {schema.name} lacks were left out")
    return _row(name, kind, evaluation, docred_f1, dropped=dropped), notices


def _grounded(triple: Strings, gold: Gold, schema: Schema) -> Strings | None:
    """A peer's triple in the words of the passage, as our own answers are read; None: no such relation."""
    head, relation, tail = triple
    name = relation_name(relation, schema)
    if name not in schema:
        return None
    text = gold.document.text
    return locate(head, text) or head, name, locate(tail, text) or tail


def _number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


_COLUMNS: tuple[tuple[str, Callable[[SystemScores], str]], ...] = (
    ("system", lambda row: row.system),
    ("given", lambda row: row.sees),
    ("P", lambda row: f"{row.precision:.4f}"),
    ("R", lambda row: f"{row.recall:.4f}"),
    ("F1", lambda row: f"{row.f1:.4f}"),
    ("DocRED F1", lambda row: f"{row.docred_f1:.4f}"),
    ("calls", lambda row: _number(row.calls)),
    ("tokens", lambda row: _number(row.tokens)),
    ("seconds", lambda row: _number(row.seconds)),
)


def _table(rows: Sequence[SystemScores]) -> str:
    return aligned([[title for title, _ in _COLUMNS], *([show(row) for _, show in _COLUMNS] for row in rows)], left=2)


def _write(out: Path, rows: Sequence[SystemScores]) -> list[str]:
    records = [asdict(row) for row in rows]
    text = json.dumps(records, ensure_ascii=False, indent=2) + "\n"
    return [
        str(write_text(out / "comparison.csv", records_csv(records))),
        str(write_text(out / "comparison.json", text)),
    ]
