"""Relation extraction (AutoRE): documents in, (head, relation, tail) triples and a knowledge graph out."""

from __future__ import annotations

from suite.domain import Domain, Task, on_use

DOMAIN = Domain(
    name="relation_extraction",
    title="documents to triples and a knowledge graph (AutoRE: Relation-Head-Facts)",
    extra="relation_extraction",
    tasks={
        "default": Task(
            recipe="domains.relation_extraction.recipe:RelationExtractionRecipe",
            data="domains.relation_extraction.data.datamodule:RelationExtractionData",
            predictor="domains.relation_extraction.predict:RelationExtractor",
            query="domains.relation_extraction.types:ExtractionQuery",
            result="domains.relation_extraction.output.result:ExtractionResult",
        )
    },
    verbs={
        "evaluate": "domains.relation_extraction.evaluation.evaluate:evaluate",
        "compare": "domains.relation_extraction.evaluation.compare:compare",
        "prepare": "domains.relation_extraction.data.prepare:prepare",
        "export": "domains.relation_extraction.output.export:export",
        "diff": "domains.relation_extraction.output.export:diff",
        "demo": "domains.relation_extraction.demo:demo",
    },
    scorer="domains.relation_extraction.evaluation.held_out:scorer",
)

_PUBLIC = {
    "RelationExtractor": "predict",
    "RelationExtractionRecipe": "recipe",
    "RelationExtractionData": "data.datamodule",
    "Triple": "types",
    "ExtractionQuery": "types",
    "ExtractionResult": "output.result",
    "Schema": "model.schema",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
