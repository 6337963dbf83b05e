"""sha256 of files and folders, and what is wrong with a folder that should hold given ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from suite.errors import InputError
from suite.files import write_text
from suite.hub import paths


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(path: Path, *, like: str) -> str:
    """The digest of a file of the kind of `like`: 40 digits are git's id of a file's content, else sha256."""
    if len(like) != 40:
        return sha256(path)
    # git hashes "blob <size>\0" and the content; sha1 here names files, the transport is what is trusted.
    hashed = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            hashed.update(block)
    return hashed.hexdigest()


def files(folder: Path) -> list[Path]:
    """The files of a folder and its folders, relative to it and sorted, without hidden ones (bookkeeping)."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


def digests(folder: Path) -> dict[str, str]:
    """Relative POSIX path to sha256 of every file in a folder."""
    return {path.as_posix(): sha256(folder / path) for path in files(folder)}


def fingerprint(folder: Path) -> str:
    """One sha256 over the names and contents of all files in a folder."""
    lines = "".join(f"{digest}  {path}\n" for path, digest in digests(folder).items())
    return hashlib.sha256(lines.encode()).hexdigest()


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum((folder / path).stat().st_size for path in files(folder))


def check(folder: Path, expected: Mapping[str, str], *, name: str, remedy: str) -> None:
    """Compare the files of a folder with their expected digests.

    Files that have not changed since they were last found good (same size, time and inode) are not read again: a base
    of 14 GB is hashed once.

    Args:
        folder: where the files are; files that `expected` does not name are not looked at.
        expected: relative path to sha256 (or to git's id of its content).
        name: what the folder is, for the message.
        remedy: what the reader can do, for the message.

    Raises:
        InputError: a file is missing or differs; names them all.
    """
    receipt = _Receipt(folder)
    missing = [path for path in expected if not (folder / path).is_file()]
    wrong = [path for path, known in expected.items() if path not in missing and receipt.digest(path, known) != known]
    receipt.save()
    if missing or wrong:
        parts = [f"missing {', '.join(sorted(missing))}"] * bool(missing)
        parts += [f"other content than recorded in {', '.join(sorted(wrong))}"] * bool(wrong)
        raise InputError(f"{name} in {folder} is damaged: {'; '.join(parts)}; {remedy}")


class _Receipt:
    """The digests of a folder's files together with the state of the files when they were read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        key = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:32]
        self.path = paths.cache() / "receipts" / f"{key}.json"
        self.known = self._load()
        self.changed = False

    def digest(self, path: str, like: str) -> str:
        state = self._state(self.folder / path)
        known = self.known.get(path)
        if known and known[:-1] == state and len(str(known[-1])) == len(like):
            return str(known[-1])
        found = digest(self.folder / path, like=like)
        self.known[path] = [*state, found]
        self.changed = True
        return found

    def save(self) -> None:
        if not self.changed:
            return
        # A receipt only saves time: a cache that cannot be written (read-only home, full disk) must not stop anyone.
        try:
            write_text(self.path, json.dumps(self.known))
        except OSError:
            return

    def _load(self) -> dict[str, list[int | str]]:
        try:
            loaded = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    @staticmethod
    def _state(path: Path) -> list[int | str]:
        status = path.stat()
        return [status.st_size, status.st_mtime_ns, status.st_ino]
