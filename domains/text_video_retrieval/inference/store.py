"""The index on the disk: a row for each segment of a video, in files that only grow, and tables that say what rows are.

    store.json      what made it: model, digests, segments; read before anything else
    tables.sqlite   videos and segments; a video is in it with all of its segments, or not at all
    vectors.f32     (rows, dim) float32, one after another
    frames.f16      (rows, frames, dim) float16, for finding the second in a segment
    nearest.faiss   cells for searching very many rows; made when they are first asked for, and anew when rows changed
    thumbs/         a picture for each row

A video's rows are written and flushed first, and then entered in one transaction: whatever is behind the last row that
the tables know was being written when the program was stopped, and is overwritten.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from domains.text_video_retrieval.inference.cutting import Cut
from suite import __version__
from suite.errors import InputError
from suite.files import read_json, write_text

VERSION = 1
MANIFEST, TABLES, VECTORS, FRAMES, THUMBS = "store.json", "tables.sqlite", "vectors.f32", "frames.f16", "thumbs"
TOLERANCE = 1e-3
"""By which a vector's length may differ from 1."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS videos (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER, mtime_ns INTEGER, digest TEXT, duration REAL,
    fps REAL, width INTEGER, height INTEGER, codec TEXT, status TEXT NOT NULL, error TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS segments (
    row INTEGER PRIMARY KEY, video INTEGER NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL,
    frame_times TEXT NOT NULL, best INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'live');
CREATE INDEX IF NOT EXISTS of_video ON segments (video);
"""


@dataclass(frozen=True)
class VideoRow:
    """A video as the tables know it.

    Attributes:
        path: below the root, or whole where it lies elsewhere. digest: of its content (`content_digest`).
        status: ok, short, partial or error; error: the decoder's words.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str
    duration: float = 0.0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    status: str = "ok"
    error: str = ""
    id: int = -1


@dataclass(frozen=True)
class Segment:
    """A part of a video with its vectors.

    Attributes:
        vector: (dim,) of length 1. frames: (N, dim), of its frames. times: of the frames, seconds.
        best: the frame nearest to the vector. thumbnail: a picture of it, as a JPEG's bytes.
    """

    start: float
    end: float
    vector: NDArray[np.float32]
    frames: NDArray[np.float32]
    times: tuple[float, ...]
    best: int
    thumbnail: bytes = b""


@dataclass(frozen=True)
class SegmentRow:
    """A segment as the tables know it."""

    row: int
    video: int
    start: float
    end: float
    times: tuple[float, ...]
    best: int


