"""The verb `evaluate`: AutoRE's and DocRED's scores of an adapter, of one step alone, or of the gold answers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from domains.relation_extraction.data.documents import Document, Group, alias_groups, pretokenize, refine
from domains.relation_extraction.data.sources import labelled_documents
from domains.relation_extraction.evaluation.docred import (
    TrainFacts,
    official_evaluate_benchmark,
    predictions_of,
    train_facts,
    truth_of,
)
from domains.relation_extraction.inference.pipeline import Extraction, MockEngine, PipelineOptions, Plan, extract
from domains.relation_extraction.metrics import DropCounts, Report, score_facts, score_heads, score_relations
from domains.relation_extraction.model.protocol import OFFICIAL, Protocol
from domains.relation_extraction.model.protocol import protocol as find_protocol
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.types import Call
from suite.errors import InputError
from suite.files import write_text

Component = Literal["relation", "subject", "facts"]

_EVERYTHING = sys.maxsize


@dataclass(frozen=True)
class Gold:
    """A labelled document and its facts as groups of alias triples."""

    document: Document
    groups: tuple[Group, ...]

    @cached_property
    def blind(self) -> Document:
        """The document as a model may see it: its text alone."""
        return replace(self.document, entities=(), facts=())

    @property
    def relations(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(group.relation for group in self.groups))

    def heads(self, relation: str) -> tuple[str, ...]:
        names = (head for group in self.groups if group.relation == relation for head in group.heads)
        return tuple(dict.fromkeys(names))

    def triples(self, relation: str | None = None, head: str | None = None) -> list[tuple[str, str, str]]:
        """The distinct gold triples, of one relation or head if given."""
        found = dict.fromkeys(triple for group in self.groups for triple in group.triples)
        return [t for t in found if relation in (None, t[1]) and head in (None, t[0])]


def gold_documents(
    data: str, schema: Schema, *, shape: str = "none", format: str = "auto", encoding: str = "utf-8"
) -> list[Gold]:
    """Read labelled documents as AutoRE refines them; documents without a label are left out.

    Args:
        data: a file, a part of one, or a split of the made world (see `sources.labelled_documents`).
        shape: how passages are given to the model (see `documents.pretokenize`).

    Raises:
        InputError: a document is malformed, two have one title, or none has a label.
    """
    read = labelled_documents(data, schema, format=format, encoding=encoding)
    refined = (refine(pretokenize(document, shape)) for document in read)
    gold = [Gold(document, tuple(alias_groups(document))) for document in refined if document is not None]
    if not gold:
        raise InputError(f"data {data}: no document has a label; give a labelled file")
    return gold


def default_schema(data: str) -> str:
    """The schema that `data` is labelled with where nothing else is said."""
    return "tiny" if data.startswith("tiny:") else "redocred"


def gold_plan(component: str) -> Callable[[Document], Plan]:
    """What the test of one step is asked: gold relations (`subject`), or gold relations with gold heads (`facts`)."""

    def plan(document: Document) -> Plan:
        gold = Gold(document, tuple(alias_groups(document)))
        return {name: gold.heads(name) if component == "facts" else None for name in gold.relations}

    return plan


def oracle(gold: Sequence[Gold], protocol: Protocol, schema: Schema) -> Iterator[Extraction]:
    """Yield what gold answers to every call give through AutoRE's own parser: the upper bound of a paradigm."""
    by_text = {one.document.text: one for one in gold}

    def answer(call: Call) -> str:
        one = by_text[call.passage]
        if call.step == "relation":
            return protocol.answer("relation", one.relations)
        if call.step == "subject":
            return protocol.answer("subject", one.heads(call.relation or ""))
        return protocol.answer("fact", one.triples(call.relation, call.head))

    # Many relations and triples are gold: the limits that guard against models do not apply.
    options = PipelineOptions(mode="strict", max_relations=_EVERYTHING, max_heads=_EVERYTHING, max_triples=_EVERYTHING)
    yield from extract((one.blind for one in gold), MockEngine(answer), protocol, schema, options)


