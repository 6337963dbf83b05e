"""Text files with a box a line, as the benchmarks' own tools write them: any delimiter, polygons, absent objects."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError
from suite.files import read_text

Rows = NDArray[np.float64]

PolygonRule = Literal["area", "corners"]
"""How a polygon becomes a box: one of the same area about its middle (VOT's rule), or the box of its corners."""

MOST_BYTES = 64 * 2**20
"""Of a file of boxes: two million frames."""

_SPECIAL = {"0": "unknown", "1": "the tracker was started", "2": "the tracker failed"}


def read_boxes(path: Path, *, polygons: PolygonRule = "area", empty: bool = False) -> Rows:
    """The boxes of a file as rows of x, y, width, height, as they are written: (lines, 4).

    Polygons of 8 numbers become boxes; NaN, and a line of nothing but zeros and NaN, is an absent object. Blank lines
    at the end do not count, a byte-order mark and line ends of other systems are nothing to see.

    Args:
        polygons: how those become boxes.
        empty: a file without any line is no error.

    Raises:
        InputError: it cannot be read, holds no box, or a line is none.
    """
    lines = lines_of(path)
    if not lines and not empty:
        raise InputError(f"{path}: holds no box; write x,y,w,h in a line for each frame")
    rows = [_row(line, f"{path}: line {number}", polygons) for number, line in enumerate(lines, 1)]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def lines_of(path: Path) -> list[str]:
    """The lines of a text file without blank ones at its end.

    Raises:
        InputError: it cannot be read.
    """
    try:
        text = read_text(path, encoding=None, most=MOST_BYTES)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from error
    if "\0" in text:
        raise InputError(f"{path}: is no text file; give one with x,y,w,h in a line for each frame")
    lines = text.rstrip().split("\n") if text.strip() else []
    return [line.strip() for line in lines]


def numbers(line: str, where: str) -> list[float]:
    """The numbers of a line, whatever stands between them.

    Raises:
        InputError: something is no number.
    """
    words = [word for word in re.split(r"[,;\s]+", line.strip(" \t,;")) if word]
    try:
        return [float(word) for word in words]
    except ValueError:
        odd = next(word for word in words if not _is_number(word))
        raise InputError(f"{where}: {odd[:40]!r} is no number; write x,y,w,h") from None


def polygon_box(corners: Sequence[float], rule: PolygonRule = "area") -> tuple[float, float, float, float]:
    """x, y, width, height of a polygon x1,y1,...,x4,y4.

    `area` is VOT's rule: about the mean of the corners, the sides of the corners' box scaled so that the area is that
    of the polygon's sides, and a pixel longer.
    """
    points = np.array(corners, np.float64).reshape(4, 2)
    low, high = points.min(0), points.max(0)
    if rule == "corners":
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
    own = np.linalg.norm(points[0] - points[1]) * np.linalg.norm(points[1] - points[2])
    around = (high - low).prod()
    scale = math.sqrt(own / around) if around > 0 else 0.0
    sides = scale * (high - low) + 1
    corner = points.mean(0) - sides / 2
    return float(corner[0]), float(corner[1]), float(sides[0]), float(sides[1])


def _row(line: str, where: str, polygons: PolygonRule) -> tuple[float, ...]:
    if re.fullmatch(r"m[\d\s,;-]+", line):
        raise InputError(f"{where}: is a mask (m...), which is not read; give boxes x,y,w,h")
    if line in _SPECIAL:
        raise InputError(f"{where}: is VOT's code {line} ({_SPECIAL[line]}) and no box; give the ground truth")
    found = numbers(line, where)
    if len(found) not in (4, 8):
        raise InputError(f"{where}: {len(found)} numbers; write x,y,w,h or a polygon of 8")
    if any(math.isinf(number) for number in found):
        raise InputError(f"{where}: a number is infinite; write x,y,w,h, or NaN for an absent object")
    if any(math.isnan(number) for number in found):
        return (math.nan,) * 4
    return tuple(found) if len(found) == 4 else polygon_box(found, polygons)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_flags(path: Path) -> NDArray[np.bool_]:
    """The zeros and ones of a file, in a column or in one line: (numbers,).

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    found = read_integers(path)
    if not np.isin(found, (0, 1)).all():
        raise InputError(f"{path}: holds {int(found[~np.isin(found, (0, 1))][0])}; only 0 and 1 are known there")
    return found.astype(bool)


def read_integers(path: Path) -> NDArray[np.int64]:
    """The whole numbers of a file, in a column or in one line.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    found = [number for line in lines_of(path) for number in numbers(line, str(path))]
    if not all(number == int(number) for number in found if math.isfinite(number)):
        raise InputError(f"{path}: holds a number that is not whole")
    return np.array(found).astype(np.int64)
