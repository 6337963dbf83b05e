"""The verb `store`: look after an index: verify, repair, compact, export, import, list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from domains.text_video_retrieval.inference.indexing import STORE
from suite.errors import InputError, one_line

if TYPE_CHECKING:
    from domains.text_video_retrieval.inference.store import Segment, Store, VideoRow


def store(
    action: Literal["verify", "repair", "compact", "export", "import", "list"],
    *,
    store: Path = STORE,
    out: Path | None = None,
    source: Path | None = None,
) -> dict[str, Any]:
    """Look after an index.

    Args:
        action: verify (do files and tables agree), repair (forget what is broken; `index` reads it again), compact
            (drop what is deleted), export (vectors.npy and segments.csv), import (such a folder, as a new index), list
            (videos with their states).
        store: folder of the index.
        out: of export: the folder.
        source: of import: the folder.

    Raises:
        InputError: there is no such index, or a folder is missing or of no use.
    """
    for name, given, of in (("--out", out, "export"), ("--source", source, "import")):
        if given is not None and action != of:
            raise InputError(f"{name} is of store {of}; leave it out of store {action}")
    if action == "export" and out is None:
        raise InputError("export needs --out FOLDER")
    if action == "import" and source is None:
        raise InputError("import needs --source FOLDER, with vectors.npy and segments.csv")
    from domains.text_video_retrieval.inference.indexing import each_status
    from domains.text_video_retrieval.inference.store import Store

    if source is not None:
        return _answer(store, imported(source, store))
    opened = Store.open(store, check=False)
    try:
        if action == "list":
            rows = [{"path": path, "status": status, "error": error} for path, status, error in each_status(opened)]
            lines = [f"{row['status']:<8} {row['path']}  {row['error']}".rstrip() for row in rows]
            return {"message": "\n".join(lines) or "nothing is indexed", "videos": rows}
        if action == "verify":
            faults = opened.faults()
            if faults:
                raise InputError(
                    f"{store}: {'; '.join(faults)}; run: suite text_video_retrieval store repair --store {store}"
                )
            return _answer(store, f"{len(opened.live())} segments of {len(opened.videos())} videos agree")
        with opened.writing():
            if action == "repair":
                return _answer(store, repaired(opened))
            if action == "compact":
                return _answer(store, compacted(opened))
            assert out is not None
            return _answer(store, exported(opened, out))
    finally:
        opened.close()


_MADE = ("format", "suite", "created", "similarity", "dtype")
"""What a store says of the program that made it."""


def _answer(folder: Path, text: str) -> dict[str, Any]:
    return {"message": f"{folder}: {text}", "store": str(folder)}


def repaired(store: Store) -> str:
    """Forget videos with rows that are missing or no unit vectors; indexing reads them anew."""
    from domains.text_video_retrieval.inference.store import FRAMES, VECTORS

    rows = store.rows()
    held = rows
    for name, size in ((VECTORS, 4 * store.dim), (FRAMES, 2 * store.dim * store.per_row)):
        path = store.folder / name
        path.touch()
        held = min(held, path.stat().st_size // size)
        if path.stat().st_size < rows * size:  # what is missing reads as zeros, and is forgotten below
            with path.open("r+b") as file:
                file.truncate(rows * size)
    broken = set(store.broken().tolist()) | {row for row in store.live().tolist() if row >= held}
    segments = store.segments()
    names = {video.id: path for path, video in store.videos().items()}
    lost = sorted({segments[row].video for row in broken})
    for number in lost:
        if number in names:
            store.remove(names[number])
    with store.tables:
        store.tables.execute("UPDATE segments SET status = 'deleted' WHERE video NOT IN (SELECT id FROM videos)")
        known = {row for (row,) in store.tables.execute("SELECT row FROM segments")}
        missing = [(row,) for row in range(store.rows()) if row not in known]
        store.tables.executemany(
            "INSERT INTO segments (row, video, start_s, end_s, frame_times, best, status) "
            "VALUES (?, -1, 0, 0, '[]', 0, 'deleted')",
            missing,
        )
    return f"{len(lost)} videos forgotten; run index again to read them" if lost else "nothing was broken"


def compacted(store: Store) -> str:
    """Drop deleted rows from the files; whoever stops it in the middle loses nothing."""
    from domains.text_video_retrieval.inference.store import Segment, Store
    from suite.files import atomic_folder

    live, before = store.live(), store.rows()
    if len(live) == before:
        return f"{before} rows, none deleted"
    segments, vectors, frames = store.segments(), store.vectors(), store.frames()
    with atomic_folder(store.folder, own=True) as temporary:
        fresh = Store.create(temporary, {key: value for key, value in store.about.items() if key not in _MADE})
        for video in store.videos().values():
            own = [
                Segment(
                    one.start, one.end, vectors[one.row], frames[one.row], one.times, one.best, _bytes(store, one.row)
                )
                for one in segments.values()
                if one.video == video.id
            ]
            fresh.put(video, own)
        fresh.close()
        store.close()
    return f"{before - len(live)} of {before} rows dropped"


def _bytes(store: Store, row: int) -> bytes:
    path = store.thumbnail(row)
    return path.read_bytes() if path.is_file() else b""


def exported(store: Store, out: Path) -> str:
    """Write `vectors.npy` (n, dim), `frames.npy` (n, N, dim) and `segments.csv`, in the same order."""
    import json

    import numpy as np

    from suite.files import atomic_folder, write_text
    from suite.tables import records_csv

    rows, segments = store.live(), store.segments()
    names = {video.id: video for video in store.videos().values()}
    records = []
    for row in rows.tolist():
        one, video = segments[row], names[segments[row].video]
        records.append(
            {
                "path": video.path,
                "start": one.start,
                "end": one.end,
                "best": one.best,
                "times": json.dumps(one.times),
                **{name: getattr(video, name) for name in _KEPT},
            }
        )
    with atomic_folder(out) as temporary:
        np.save(temporary / "vectors.npy", store.vectors()[rows])
        np.save(temporary / "frames.npy", store.frames()[rows])
        write_text(temporary / "segments.csv", records_csv(records, guard=False))
        write_text(temporary / "store.json", json.dumps(store.about, ensure_ascii=False, indent=2) + "\n")
    return f"{len(rows)} segments in {out}"


_KEPT = ("size", "mtime_ns", "digest", "duration", "fps", "width", "height", "codec", "status", "error")


def imported(source: Path, folder: Path) -> str:
    """Make an index of an export.

    Raises:
        InputError: files are missing, damaged, or of different lengths.
    """
    from domains.text_video_retrieval.inference.store import Store
    from suite.files import read_json

    for name in ("vectors.npy", "frames.npy", "segments.csv", "store.json"):
        if not (source / name).is_file():
            raise InputError(f"{source}: lacks {name}; give a folder that export wrote")
    try:
        videos = _exported_videos(source)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise InputError(f"{source}: is no export that can be read ({one_line(error)}); export anew") from error
    about = read_json(source / "store.json")
    store = Store.create(folder, {key: value for key, value in about.items() if key not in _MADE})
    try:
        for video, segments in videos:
            store.put(video, segments)
    finally:
        store.close()
    return f"{sum(len(segments) for _, segments in videos)} segments of {len(videos)} videos imported"


def _exported_videos(source: Path) -> list[tuple[VideoRow, list[Segment]]]:
    """The videos of an export with their segments, in the order of its table."""
    import csv
    import json

    import numpy as np

    from domains.text_video_retrieval.inference.store import Segment, VideoRow
    from suite.files import read_text

    vectors, frames = (np.load(source / f"{name}.npy", allow_pickle=False) for name in ("vectors", "frames"))
    rows = list(csv.DictReader(read_text(source / "segments.csv").splitlines()))
    if not len(vectors) == len(frames) == len(rows):
        raise InputError(
            f"{source}: {len(vectors)} vectors, {len(frames)} frames and {len(rows)} segments; export anew"
        )
    own: dict[str, tuple[VideoRow, list[Segment]]] = {}
    for row, vector, frame in zip(rows, vectors, frames, strict=True):
        known: dict[str, Any] = {name: _TYPES.get(name, str)(row[name]) for name in _KEPT}
        _, segments = own.setdefault(row["path"], (VideoRow(row["path"], **known), []))
        times = tuple(json.loads(row["times"]))
        segments.append(Segment(float(row["start"]), float(row["end"]), vector, frame, times, int(row["best"])))
    return list(own.values())


_TYPES = {"size": int, "mtime_ns": int, "duration": float, "fps": float, "width": int, "height": int}
