"""Trackers run over data sets, each sequence kept as it is finished, so that a run goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from domains.tracking.data.readers.boxes import lines_of, numbers, read_boxes
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet, from_xywh, to_xywh
from domains.tracking.data.sources import open_set
from domains.tracking.evaluation.peers import PEERS, OpenCvFollower
from domains.tracking.inference.following import Follower
from domains.tracking.output.submissions import FROM_ONE, Tracked
from domains.tracking.types import TrackQuery
from suite.errors import InputError
from suite.files import write_text
from suite.prediction.inputs import slug

RESULTS = "results"
"""The folder of what trackers gave, in the folder of an evaluation."""


@dataclass(frozen=True)
class Contestant:
    """A tracker that is run.

    Attributes:
        name: in tables and files. reference: of the adapter, or `peer:NAME`.
    """

    name: str
    reference: str
    base: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    query: TrackQuery = field(default_factory=TrackQuery)

    def maker(self) -> Callable[[], Follower]:
        """Loads it, and returns what makes a fresh one for each sequence."""
        kind, _, peer = self.reference.partition(":")
        if kind == "peer":
            OpenCvFollower(peer)  # type: ignore[arg-type]  # what is not there is known before the first frame
            return lambda: OpenCvFollower(peer)  # type: ignore[arg-type]
        from domains.tracking.predict import Tracker

        tracker = Tracker.from_pretrained(self.reference, base=self.base, device=self.device, dtype=self.dtype)
        return lambda: tracker.follower(self.query)


@dataclass(frozen=True)
class Source:
    """Which sequences are run, by words, so that every process opens them itself."""

    data: str
    format: str = "auto"
    split: str = "test"

    def open(self) -> SequenceSet:
        """The sequences, one object each."""
        found = open_set(self.data, format=self.format, split=self.split)
        each = [one for sequence in found.sequences for one in sequence.single()]
        seen = [one for one in each if one.track.present.any()]
        if not seen:
            raise InputError(f"{self.data}: no object is in sight in any frame")
        gone = len(each) - len(seen)
        notices = (f"{gone} objects are in sight in no frame and were left out",) if gone else ()
        return replace(found, sequences=seen, notices=(*found.notices, *notices))


def followed(follower: Follower, sequence: AnnotatedSequence, most: int | None = None) -> Tracked:
    """One sequence, from the first frame in which its object is in sight: that one has the true box.

    Args:
        most: frames at most.

    Raises:
        InputError: a frame cannot be read.
    """
    track, name = sequence.track, next(iter(sequence.tracks))
    first = track.first
    given = to_xywh(track.boxes[first][None])[0].tolist()
    boxes, times, scores = [track.boxes[first]], [0.0], [1.0]
    for number, picture in enumerate(sequence.frames.each()):
        if number < first:
            continue
        if most is not None and number - first >= most:
            break
        clock = time.perf_counter()
        if number == first:
            follower.add(name, picture, (given[0], given[1], given[2], given[3]))
            times[0] = time.perf_counter() - clock
            continue
        found = follower.track(picture)[name]
        times.append(time.perf_counter() - clock)
        scores.append(found.score)
        # What is not reported overlaps with nothing.
        boxes.append(from_xywh(np.array([found.box or (0.0, 0.0, 0.0, 0.0)]))[0])
    follower.remove(name)
    return Tracked(sequence.name, np.array(boxes), np.array(times), np.array(scores))


def run(
    contestant: Contestant,
    source: Source,
    home: Path | None,
    *,
    workers: int = 1,
    resume: bool = False,
    most_frames: int | None = None,
) -> Iterator[Tracked]:
    """Every sequence, as it is finished.

    Args:
        home: folder that keeps results. workers: processes, each with a tracker of its own.
        resume: take what `home` has already.
        most_frames: of each sequence.

    Raises:
        InputError: the tracker cannot be loaded, or a frame cannot be read.
    """
    sequences = source.open().sequences
    waiting = []
    for number, sequence in enumerate(sequences):
        stored = None if home is None else _file(home, contestant, sequence.name)
        if resume and stored is not None and stored.is_file():
            yield _read(stored, sequence.name)
        else:
            waiting.append(number)
    if workers > 1 and len(waiting) > 1:
        with ProcessPoolExecutor(min(workers, len(waiting)), mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(_one, contestant, source, number, home, most_frames) for number in waiting]
            try:
                for job in as_completed(jobs):
                    yield job.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return
    make = contestant.maker() if waiting else None
    for number in waiting:
        assert make is not None
        yield _kept(followed(make(), sequences[number], most_frames), contestant, home)


def read_results(folder: Path, found: SequenceSet) -> list[Tracked]:
    """What another tracker gave, a text file of boxes for each sequence, as the benchmark's tools write them.

    Raises:
        InputError: a sequence has no file, or one is no list of boxes.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of results; check the path")
    origin = 1 if found.benchmark in FROM_ONE else 0
    results = []
    for sequence in found.sequences:
        files = [
            *folder.glob(f"{sequence.name}.txt"),
            *folder.glob(f"*_{sequence.name}.txt"),
            *folder.glob(f"{sequence.name}/*_001.txt"),
        ]
        if not files:
            raise InputError(
                f"{folder}: no {sequence.name}.txt, the result of that sequence; track it, or leave it out"
            )
        results.append(Tracked(sequence.name, from_xywh(read_boxes(files[0]), origin)))
    return results


@lru_cache(maxsize=1)
def _loaded(contestant: Contestant, source: Source) -> tuple[Callable[[], Follower], Sequence[AnnotatedSequence]]:
    return contestant.maker(), source.open().sequences


def _one(contestant: Contestant, source: Source, number: int, home: Path | None, most: int | None) -> Tracked:
    """In a process of its own."""
    import torch

    torch.set_num_threads(1)
    make, sequences = _loaded(contestant, source)
    return _kept(followed(make(), sequences[number], most), contestant, home)


def _kept(tracked: Tracked, contestant: Contestant, home: Path | None) -> Tracked:
    if home is not None:
        rows = np.concatenate([to_xywh(tracked.boxes), tracked.scores[:, None], tracked.times[:, None]], axis=1)
        text = "".join(",".join(repr(float(number)) for number in row) + "\n" for row in rows)
        write_text(_file(home, contestant, tracked.sequence), text)
    return tracked


def _file(home: Path, contestant: Contestant, sequence: str) -> Path:
    return home / RESULTS / slug(contestant.name) / f"{sequence}.csv"


def _read(path: Path, name: str) -> Tracked:
    rows = np.array([numbers(line, str(path)) for line in lines_of(path)])
    if rows.ndim != 2 or rows.shape[1] != 6:
        raise InputError(f"{path}: is no result of an evaluation; delete it, or begin anew without --resume")
    return Tracked(name, from_xywh(rows[:, :4]), rows[:, 5], rows[:, 4])


def peers(names: Sequence[str]) -> list[Contestant]:
    """Other programs' trackers by name.

    Raises:
        InputError: there is none of a name.
    """
    for name in names:
        if name not in PEERS:
            raise InputError(f"no peer is called {name!r}; there is {', '.join(PEERS)}")
    return [Contestant(f"OpenCV {name.upper()}", f"peer:{name}") for name in names]
