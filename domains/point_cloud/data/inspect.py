"""The verb `inspect`: what is in a data set, before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal


def inspect(
    data: str,
    *,
    split: Literal["train", "val", "test", "trainval", "all"] = "all",
    format: str = "auto",
    variant: Literal["hardest", "objbg", "objonly"] = "hardest",
    points: int = 64,
    most: int = 0,
    convert: Path | None = None,
) -> dict[str, Any]:
    """Count classes and points of labelled clouds, find duplicates and broken files.

    Args:
        data: `PATH[:SPLIT]` of any known layout, a folder of clouds without labels, or `shapes:SPLIT[:COUNT]`.
        split: which one; `all` looks at train, val and test.
        format: of the data; `auto` finds it.
        variant: of ScanObjectNN: hardest (PB_T50_RS), objbg or objonly.
        points: clouds with fewer distinct points are reported.
        most: read at most this many clouds of a split, evenly spread; 0 reads all.
        convert: for a pickled cache (.dat): write it as this .npz, which no code can hide in.
    """
    from domains.point_cloud.data import checking

    if convert is not None:
        written = checking.convert(Path(data), convert)
        return {"converted": str(written), "message": f"converted  {written}"}
    report = checking.check(data, split, format=format, variant=variant, points=points, most=most)
    return {**report.to_dict(), "message": str(report), "exit_code": 2 if report.broken else 0}
