"""One's own pairs: a table with the columns video and caption, and if need be start and end in seconds."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from domains.text_video_retrieval.data.captions import Files, Pair, PairSet, Split, made_set, rows
from suite.errors import InputError


def fits(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv") or (path / "captions.csv").is_file()


def read(path: Path, videos: Path, split: Split, *, named: bool = True) -> PairSet:
    """The pairs of the table, or of those that its column `split` says are of this one.

    Args:
        named: whether somebody asked for this split. A table without the column is then parted by videos: eight of ten
            to train, one to validate, one to test, each always in the same part.

    Raises:
        InputError: the table lacks a column, or times are no part of a video.
    """
    table = path / "captions.csv" if path.is_dir() else path
    found = rows(table, ["video", "caption"], delimiter="\t" if table.suffix.lower() == ".tsv" else ",")
    parted = named and not any(row.get("split") for row in found)
    pairs = []
    for number, row in enumerate(found, 2):
        if (part_of(row["video"]) if parted else row.get("split") or split) != split:
            continue
        try:
            start, end = (float(row[key]) if row.get(key) else None for key in ("start", "end"))
        except ValueError:
            start = end = math.nan
        if not 0 <= (start or 0) < (math.inf if end is None else end) or end == math.inf:
            raise InputError(f"{table}: line {number}: start and end are seconds, 0 or more and the end the later")
        pairs.append(Pair(row["video"], row["caption"], start, end))
    if not pairs:
        raise InputError(f"{table}: has no pair of the split {split}")
    return made_set(f"{table.name} {split}", pairs, Files.below(videos))


def part_of(video: str) -> Split:
    """The part that a video is in, by its name alone."""
    place = int(hashlib.sha256(video.encode()).hexdigest(), 16) % 10
    return "val" if place == 8 else "test" if place == 9 else "train"