@dataclass
class Evaluation:
    """The scores of what was extracted from gold documents.

    Attributes:
        schema: gives the property ids of DocRED's score.
        component: the one step that is scored; None: the whole way from passage to triples.
    """

    schema: Schema
    component: Component | None = None
    scores: list[Any] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)
    submission: list[dict[str, Any]] = field(default_factory=list)
    drops: DropCounts = field(default_factory=DropCounts)
    calls: int = 0

    def add(self, gold: Gold, parts: Iterable[Extraction]) -> None:
        """Score one document.

        Args:
            parts: what its chunks gave, in order.
        """
        parts = list(parts)
        for part in parts:
            self.drops.add(part)
            self.calls += len(part.answers)
        if self.component == "relation":
            answers = (answer for part in parts for answer in part.answers if answer.call.step == "relation")
            self.scores.append(score_relations(gold.relations, (n for answer in answers for n in answer.parsed.items)))
        elif self.component == "subject":
            heads: dict[str, dict[str, None]] = {}
            for part in parts:
                for relation, names in part.heads.items():
                    heads.setdefault(relation, {}).update(dict.fromkeys(names))
            self.scores.append(score_heads(gold.groups, heads))
        else:
            calls = [triples for part in parts for triples in part.facts_by_call]
            self.add_triples(gold, calls)

    def add_triples(self, gold: Gold, calls: Sequence[Iterable[tuple[str, str, str]]]) -> None:
        """Score the triples of one document, call by call."""
        self.scores.append(score_facts(gold.groups, calls))
        pids = {relation.name: relation.pid for relation in self.schema}
        self.truth.append(truth_of(gold.document))
        self.submission += predictions_of(gold.document, (triple for call in calls for triple in call), pids)

    @property
    def report(self) -> Report:
        return Report(tuple(self.scores))

    def to_dict(
        self, resamples: int = 1000, annotated: TrainFacts = frozenset(), distant: TrainFacts = frozenset()
    ) -> dict[str, Any]:
        """All scores: AutoRE's at the top, DocRED's under `docred`."""
        result: dict[str, Any] = {**self.report.to_dict(resamples), "calls": self.calls}
        result["dropped"] = self.drops.to_dict()
        if self.truth:
            score = official_evaluate_benchmark(self.submission, self.truth, annotated, distant)
            result["docred"] = score.to_dict()
        return result


def evaluate(
    data: str,
    *,
    adapter: str = "tiny",
    base: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    oracle: bool = False,
    paradigm: str | None = None,
    protocol_templates: Path | None = None,
    component: Component | None = None,
    frozen: bool = False,
    schema: str | None = None,
    relation_descriptions: Path | None = None,
    mode: Literal["auto", "strict", "lenient"] = "auto",
    constrained: bool | None = None,
    decoding: Literal["greedy", "official"] = "greedy",
    seed: int = 0,
    max_new_tokens: int = 1024,
    batch_size: int = 0,
    train_annotated: Path | None = None,
    train_distant: Path | None = None,
    resamples: int = 1000,
    format: str = "auto",
    encoding: str = "utf-8",
    out: Path | None = None,
) -> dict[str, Any]:
    """Score an adapter on labelled documents: AutoRE's F1 and DocRED's F1 from the passage alone.

    Args:
        data: a labelled file of any format that the suite reads, a part of one (`dev.json[:100]`), or a split of the
            made world (`tiny:test`).
        adapter: reference of the adapter.
        base: reference of its base; the one that the adapter names by default.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16, float16 or nf4.
        oracle: score the gold answers, read by AutoRE's own parser: the upper bound of a paradigm; needs no model.
        paradigm: with --oracle the version to bound (D_R_H_F_desc by default); else `zero-shot` or the adapter's own.
        protocol_templates: JSON file with the wording of an official protocol that is not shipped (see the docs).
        component: test one step alone: relation; subject with gold relations; facts with gold relations and heads.
        frozen: ask the base without its adapters, with the same prompts.
        schema: relations of the data; the adapter's by default (with --oracle redocred, or tiny for the made world).
        relation_descriptions: JSON file `{relation: description}` in place of the schema's.
        mode: how answers are read; auto is strict (AutoRE's parser) for its own protocols, lenient for ours.
        constrained: allow well-formed answers only; by default for our protocols.
        decoding: greedy, or official: sampled with the values of AutoRE's code.
        seed: of the sampling.
        max_new_tokens: longest answer.
        batch_size: calls side by side; 0 chooses by free memory.
        train_annotated: DocRED's annotated train file, for Ign F1.
        train_distant: DocRED's distantly supervised train file, for Ign F1.
        resamples: of the bootstrap interval of F1.
        format: of the data, where it cannot be told from it.
        encoding: of the data.
        out: folder for metrics.json, per_relation.csv and the DocRED submission.

    Returns:
        AutoRE's `tp`, `fp`, `miss`, `precision`, `recall`, `f1`, `macro`, `f1_interval`; DocRED's under `docred`;
        dropped lines by step and reason; calls, tokens and seconds.

    Raises:
        InputError: data, adapter or options are wrong.
    """
    if oracle and (component or frozen):
        raise InputError("--oracle bounds a whole paradigm; leave out --component and --frozen")
    facts = [_train_facts(path) for path in (train_annotated, train_distant)]
    start = time.perf_counter()
    if oracle:
        evaluation, about = _oracle(data, paradigm, schema, format, encoding)
    else:
        query = {
            "schema": schema,
            "relation_descriptions": relation_descriptions,
            "constrained": constrained,
            "decoding": decoding,
            "seed": seed,
            "max_new_tokens": max_new_tokens,
            "batch_size": batch_size,
            "paradigm": paradigm,
            "protocol_templates": protocol_templates,
        }
        from domains.relation_extraction.evaluation.judge import judge

        evaluation, about = judge(
            data,
            {"adapter": adapter, "base": base, "device": device, "dtype": dtype},
            query,
            mode=mode,
            component=component,
            frozen=frozen,
            format=format,
            encoding=encoding,
        )
    scores = evaluation.to_dict(resamples, *facts)
    seconds = round(time.perf_counter() - start, 3)
    result = {**about, **scores, "seconds": seconds}
    if out is not None:
        result["files"] = _write(out, evaluation, result)
    return {"message": _message(result, evaluation), **result}


