"""Results in the forms that the benchmarks' servers and tools read, each number as they write it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from domains.tracking.data.crops import outward
from domains.tracking.data.sequences import Boxes, checked_name, to_xywh
from suite.errors import InputError
from suite.files import atomic_file

Form = Literal["got10k", "trackingnet", "pytracking", "matlab"]
"""Whose form: the two servers', pytracking's analysis (LaSOT, OTB, UAV123, NFS, TNL2K), or OTB's MATLAB tools'."""

FORMS: Mapping[str, Form] = {"got10k": "got10k", "trackingnet": "trackingnet"}
"""By benchmark; `pytracking` for those that are not named."""

PREFIXES = {"uav123": "uav_", "uav20l": "uav_", "nfs": "nfs_", "tc128": "tpl_"}
"""What pytracking puts before a sequence's name, by benchmark."""

FROM_ONE = frozenset({"lasot", "vasttrack"})
"""Benchmarks whose own files count pixels from 1."""


@dataclass(frozen=True)
class Tracked:
    """What a tracker gave for one sequence.

    Attributes:
        boxes: (frames, 4), corners; the first is the given one.
        times: (frames,), seconds. scores: (frames,), confidence.
        repeat: which of several runs, from 0; None where there is one.
    """

    sequence: str
    boxes: Boxes
    times: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    repeat: int | None = None


def files_of(
    form: Form, tracker: str, benchmark: str, tracked: Tracked, *, rasterise: bool | None = None
) -> dict[str, str]:
    """The files of one sequence: path in the archive to content.

    Args:
        rasterise: round boxes outward to whole pixels; by default for the two servers alone, as SPMTrack does.

    Raises:
        InputError: the tracker's or the sequence's name has a path in it.
    """
    whole = form in ("got10k", "trackingnet") if rasterise is None else rasterise
    boxes = np.array([outward(box) for box in tracked.boxes], np.float64) if whole else tracked.boxes
    name = checked_name(tracked.sequence)
    checked_name(tracker)
    if form == "got10k":
        run = 1 + (tracked.repeat or 0)
        files = {f"{tracker}/{name}/{name}_{run:03d}.txt": _lines(to_xywh(boxes), 4, ",")}
        if run == 1 and len(tracked.times):
            files[f"{tracker}/{name}/{name}_time.txt"] = _lines(tracked.times[:, None], 8, ",")
        return files
    if form == "trackingnet":
        return {f"{tracker}/{name}/{name}.txt": _lines(to_xywh(boxes), 2, ",")}
    written = to_xywh(boxes + (1 if benchmark in FROM_ONE else 0))
    if form == "matlab":
        run_name = "" if tracked.repeat is None else f"_{tracked.repeat:03d}"
        return {f"{tracker}{run_name}_tracking_result/{name}.txt": _lines(written, 3, "\t")}
    home = tracker if tracked.repeat is None else f"{tracker}_{tracked.repeat + 1:03d}"
    stem = f"{home}/{PREFIXES.get(benchmark, '')}{name}"
    files = {f"{stem}.txt": _lines(written, 3, "\t")}
    if len(tracked.times):
        files[f"{stem}_time.txt"] = _lines(tracked.times[:, None], 8, "\t")
    if len(tracked.scores):
        files[f"{stem}_object_presence_scores.txt"] = _lines(tracked.scores[:, None], 6, "\t")
    return files


def write_archive(
    path: Path,
    form: Form,
    tracker: str,
    benchmark: str,
    all_tracked: Iterable[Tracked],
    *,
    rasterise: bool | None = None,
) -> Path:
    """A zip of all sequences, the same bytes for the same results.

    Raises:
        InputError: a name has a path in it, two sequences have the same, or there is none.
    """
    files: dict[str, str] = {}
    for tracked in all_tracked:
        for name, text in files_of(form, tracker, benchmark, tracked, rasterise=rasterise).items():
            if name in files:
                raise InputError(f"{name}: two sequences are called {tracked.sequence}; give them names of their own")
            files[name] = text
    if not files:
        raise InputError(f"{path}: no sequence to write")
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            # A time of its own would make every archive another one.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return path


def _lines(rows: NDArray[np.float64], decimals: int, delimiter: str) -> str:
    return "".join(_line(row, decimals, delimiter) for row in rows.tolist())


def _line(row: Sequence[float], decimals: int, delimiter: str) -> str:
    return delimiter.join(f"{value:.{decimals}f}" for value in row) + "\n"
