"""The verb `duplicates`: indexed videos that show the same, whole or in part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from domains.text_video_retrieval.inference.indexing import STORE
from suite.errors import InputError

if TYPE_CHECKING:
    from domains.text_video_retrieval.inference.store import Store

NEAREST = 20
"""Rows that each row is compared with."""


def duplicates(store: Path = STORE, *, threshold: float = 0.97, least: float = 0.5) -> dict[str, Any]:
    """Find videos of an index that show the same.

    Args:
        store: folder of the index.
        threshold: cosine from which two segments are the same.
        least: share of the shorter video's segments that must be.

    Raises:
        InputError: there is no such index, or a number is out of range.
    """
    from domains.text_video_retrieval.inference.store import Store

    if not 0 < threshold <= 1 or not 0 < least <= 1:
        raise InputError(f"threshold is {threshold} and least {least}; give numbers above 0 and up to 1")
    opened = Store.open(store)
    try:
        pairs = same_videos(opened, threshold, least)
    finally:
        opened.close()
    lines = [
        f"{pair['share']:.0%}  {pair['one']}  =  {pair['other']}{' (same file)' if pair['same_file'] else ''}"
        for pair in pairs
    ]
    return {"message": "\n".join(lines) or "no two videos show the same", "pairs": pairs}


def same_videos(store: Store, threshold: float, least: float) -> list[dict[str, Any]]:
    """Pairs of videos with the share of the shorter one's segments that the other has, the largest share first."""
    from domains.text_video_retrieval.inference.nearest import Nearest

    rows = store.live()
    if not len(rows):
        return []
    vectors, segments = store.vectors()[rows], store.segments()
    names = {video.id: video for video in store.videos().values()}
    scores, found = Nearest.over(vectors, rows, "exact").search(vectors, NEAREST)
    length: dict[int, int] = {}
    shared: dict[tuple[int, int], set[int]] = {}
    for row, near, cosines in zip(rows.tolist(), found, scores, strict=True):
        own = segments[row].video
        length[own] = length.get(own, 0) + 1
        for other, cosine in zip(near.tolist(), cosines, strict=True):
            if other >= 0 and cosine >= threshold and segments[other].video != own:
                shared.setdefault((own, segments[other].video), set()).add(row)
    pairs = []
    for (one, other), matched in shared.items():
        back = shared.get((other, one), set())
        if one > other and back:
            continue
        share = max(len(matched) / length[one], len(back) / length[other])
        if share >= least:
            same = names[one].digest == names[other].digest
            pairs.append({"one": names[one].path, "other": names[other].path, "share": share, "same_file": same})
    return sorted(pairs, key=lambda pair: (-pair["share"], pair["one"], pair["other"]))