def _oracle(
    data: str, paradigm: str | None, schema: str | None, format: str, encoding: str
) -> tuple[Evaluation, dict[str, Any]]:
    asked = paradigm or "D_R_H_F_desc"
    chosen = find_protocol(asked if "/" in asked else f"{OFFICIAL}/{asked}")
    relations = Schema.load(schema or default_schema(data))
    gold = gold_documents(data, relations, format=format, encoding=encoding)
    evaluation = Evaluation(relations)
    for one, extraction in zip(gold, oracle(gold, chosen, relations), strict=True):
        evaluation.add(one, [extraction])
    return evaluation, {"data": data, "oracle": True, "protocol": chosen.id}


def _train_facts(path: Path | None) -> TrainFacts:
    if path is None:
        return frozenset()
    try:
        return train_facts(json.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give DocRED's train file") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: not a DocRED train file ({type(error).__name__}: {error}); give its JSON") from error


def _write(out: Path, evaluation: Evaluation, result: Mapping[str, Any]) -> list[str]:
    files = {
        "metrics.json": json.dumps(result, ensure_ascii=False, indent=2) + "\n",
        "per_relation.csv": evaluation.report.csv(),
    }
    if evaluation.truth:
        # What names no entity has no indices to submit; it lowers our precision, not the submission's.
        named = [one for one in evaluation.submission if one["h_idx"] >= 0]
        files["submission.json"] = json.dumps(named, ensure_ascii=False) + "\n"
    return [str(write_text(out / name, text)) for name, text in files.items()]


def _message(result: Mapping[str, Any], evaluation: Evaluation) -> str:
    low, high = result["f1_interval"]
    what = f"{evaluation.component} step" if evaluation.component else "triples"
    lines = [
        f"{result['documents']} documents, {what}, protocol {result['protocol']}",
        f"tp {result['tp']:,}  fp {result['fp']:,}  miss {result['miss']:,}",
        f"AutoRE  P {result['precision']:.4f}  R {result['recall']:.4f}  F1 {result['f1']:.4f} "
        f"[{low:.4f}, {high:.4f}]  macro F1 {result['macro']['f1']:.4f}",
    ]
    if docred := result.get("docred"):
        lines.append(
            f"DocRED  P {docred['precision']:.4f}  R {docred['recall']:.4f}  F1 {docred['f1']:.4f}  "
            f"intra {docred['f1_intra']:.4f}  inter {docred['f1_inter']:.4f}"
        )
    for step, reasons in result["dropped"].items():
        lines.append(f"dropped in {step}: " + ", ".join(f"{reason} {count}" for reason, count in reasons.items()))
    lines.append(f"{result['calls']:,} calls, {result['seconds']:.1f} s")
    return "\n".join([*lines, "", evaluation.report.table(20), *result.get("files", ())])
