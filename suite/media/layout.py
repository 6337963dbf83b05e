"""Where the boxes of a graph go on paper. All lengths are inches; the origin is the lower left corner."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import networkx as nx
import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from suite.media import fonts

_MARGIN = 0.18
# Free room between boxes, beside and above one another, so that an arrow between neighbours can be seen.
_ROOM = (0.42, 0.34)
# An edge's label takes at most this much room; and layouts are stretched sideways, as texts are wide.
_LABEL = 1.6
_STRETCH = 1.3
_LINE_SPACING = 1.25
Size = tuple[float, float]


@dataclass(frozen=True)
class Placed:
    """Positions of the boxes' centres on a sheet of `width` by `height`."""

    positions: dict[str, np.ndarray]
    width: float
    height: float


def wrap(text: str, width: int, lines: int) -> str:
    """Break `text` into at most `lines` lines of at most `width` characters; what does not fit becomes an ellipsis."""
    # A long unbroken word (an address, a chemical name) is broken too.
    parts = textwrap.wrap(text.strip() or "(empty)", width, max_lines=lines, placeholder=" …")
    return "\n".join(parts)


@lru_cache(maxsize=4096)
def measure(text: str, size: float, padding: float = 0.0) -> Size:
    """Width and height of `text` of `size` points, with `padding` on every side."""
    font = FontProperties(family=list(fonts.covering(text)), size=size)
    rows = text.split("\n")
    # usetex and mathtext are both off: a dollar sign is a character like any other.
    with fonts.unwarned():
        widest = max(
            (TextPath((0, 0), _literal(row), prop=font).get_extents().width if row.strip() else 0.0) for row in rows
        )
    return widest / 72 + 2 * padding, len(rows) * size * _LINE_SPACING / 72 + 2 * padding


def arrange(boxes: Mapping[str, Size], pairs: Iterable[tuple[str, str]], *, gap: float, seed: int) -> Placed:
    """Place boxes so that joined ones are near, none overlap, and separate parts of the graph stand side by side.

    Each part is laid out by stress (Kamada & Kawai 1989) from a seeded spring layout, turned to lie along the paper,
    and stretched until the boxes are clear of each other.

    Args:
        boxes: name to (width, height).
        pairs: which boxes are joined.
        gap: free length that an edge needs for its label.
        seed: of the spring layout.
    """
    if not boxes:
        return Placed({}, 0.0, 0.0)
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(boxes)
    graph.add_edges_from((a, b) for a, b in pairs if a != b)
    order = {name: index for index, name in enumerate(boxes)}
    parts = sorted(nx.connected_components(graph), key=lambda part: (-len(part), min(order[name] for name in part)))
    sheets = [_part(graph, sorted(part, key=order.__getitem__), boxes, gap, seed) for part in parts]
    return _pack(sheets)


def _part(graph: nx.Graph[str], names: list[str], boxes: Mapping[str, Size], gap: float, seed: int) -> Placed:
    place = {name: index for index, name in enumerate(names)}
    sizes = np.array([boxes[name] for name in names])  # (n, 2)
    if len(names) == 1:
        return _sheet(names, np.zeros((1, 2)), sizes)
    # The nodes of networkx's own subgraphs come in the order of a set, which differs from process to process.
    ordered: nx.Graph[str] = nx.Graph()
    ordered.add_nodes_from(names)
    ends = np.array(sorted(sorted((place[a], place[b])) for a, b in graph.edges(names)))  # (m, 2)
    ordered.add_edges_from((names[a], names[b]) for a, b in ends)
    start = nx.spring_layout(ordered, seed=seed, iterations=60)
    found = nx.kamada_kawai_layout(ordered, pos=start)
    points = np.array([found[name] for name in names])
    points = _lie_down(points - points.mean(0))
    typical = float(np.median(np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)))
    crowding = 1 + 0.3 * max(len(ends) / len(names) - 1, 0)
    label = min(gap, _LABEL)
    wanted = crowding * (label + 0.6 * float(sizes[:, 0].mean()))
    points *= wanted / max(typical, 1e-9) * np.array([_STRETCH, 1.0])
    room = np.tile(np.array(_ROOM), (len(names), len(names), 1))  # (n, n, 2)
    room[ends[:, 0], ends[:, 1], 0] = room[ends[:, 1], ends[:, 0], 0] = label + 0.4
    return _sheet(names, _spread(points, sizes, room), sizes)


def _lie_down(points: np.ndarray) -> np.ndarray:
    """Turn the cloud so that its longest direction is horizontal, the way text and paper run."""
    _, _, axes = np.linalg.svd(points, full_matrices=False)
    # The signs of singular vectors are arbitrary; fixing them keeps the picture the same everywhere.
    axes = axes * np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])[:, None]
    return np.asarray(points @ axes.T)


def _spread(points: np.ndarray, sizes: np.ndarray, room: np.ndarray, rounds: int = 400) -> np.ndarray:
    """Push boxes apart that have less than `room` (n, n, 2) between them, each pair along its shortest way out."""
    points = points.copy()
    room = room + (sizes[:, None] + sizes[None]) / 2  # how far apart two centres must be
    above = np.triu(np.ones(room.shape[:2], dtype=bool), 1)
    for _ in range(rounds):
        away = points[:, None] - points[None]
        missing = room - np.abs(away)
        clash = (missing > 1e-4).all(2) & above
        if not clash.any():
            break
        for a, b in np.argwhere(clash):
            away = points[a] - points[b]
            missing = room[a, b] - np.abs(away)
            if (missing <= 0).any():
                continue
            axis = int(missing.argmin())
            push = (missing[axis] / 2 + 1e-3) * (1.0 if away[axis] >= 0 else -1.0)
            points[a, axis] += push
            points[b, axis] -= push
    return points


def _sheet(names: list[str], points: np.ndarray, sizes: np.ndarray) -> Placed:
    low = (points - sizes / 2).min(0) - _MARGIN
    high = (points + sizes / 2).max(0) + _MARGIN
    width, height = (high - low).tolist()
    return Placed(dict(zip(names, points - low, strict=True)), width, height)


def _pack(sheets: list[Placed]) -> Placed:
    """Set the sheets in rows, widest row near the width of a page of landscape shape."""
    area = sum(sheet.width * sheet.height for sheet in sheets)
    limit = max(max(sheet.width for sheet in sheets), 1.35 * math.sqrt(area))
    rows: list[list[Placed]] = []
    used = math.inf
    for sheet in sheets:
        if used + sheet.width > limit:
            rows.append([])
            used = 0.0
        rows[-1].append(sheet)
        used += sheet.width
    width = max(sum(sheet.width for sheet in row) for row in rows)
    height = sum(max(sheet.height for sheet in row) for row in rows)
    positions: dict[str, np.ndarray] = {}
    top = height
    for row in rows:
        tallest = max(sheet.height for sheet in row)
        left = (width - sum(sheet.width for sheet in row)) / 2
        for sheet in row:
            corner = np.array([left, top - (tallest + sheet.height) / 2])
            positions.update({name: point + corner for name, point in sheet.positions.items()})
            left += sheet.width
        top -= tallest
    return Placed(positions, width, height)


def _literal(text: str) -> str:
    return text.replace("$", r"\$")
