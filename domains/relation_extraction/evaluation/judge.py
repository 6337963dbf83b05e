"""An adapter on gold documents: what it extracts from their text alone, scored."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, Literal

from domains.relation_extraction.data.documents import Document
from domains.relation_extraction.evaluation.evaluate import Component, Evaluation, Gold, gold_documents, gold_plan
from domains.relation_extraction.inference.pipeline import Extraction, PipelineOptions
from domains.relation_extraction.inference.session import Running
from domains.relation_extraction.model.protocol import OFFICIAL
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.predict import RelationExtractor
from domains.relation_extraction.types import ExtractionQuery


class _Judged(Running):
    """A run whose relations and heads may be planned, and whose adapters may be off."""

    component: Component | None = None
    frozen = False
    gold: Mapping[str, Gold]

    @property
    def bare(self) -> bool:
        return self.frozen or super().bare

    def _options(self) -> PipelineOptions:
        options = super()._options()
        if self.component is None:
            return options
        if self.component == "relation":
            return replace(options, stop_after="relation")
        planned = gold_plan(self.component)
        # AutoRE's test of the fact step puts the queried head into every triple.
        return replace(
            options,
            plan=lambda document: planned(self.gold[document.id].document),
            replace_head=True if self.component == "facts" else None,
            stop_after="subject" if self.component == "subject" else None,
        )


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
    schema = Schema.load(query.schema) if query.schema else wording.schema
    gold = gold_documents(data, schema, shape=wording.pretokenize, format=format, encoding=encoding)
    run = _Judged(extractor, query, lambda line: print(line, file=sys.stderr, flush=True))
    run.component, run.frozen, run.gold = component, frozen, {one.document.id: one for one in gold}
    evaluation = Evaluation(schema, component)
    with run:
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


def _parts(run: Running, documents: Iterable[Document]) -> Iterator[list[Extraction]]:
    for _, _, extractions in run.documents(documents):
        yield extractions
