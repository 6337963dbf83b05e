"""The trace of a prediction: every call with its raw answer and the lines that were dropped."""

from __future__ import annotations

from pathlib import Path

from domains.relation_extraction.inference.extraction import Extraction
from suite.prediction.journal import JsonLines


class Trace(JsonLines):
    """Every call with its raw answer and the lines that were dropped."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w")

    def write(self, id: str, chunk: int, extraction: Extraction) -> None:
        for answer in extraction.answers:
            call, generation = answer.call, answer.generation
            record = {
                "doc_id": id,
                "chunk": chunk,
                "step": call.step,
                "relation": call.relation,
                "head": call.head,
                "relations": list(call.relations),
                "analysis": call.analysis,
                "generation": generation.text,
                "complete": generation.complete,
                "items": [list(item) if isinstance(item, tuple) else item for item in answer.parsed.items],
                "dropped": [{"line": dropped.line, "reason": dropped.reason} for dropped in answer.parsed.dropped],
            }
            self.put(record)
