"""Repair of a generated string that is not in the passage: the most similar run of the passage's words.

The official matcher scores every window of the passage with `difflib` and keeps the first best one, which takes
minutes for a long passage. `repair` returns the same string: windows are ordered by an upper bound of their score, and
`difflib` sees only those that could still win.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

import numpy as np
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

OFFICIAL_THRESHOLD = 60
LENIENT_THRESHOLD = 80


def similarity(window: str, entity: str) -> int:
    """Similarity of two strings in percent, rounded half to even: `difflib`'s ratio, not an edit distance."""
    return round(100 * SequenceMatcher(None, window, entity).ratio())


def repair(entity: str, text: str, threshold: int = OFFICIAL_THRESHOLD) -> str:
    """Return the window of whole words of `text` most similar to `entity`, the first of equals.

    A window has at least as many words as `entity`. Windows that begin with `,` or `.` are skipped; the best one loses
    a `,` or `(` at its end.

    Returns:
        The window, or an empty string when no similarity exceeds `threshold` percent.
    """
    wanted = " ".join(entity.split())
    if not wanted:
        return ""
    windows = list(_windows(text.split(), wanted, threshold))
    if not windows:
        return ""
    # The blocks that difflib matches form a common subsequence, so the longest one bounds their total length.
    common = cdist([wanted], windows, scorer=LCSseq.similarity, dtype=np.int64)[0]
    lengths = np.fromiter(map(len, windows), np.int64, len(windows)) + len(wanted)
    bounds = np.rint(100 * (2.0 * common / lengths)).astype(np.int64)
    matcher = SequenceMatcher(None, "", wanted)
    best, place = threshold, len(windows)
    for index in np.argsort(-bounds, kind="stable"):
        if bounds[index] < best or bounds[index] <= threshold:
            break
        if bounds[index] == best and index > place:
            continue
        matcher.set_seq1(windows[index])
        score = round(100 * matcher.ratio())
        if score > best or (score == best and index < place and score > threshold):
            best, place = score, int(index)
    if best <= threshold:
        return ""
    window = windows[place]
    return (window[:-1] if window.endswith((",", "(")) else window).strip()


def _windows(words: list[str], wanted: str, threshold: int) -> Iterator[str]:
    """Yield the windows that could score above `threshold`, shorter ones first, in the order of the text."""
    # ratio <= 2 * min(la, lb) / (la + lb), and only what rounds above the threshold counts.
    least = (threshold + 0.5) / 100
    shortest, longest = len(wanted) * least / (2 - least), len(wanted) * (2 - least) / least
    for size in range(wanted.count(" ") + 1, len(words) + 1):
        fits = False
        for start in range(len(words) - size + 1):
            window = " ".join(words[start : start + size])
            fits = fits or len(window) <= longest
            if shortest <= len(window) <= longest and not window.startswith((",", ".")):
                yield window
        if not fits:
            return
