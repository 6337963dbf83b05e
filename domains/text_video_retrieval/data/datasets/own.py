"""One's own pairs: a table with the columns video and caption, and if need be start and end in seconds."""

from __future__ import annotations

from pathlib import Path

from domains.text_video_retrieval.data.captions import Files, Pair, PairSet, Split, made_set, rows
from suite.errors import InputError


def fits(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv") or (path / "captions.csv").is_file()


def read(path: Path, videos: Path, split: Split) -> PairSet:
    """The pairs of the table, or of those that its column `split` says are of this one.

    Raises:
        InputError: the table lacks a column, or a time is no number.
    """
    table = path / "captions.csv" if path.is_dir() else path
    found = rows(table, ["video", "caption"], delimiter="\t" if table.suffix.lower() == ".tsv" else ",")
    pairs = []
    for number, row in enumerate(found, 2):
        if row.get("split") and row["split"] != split:
            continue
        try:
            start, end = (float(row[key]) if row.get(key) else None for key in ("start", "end"))
        except ValueError:
            raise InputError(f"{table}: line {number}: start and end are seconds, e.g. 12.5") from None
        pairs.append(Pair(row["video"], row["caption"], start, end))
    if not pairs:
        raise InputError(f"{table}: has no pair of the split {split}")
    return made_set(f"{table.name} {split}", pairs, Files.below(videos))
