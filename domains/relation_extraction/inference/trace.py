"""What a long prediction writes as it goes: finished documents, to go on from, and the trace of its calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from domains.relation_extraction.inference.pipeline import Extraction
from domains.relation_extraction.types import Triple

FILE = "progress.jsonl"


class Lines:
    """A JSON lines file that grows line by line, each on disk before the next is computed."""

    def __init__(self, path: Path, mode: str) -> None:
        self.path, self._mode = path, mode
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open(self._mode, encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, record: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()


class Journal(Lines):
    """The finished documents of a folder, by document id, text and everything else that the answer depends on.

    Args:
        folder: where `progress.jsonl` is or will be.
        signature: adapters, protocol, schema and options; a document finished under others is asked again.
        resume: go on with what is there; otherwise begin anew.
    """

    def __init__(self, folder: Path, signature: Mapping[str, Any], *, resume: bool) -> None:
        super().__init__(folder / FILE, "a" if resume else "w")
        self._signature = json.dumps(signature, sort_keys=True, ensure_ascii=False)
        finished = _read(self.path) if resume else ()
        self._finished = {record["key"]: record["triples"] for record in finished}

    def __enter__(self) -> Self:
        super().__enter__()
        assert self._file is not None
        if self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n"):
            self._file.write("\n")  # the line that an interruption cut off stays a line of its own
        return self

    def find(self, id: str, text: str) -> list[Triple] | None:
        """The triples of a finished document, or None."""
        records = self._finished.get(self._key(id, text))
        return None if records is None else [Triple.from_dict(record) for record in records]

    def add(self, id: str, text: str, triples: Sequence[Triple]) -> None:
        key, records = self._key(id, text), [triple.to_dict() for triple in triples]
        self._finished[key] = records
        self.put({"key": key, "doc_id": id, "triples": records})

    def _key(self, id: str, text: str) -> str:
        return hashlib.sha256("\0".join((self._signature, id, text)).encode()).hexdigest()


class Trace(Lines):
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


def _read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; one that an interruption cut off does not count."""
    records = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and {"key", "triples"} <= record.keys():
            records.append(record)
    return records
