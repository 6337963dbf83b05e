"""The verb `index`: bring an index up to date with folders of videos, whatever was added, changed, moved or deleted."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from suite.errors import InputError
from suite.tables import counted

if TYPE_CHECKING:
    from domains.text_video_retrieval.inference.loaded import Encoder
    from domains.text_video_retrieval.inference.store import Store

STORE = Path("video_index")

Told = Callable[[str], None]


@dataclass
class Changes:
    """What an update did, by paths.

    Attributes:
        failed: reason by path; such a video is known, and tried again once its file changes.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        named = {name: len(getattr(self, name)) for name in ("added", "changed", "renamed", "removed")}
        return {**named, "unchanged": self.unchanged, "failed": len(self.failed)}


def index(
    inputs: list[Path],
    *,
    store: Path = STORE,
    adapter: str = "tiny",
    base: str | None = None,
    seconds: float | None = None,
    hop: float | None = None,
    cut: Literal["time", "shots"] = "time",
    frames: int | None = None,
    interpolate: bool = False,
    device: str = "auto",
    dtype: str = "auto",
) -> dict[str, Any]:
    """Index videos, so that `search` finds seconds in them.

    Run again, it looks at what is new, changed, moved or gone, and leaves the rest. Stopped at any moment, it goes on
    where it was.

    Args:
        inputs: folders of videos, and single ones; of a folder, videos that are gone are forgotten.
        store: folder of the index; it may be moved, as the videos may.
        adapter: reference of the adapter; `none` takes a CLIP as it is, frame by frame.
        base: reference of the base; the one that the adapter names where it is left out.
        seconds: length of a segment; as many as the model's frames at its rate where left out.
        hop: seconds from the start of a segment to the next one's; half a segment where left out.
        cut: at equal steps in time, or where a shot ends.
        frames: of a segment; the adapter's where left out.
        interpolate: the adapter's temporal positions, if `frames` is another number than it was trained with.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.

    Raises:
        InputError: there is no video, or the index is of another model.
    """
    from domains.text_video_retrieval.inference.store import MANIFEST

    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds is {seconds}; give the length of a segment, above 0")
    if hop is not None and not hop > 0:
        raise InputError(f"hop is {hop}; give the seconds from one segment's start to the next, above 0")
    files = found(inputs)
    if not files and not (store / MANIFEST).is_file():
        raise InputError(f"{', '.join(map(str, inputs))}: no video to index; give a folder that holds some")
    # Only now: what is wrong above is refused at once, not after torch is imported.
    from domains.text_video_retrieval.inference.loaded import Encoder

    started = time.perf_counter()
    encoder = Encoder.from_pretrained(adapter, base, device, dtype, frames=frames, interpolate=interpolate)
    opened = open_or_create(store, encoder, inputs, seconds, hop, cut)
    try:
        with opened.writing():
            changes = update(opened, encoder, files, [path for path in inputs if path.is_dir()], _told)
        rows, held = len(opened.live()), list(each_status(opened))
    finally:
        opened.close()
    counts = changes.counts()
    unread = {path: error for path, status, error in held if status == "error"}
    done = len(held) - len(unread)
    before = sorted(unread.keys() - changes.failed.keys())
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    lines = [f"{store}: {counted(done, 'video')} in {counted(rows, 'segment')} ({words or 'nothing to do'})"]
    lines += [f"  {path}: {why}" for path, why in changes.failed.items()]
    lines += [f"  {path}: {unread[path]} (as before)" for path in before]
    lines.append(f'next  suite text_video_retrieval search "..." --store {store}')
    spent = time.perf_counter() - started
    return {
        "message": "\n".join(lines),
        "store": str(store),
        "segments": rows,
        **counts,
        "errors": changes.failed,
        "seconds": spent,
    }


def _told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def found(inputs: Sequence[Path]) -> list[Path]:
    """Every video of the inputs, in order of paths.

    Raises:
        InputError: an input does not exist, or there is none.
    """
    from suite.media.video import SUFFIXES

    files: list[Path] = []
    for one in inputs:
        path = one.expanduser()
        if path.is_dir():
            files += [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file()]
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"{one}: no such file or folder")
    if not files and not any(one.expanduser().is_dir() for one in inputs):
        raise InputError("no video to index; give a folder of them")
    return [*dict.fromkeys(file.resolve() for file in files)]


