"""What models answered before, on disk: a review that is asked for again costs no forward. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import suite
from suite.hub import paths
from suite.manifest import CONFIG

MOST_BYTES = 64 * 2**20
"""Of all answers together; beyond that the ones that were not used for longest go."""
_KEPT = 0.75  # of that, once it is exceeded
_PATIENCE = 5.0  # seconds for another process to finish writing
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL, used REAL NOT NULL)"


class Answers:
    """Answers by everything that they depend on.

    A file that is damaged is begun anew, and one that cannot be used is as good as none: nothing here is needed.

    Args:
        signature: what all answers depend on: base, adapters, type of the weights.
        file: a database of SQLite's; the cache's own by default.
    """

    def __init__(self, signature: Mapping[str, Any], file: Path | None = None) -> None:
        self.file = file or paths.cache() / "answers" / "code_review.sqlite"
        self._signature = {"suite": suite.__version__, **signature}

    def key(self, *parts: Any) -> str:
        """The name of an answer to a prompt, with all settings."""
        return hashlib.sha256(json.dumps([self._signature, *parts], sort_keys=True).encode()).hexdigest()

    def find(self, keys: Sequence[str]) -> dict[str, Any]:
        """Those of the answers that are known."""
        found: dict[str, Any] = {}
        with suppress(sqlite3.OperationalError, OSError), self._opened() as database:
            for key in keys:
                row = database.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = json.loads(row[0])
            used = [(time.time(), key) for key in found]
            database.executemany("UPDATE answers SET used = ? WHERE key = ?", used)
        return found

    def keep(self, answers: Mapping[str, Any]) -> None:
        """Remember answers by their keys, all or none of them."""
        if not answers:
            return
        now = time.time()
        with suppress(sqlite3.OperationalError, OSError), self._opened() as database:
            rows = [(key, json.dumps(value), now) for key, value in answers.items()]
            database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
            self._forget(database)

    def _forget(self, database: sqlite3.Connection) -> None:
        """Keep below the limit."""
        [size] = database.execute("SELECT TOTAL(LENGTH(key) + LENGTH(value)) FROM answers").fetchone()
        if size <= MOST_BYTES:
            return
        gone = []
        for key, length in database.execute("SELECT key, LENGTH(key) + LENGTH(value) FROM answers ORDER BY used"):
            if size <= _KEPT * MOST_BYTES:
                break
            gone.append((key,))
            size -= length
        database.executemany("DELETE FROM answers WHERE key = ?", gone)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The database in a transaction of its own."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            database = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self.file.unlink(missing_ok=True)
            database = self._connect()
        with closing(database):
            try:
                with database:
                    yield database
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self.file.unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        self.file.touch(mode=0o600)  # what is said of private code is its owner's
        database = sqlite3.connect(self.file, timeout=_PATIENCE)
        try:
            database.execute("PRAGMA synchronous = OFF")  # what a power cut damages is begun anew
            database.execute(_TABLE)
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database


def base_identity(folder: Path) -> list[Any]:
    """What tells a base from another, or from itself once it was changed, without reading its weights."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [[file.name, (own := file.stat()).st_size, own.st_mtime_ns] for file in files]


def adapter_identity(folder: Path) -> str:
    """A hash of an adapter's files."""
    digest = hashlib.sha256()
    for file in (*sorted(folder.glob("adapter_model.*")), folder / CONFIG):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
