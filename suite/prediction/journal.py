"""What a long prediction writes as it goes, so that an interrupted one can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from suite.errors import InputError

FILE = "progress.jsonl"


class JsonLines:
    """A JSON lines file that grows line by line, each on disk before the next is computed.

    Raises:
        InputError: on entering, the system refuses it, or a file stands where a folder should.
    """

    def __init__(self, path: Path, mode: str) -> None:
        self.path, self._mode = path, mode
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open(self._mode, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); give another place") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, record: Mapping[str, Any]) -> None:
        """Write one line."""
        assert self._file is not None
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()


class Journal(JsonLines):
    """The finished items of a folder, by id, content and everything else that their result depends on.

    Args:
        folder: where `progress.jsonl` is or will be.
        signature: adapters, options and all else; an item finished under others is done again.
        resume: go on with what is there; otherwise begin anew.
    """

    def __init__(self, folder: Path, signature: Mapping[str, Any], *, resume: bool) -> None:
        super().__init__(folder / FILE, "a" if resume else "w")
        self._signature = json.dumps(signature, sort_keys=True, ensure_ascii=False)
        self._finished = {record["key"]: record for record in _read(self.path)} if resume else {}

    def __enter__(self) -> Self:
        super().__enter__()
        assert self._file is not None
        if self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n"):
            self._file.write("\n")  # the line that an interruption cut off stays a line of its own
        return self

    def find(self, id: str, content: str) -> Mapping[str, Any] | None:
        """The record of a finished item, or None."""
        return self._finished.get(self._key(id, content))

    def add(self, id: str, content: str, record: Mapping[str, Any]) -> None:
        """Note that an item is finished, with what is needed to give its result again."""
        key = self._key(id, content)
        self._finished[key] = {"key": key, **record}
        self.put(self._finished[key])

    def _key(self, id: str, content: str) -> str:
        return hashlib.sha256("\0".join((self._signature, id, content)).encode()).hexdigest()


def check_begun(folder: Path) -> None:
    """Refuse to begin anew where an earlier run has finished items: that may be hours of work.

    Raises:
        InputError: `folder` has some.
    """
    if finished := len(_read(folder / FILE)):
        raise InputError(
            f"{folder}: an earlier run has finished {finished} item{'s' * (finished > 1)} there; go on with --resume, "
            "begin anew with --overwrite, or take another folder"
        )


def _read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; one that an interruption cut off does not count."""
    records = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "key" in record:
            records.append(record)
    return records
