"""An adapter on gold documents: what it extracts from their text alone, scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Literal

from domains.relation_extraction.data.documents import Document
from domains.relation_extraction.evaluation.gold import Component, Gold, gold_documents, gold_plan
from domains.relation_extraction.evaluation.scores import Evaluation
from domains.relation_extraction.inference.extraction import Extraction
from domains.relation_extraction.inference.loaded import to_stderr
from domains.relation_extraction.inference.session import Session
from domains.relation_extraction.model.protocol import OFFICIAL
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.predict import RelationExtractor
from domains.relation_extraction.types import ExtractionQuery


def judge(
    data: str,
    source: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    mode: Literal["auto", "strict", "lenient"] = "auto",
    component: Component | None = None,
    frozen: bool = False,
    format: str = "auto",
    encoding: str = "utf-8",
) -> tuple[Evaluation, dict[str, Any]]:
    """Score an adapter.

    Args:
        data: labelled documents (see `evaluate.gold_documents`).
        source: arguments of `RelationExtractor.from_pretrained`.
        options: fields of `ExtractionQuery`, without `mode`.
        mode: how answers are read; auto is strict for AutoRE's protocols.

    Returns:
        the scores, and what they are scores of: data, adapter, base, protocol, reading mode, cost.

    Raises:
        InputError: data, adapter or an option is wrong.
    """
    extractor = RelationExtractor.from_pretrained(**source)
    wording = extractor.wording
    chosen = ("strict" if wording.protocol.family == OFFICIAL else "lenient") if mode == "auto" else mode
    query = ExtractionQuery(**options, mode=chosen)
    schema = wording.schema if query.schema is None else Schema.of(query.schema)
    gold = gold_documents(data, schema, shape=wording.pretokenize, format=format, encoding=encoding)
    if component is not None:  # AutoRE tests its steps on documents that have something to find
        gold = [one for one in gold if one.groups]
    asked = _asked(component, {one.document.id: one for one in gold})
    evaluation = Evaluation(schema, component)
    with Session(extractor, query, to_stderr, asked=asked, frozen=frozen) as run:
        for one, parts in zip(gold, _parts(run, (one.blind for one in gold)), strict=True):
            evaluation.add(one, parts)
        protocol = run.wording.protocol.id
        cost = asdict(run.engine.counters)
    about = {
        "data": data,
        "adapter": None if run.bare else extractor.adapter,
        "base": extractor.base,
        "protocol": protocol,
        "component": component,
        "mode": chosen,
        "cost": cost,
    }
    return evaluation, about


def _asked(component: Component | None, gold: Mapping[str, Gold]) -> dict[str, Any]:
    """What the test of one step asks in place of the whole way: fields of `PipelineOptions`."""
    if component is None:
        return {}
    if component == "relation":
        return {"stop_after": "relation"}
    planned = gold_plan(component)
    return {
        "plan": lambda document: planned(gold[document.id].document),
        # AutoRE's test of the fact step puts the queried head into every triple.
        "replace_head": True if component == "facts" else None,
        "stop_after": "subject" if component == "subject" else None,
    }


def _parts(run: Session, documents: Iterable[Document]) -> Iterator[list[Extraction]]:
    for _, _, extractions in run.documents(documents):
        yield extractions