def open_or_create(
    folder: Path,
    encoder: Encoder,
    inputs: Sequence[Path],
    seconds: float | None = None,
    hop: float | None = None,
    cut: Literal["time", "shots"] = "time",
) -> Store:
    """The index in a folder, or a new one.

    Raises:
        InputError: it is of another model, or of segments of another length.
    """
    from domains.text_video_retrieval.inference.store import MANIFEST, Store

    if (folder / MANIFEST).is_file():
        opened = Store.open(folder, encoder.identity)
        if encoder.frames != opened.per_row:
            raise InputError(
                f"{folder}: its segments are of {opened.per_row} frames, the model takes {encoder.frames}; give "
                f"--frames {opened.per_row}, or another --store"
            )
        known = opened.cut
        for name, asked, held in (("segments", seconds, known.seconds), ("hops", hop, known.hop)):
            if asked is not None and asked != held:
                raise InputError(f"{folder}: its {name} are of {held} s; give another --store for {asked} s")
        if cut != known.by and cut != "time":
            raise InputError(f"{folder}: its videos are cut by {known.by}; give another --store to cut by {cut}")
        return opened
    first = inputs[0].expanduser().resolve()
    root = first if first.is_dir() else first.parent
    plan = encoder.stated
    about = {
        "root": str(root),
        "model": encoder.identity,
        "schedule": plan.schedule.to_dict(),
        "frames": encoder.frames,
        "fps": plan.fps,
        "words": plan.words,
        "seconds": seconds or encoder.seconds,
        "hop": hop or (seconds or encoder.seconds) / 2,
        "cut": cut,
        "dim": int(encoder.dim),
    }
    return Store.create(folder, about)


def update(
    store: Store, encoder: Encoder, files: Sequence[Path], folders: Sequence[Path] = (), told: Told = lambda line: None
) -> Changes:
    """Bring the store up to date with these files.

    Args:
        folders: below which videos that are not among the files are gone.
        told: a line for each video that was read.
    """
    from domains.text_video_retrieval.inference.segments import described, encoded

    changes, known, started = Changes(), store.videos(), time.perf_counter()
    here = {name_in(store, file): file for file in files}
    gone = {
        name
        for name in known
        if name not in here and any(_inside(store, name, folder.expanduser().resolve()) for folder in folders)
    }
    by_digest = {known[name].digest: name for name in gone}
    for number, (name, file) in enumerate(here.items(), 1):
        old = known.get(name)
        status = file.stat()
        if old and old.size == status.st_size and old.mtime_ns == status.st_mtime_ns:
            changes.unchanged += 1
            continue
        row = described(file, name)
        if old and old.digest == row.digest:
            store.touch(name, row.mtime_ns)
            changes.unchanged += 1
            continue
        if (before := by_digest.pop(row.digest, None)) is not None:
            store.rename(before, name, row.mtime_ns)
            gone.discard(before)
            changes.renamed.append(name)
            continue
        made, segments = encoded(file, row, encoder, store.cut)
        store.put(made, segments)
        if made.status == "error":
            changes.failed[name] = made.error
        else:
            (changes.changed if old else changes.added).append(name)
            if made.error:
                changes.failed[name] = f"read up to an error: {made.error}"
        left = (time.perf_counter() - started) / number * (len(here) - number)
        soon = f" (about {left:.0f} s left)" if number < len(here) else ""
        told(f"{number}/{len(here)} {name}: {made.error or counted(len(segments), 'segment')}{soon}")
    for name in sorted(gone):
        store.remove(name)
        changes.removed.append(name)
    return changes


def name_in(store: Store, file: Path) -> str:
    """What a file is called in the store: its path below the root, or the whole one elsewhere."""
    root = store.root
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def file_of(store: Store, name: str, root: Path | None = None) -> Path:
    """The file of a video of the store.

    Args:
        root: where the videos lie now, if they were moved.
    """
    return (root or store.root) / name


def _inside(store: Store, name: str, folder: Path) -> bool:
    return file_of(store, name).is_relative_to(folder)


def each_status(store: Store) -> Iterator[tuple[str, str, str]]:
    """Path, status and error of every video."""
    for name, video in store.videos().items():
        yield name, video.status, video.error