@dataclass
class Store:
    """An open index.

    Attributes:
        folder: where it lies. about: what `store.json` says.
    """

    folder: Path
    about: dict[str, Any]
    tables: sqlite3.Connection = field(repr=False)

    @classmethod
    def create(cls, folder: Path, about: Mapping[str, Any]) -> Self:
        """A new, empty store.

        Args:
            about: root, model, digests, dim, frames, seconds, fps, words, schedule.

        Raises:
            InputError: the folder holds an index already, or something else.
        """
        if (folder / MANIFEST).is_file():
            raise InputError(f"{folder}: holds an index already; give another --store")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder}: holds something else than an index; give another --store")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / THUMBS).mkdir(exist_ok=True)
        for name in (VECTORS, FRAMES):
            (folder / name).touch()
        made = {
            "format": VERSION,
            "suite": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "similarity": "cosine",
            "dtype": "float32",
            **about,
        }
        connection = _connected(folder)
        # Last: a folder without it is no index, and is begun anew.
        write_text(folder / MANIFEST, json.dumps(made, ensure_ascii=False, indent=2) + "\n")
        return cls(folder, made, connection)

    @classmethod
    def open(cls, folder: Path, identity: Mapping[str, str] | None = None, *, check: bool = True) -> Self:
        """An existing store.

        Args:
            identity: of the model that reads it, which must be the one that made it.
            check: that files and tables agree.

        Raises:
            InputError: it is none, of another version or model, or broken.
        """
        if not (folder / MANIFEST).is_file():
            raise InputError(
                f"{folder}: no index; make one with: suite text_video_retrieval index FOLDER --store {folder}"
            )
        about = read_json(folder / MANIFEST)
        if about.get("format") != VERSION:
            raise InputError(
                f"{folder}: an index of format {about.get('format')!r}, and this program reads {VERSION}; index anew"
            )
        store = cls(folder, about, _connected(folder))
        store.check_model(identity or {})
        if check and (wrong := store.faults()):
            raise InputError(f"{folder}: {wrong[0]}; run: suite text_video_retrieval store repair --store {folder}")
        return store

    def check_model(self, identity: Mapping[str, str]) -> None:
        """Refuse another model than the one that made the index, by the digests of its weights.

        Raises:
            InputError: it is another one.
        """
        made = self.about.get("model", {})
        for name, value in identity.items():
            if name.endswith("digest") and made.get(name, "") != value:
                what = "base" if name.startswith("base") else "adapter"
                raise InputError(
                    f"{self.folder}: made by another {what} than this one: {made.get(what)} of digest "
                    f"{_short(made.get(name, ''))}, not {_short(value)}; give that one, or another --store"
                )

    def close(self) -> None:
        self.tables.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one who writes.

        Raises:
            InputError: somebody else does.
        """
        try:
            with FileLock(str(self.folder / ".lock"), timeout=1):
                yield
        except Timeout:
            raise InputError(f"{self.folder}: another program is writing to this index; wait for it") from None

    @property
    def dim(self) -> int:
        return int(self.about["dim"])

    @property
    def per_row(self) -> int:
        """Frames of a row."""
        return int(self.about["frames"])

    @property
    def cut(self) -> Cut:
        """How its videos are cut."""
        seconds = float(self.about["seconds"])
        return Cut(seconds, float(self.about.get("hop", seconds)), self.about.get("cut", "time"))

    @property
    def root(self) -> Path:
        """What the videos' paths are relative to."""
        return Path(self.about["root"])

    def rows(self) -> int:
        """Rows that the tables know, deleted ones too."""
        return int(self.tables.execute("SELECT COALESCE(MAX(row) + 1, 0) FROM segments").fetchone()[0])

    def live(self) -> NDArray[np.int64]:
        """Rows that are not deleted, ascending."""
        found = self.tables.execute("SELECT row FROM segments WHERE status = 'live' ORDER BY row").fetchall()
        return np.array([row for (row,) in found], dtype=np.int64)

    def vectors(self) -> NDArray[np.float32]:
        """All rows' vectors (rows, dim), read where they are used."""
        return _mapped(self.folder / VECTORS, (self.rows(), self.dim), np.float32)

    def frames(self) -> NDArray[np.float16]:
        """All rows' frames (rows, N, dim), read where they are used."""
        return _mapped(self.folder / FRAMES, (self.rows(), self.per_row, self.dim), np.float16)

    def videos(self) -> dict[str, VideoRow]:
        """Every video by its path."""
        names = "path, size, mtime_ns, digest, duration, fps, width, height, codec, status, error, id"
        found = self.tables.execute(f"SELECT {names} FROM videos ORDER BY id").fetchall()
        return {row[0]: VideoRow(*row) for row in found}

    def segments(self, rows: Sequence[int] | None = None) -> dict[int, SegmentRow]:
        """Live segments by row, or those of some rows."""
        query = "SELECT row, video, start_s, end_s, frame_times, best FROM segments WHERE status = 'live'"
        if rows is not None:
            query += f" AND row IN ({', '.join(str(int(row)) for row in rows)})"
        return {
            row: SegmentRow(row, video, start, end, tuple(json.loads(times)), best)
            for row, video, start, end, times, best in self.tables.execute(query + " ORDER BY row")
        }

    def thumbnail(self, row: int) -> Path:
        return self.folder / THUMBS / f"{row // 1000:05d}" / f"{row}.jpg"

    def put(self, video: VideoRow, segments: Sequence[Segment]) -> list[int]:
        """Enter a video with its segments, in the place of what was known of this path; return the rows."""
        first = self.rows()
        rows = list(range(first, first + len(segments)))
        if segments:
            _append(self.folder / VECTORS, first, np.stack([one.vector for one in segments]).astype("<f4"))
            _append(self.folder / FRAMES, first, np.stack([one.frames for one in segments]).astype("<f2"))
        for row, segment in zip(rows, segments, strict=True):
            if segment.thumbnail:
                self.thumbnail(row).parent.mkdir(parents=True, exist_ok=True)
                self.thumbnail(row).write_bytes(segment.thumbnail)
        with self.tables:
            self._drop(video.path)
            names = "path, size, mtime_ns, digest, duration, fps, width, height, codec, status, error"
            values = tuple(getattr(video, name) for name in names.split(", "))
            marks = ", ".join("?" * len(values))
            number = self.tables.execute(f"INSERT INTO videos ({names}) VALUES ({marks})", values).lastrowid
            self.tables.executemany(
                "INSERT INTO segments (row, video, start_s, end_s, frame_times, best) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (row, number, one.start, one.end, json.dumps([round(t, 3) for t in one.times]), one.best)
                    for row, one in zip(rows, segments, strict=True)
                ],
            )
        return rows

    def remove(self, path: str) -> None:
        """Delete a video: its rows stay in the files until `compact`, and are found no more."""
        with self.tables:
            self._drop(path)

    def rename(self, old: str, new: str, mtime_ns: int) -> None:
        """The same content under another path."""
        with self.tables:
            self._drop(new)
            self.tables.execute("UPDATE videos SET path = ?, mtime_ns = ? WHERE path = ?", (new, mtime_ns, old))

    def touch(self, path: str, mtime_ns: int) -> None:
        """The same content, written anew."""
        with self.tables:
            self.tables.execute("UPDATE videos SET mtime_ns = ? WHERE path = ?", (mtime_ns, path))

    def _drop(self, path: str) -> None:
        self.tables.execute(
            "UPDATE segments SET status = 'deleted' WHERE video IN (SELECT id FROM videos WHERE path = ?)", (path,)
        )
        self.tables.execute("DELETE FROM videos WHERE path = ?", (path,))

    def faults(self, *, deep: bool = True) -> list[str]:
        """What does not agree; with `deep` every vector is looked at.

        Bytes behind the last known row are none: a stopped program left them, and they are overwritten.
        """
        rows, wrong = self.rows(), []
        for name, size in ((VECTORS, 4 * self.dim), (FRAMES, 2 * self.dim * self.per_row)):
            path = self.folder / name
            held = path.stat().st_size // size if path.is_file() else 0
            if held < rows:
                wrong.append(f"{name} holds {held} of {rows} rows")
        known = self.tables.execute("SELECT COUNT(*) FROM segments").fetchone()[0]
        if known != rows:
            wrong.append(f"the tables know {known} segments of {rows} rows")
        orphans = self.tables.execute(
            "SELECT COUNT(*) FROM segments WHERE status = 'live' AND video NOT IN (SELECT id FROM videos)"
        ).fetchone()[0]
        if orphans:
            wrong.append(f"{orphans} segments belong to no video")
        if deep and not wrong:
            bad = self.broken()
            if len(bad):
                wrong.append(f"{len(bad)} vectors are no unit vectors, e.g. of row {bad[0]}")
        return wrong

    def broken(self) -> NDArray[np.int64]:
        """Live rows whose vector is not finite or not of length 1."""
        vectors, found = self.vectors(), []
        for part in np.array_split(self.live(), max(1, self.rows() // 65536)):
            length = np.linalg.norm(vectors[part], axis=1) if len(part) else np.ones(0)
            found.append(part[~(np.abs(length - 1) <= TOLERANCE)])
        return np.concatenate(found)


def _short(digest: str) -> str:
    return digest[:12] or "none"


def _connected(folder: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(folder / TABLES)
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
        raise InputError(f"{folder / TABLES}: cannot be read ({error}); index anew") from None
    return connection


def _mapped(path: Path, shape: tuple[int, ...], dtype: type) -> Any:
    return np.memmap(path, dtype, "r", shape=shape) if shape[0] else np.empty(shape, dtype)


def _append(path: Path, rows: int, values: NDArray[Any]) -> None:
    """Write behind the first `rows` rows, and over whatever is there."""
    with path.open("r+b") as file:
        file.truncate(rows * values[0].nbytes)
        file.seek(0, os.SEEK_END)
        file.write(values.tobytes())
        file.flush()
        os.fsync(file.fileno())
