"""Draw a directed graph with labelled edges, several of which may join the same two nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path as Outline

from suite.media import style
from suite.media.layout import Placed, Size, arrange, measure, wrap

# Points of the texts, inches of the rest.
_NODE_TEXT = 9.0
_EDGE_TEXT = 8.0
_MARGIN = 0.25
_HEADLINE = 0.38
_LEGEND_ROW = 0.185
_LEGEND_ROWS = 40
_ARROW = "-|>,head_length=5,head_width=2.4"
# Where along an arrow its label may stand, from the best place on.
_PLACES = np.array([0.5, 0.45, 0.55, 0.4, 0.6, 0.35, 0.65, 0.3, 0.7])
# How much an arrow may bend (control point's distance from the chord, in chords); the first that hits no box is taken.
# Arrows that join the same two boxes differ by at least _APART.
_APART = 0.2
_BENDS = (0.06, -0.06, 0.18, -0.18, 0.32, -0.32, 0.5, -0.5)


class Edge(NamedTuple):
    """A labelled arrow from `head` to `tail`."""

    head: str
    relation: str
    tail: str


def draw(
    edges: Iterable[Edge | tuple[str, str, str]],
    *,
    title: str = "",
    max_nodes: int = 60,
    seed: int = 0,
    groups: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the graph that the edges make; write the figure with `suite.media.plots.save`.

    Every relation has its own colour and line pattern, named in the legend and on its arrows. Arrows that join the same
    two nodes are bent apart, an edge repeated exactly is drawn once, an edge from a node to itself is a loop. The same
    input gives the same picture.

    Args:
        edges: (head, relation, tail) of each arrow.
        title: heading of the picture.
        max_nodes: how many nodes are drawn at most: those with the most edges, among equals those that came first. The
            picture says how many were left out.
        seed: of the layout.
        groups: node to the kind of thing it is, shown as the colour of the node.

    Raises:
        ValueError: `max_nodes` is less than 1.
    """
    if max_nodes < 1:
        raise ValueError(f"max_nodes must be at least 1, not {max_nodes}")
    wanted = list(dict.fromkeys(Edge(*edge) for edge in edges))
    shown, left_out = _busiest(wanted, max_nodes)
    kept = [edge for edge in wanted if edge.head in shown and edge.tail in shown]
    labels = {node: wrap(node, 20, 3) for node in shown}
    boxes = {node: measure(label, _NODE_TEXT, padding=0.09) for node, label in labels.items()}
    longest = max((measure(edge.relation, _EDGE_TEXT)[0] for edge in kept), default=0.0)
    placed = arrange(boxes, [(edge.head, edge.tail) for edge in kept], gap=longest, seed=seed)
    looks = {name: style.line(i) for i, (name, _) in enumerate(Counter(edge.relation for edge in kept).most_common())}
    kinds = dict.fromkeys(groups.get(node, "other") for node in shown) if groups else {}
    fills = {kind: style.FILLS[index % len(style.FILLS)] for index, kind in enumerate(kinds)}

    figure, axes = _canvas(placed, title, _note(left_out, len(wanted) - len(kept), bool(shown)), _legend(looks, fills))
    frames = {}
    for node in shown:
        fill = fills[groups.get(node, "other")] if groups else style.FILLS[0]
        frames[node] = _box(axes, placed.positions[node], boxes[node], labels[node], fill)
    scene = _Scene(axes, placed.positions, boxes, frames)
    for edge, rank in _ranked(kept):
        scene.arrow(edge, rank, *looks[edge.relation])
    return figure


class _Scene:
    """Draws arrows one after another, each where it hides neither a box nor a label that is there already."""

    def __init__(
        self,
        axes: Axes,
        centres: Mapping[str, np.ndarray],
        boxes: Mapping[str, Size],
        frames: Mapping[str, FancyBboxPatch],
    ) -> None:
        self.axes = axes
        self.centres = centres
        self.boxes = boxes
        self.frames = frames
        self.taken: list[np.ndarray] = []  # (centre x, centre y, width, height) of the labels
        self.bends: dict[frozenset[str], set[float]] = {}

    def arrow(self, edge: Edge, rank: int, color: str, pattern: style.Pattern) -> None:
        """Draw `edge`; `rank` counts the loops at its node."""
        if edge.head == edge.tail:
            corners = self._loop(edge.head, rank)
            curves = [Outline.MOVETO, Outline.CURVE4, Outline.CURVE4, Outline.CURVE4]
            arrow = FancyArrowPatch(path=Outline(corners, curves), arrowstyle=_ARROW)
            places = _bezier(corners, np.array([0.5, 0.42, 0.58]))
        else:
            start, end = self.centres[edge.head], self.centres[edge.tail]
            bend = self._free_bend(edge, start, end)
            arrow = FancyArrowPatch(
                _xy(start),
                _xy(end),
                arrowstyle=_ARROW,
                connectionstyle=f"arc3,rad={bend}",
                patchA=self.frames[edge.head],
                patchB=self.frames[edge.tail],
                shrinkA=0,
                shrinkB=1,
            )
            places = _bezier(_arc(start, end, bend), _PLACES)
        arrow.set(color=color, linestyle=pattern, linewidth=1.2, zorder=2)
        self.axes.add_patch(arrow)
        self._label(edge.relation, places, color)

    def _free_bend(self, edge: Edge, start: np.ndarray, end: np.ndarray) -> float:
        """The gentlest bend that no parallel arrow has and that crosses the fewest other boxes."""
        used = self.bends.setdefault(frozenset((edge.head, edge.tail)), set())
        # An arc's side is relative to its direction: the same bend on the way back lies on the other side.
        sense = 1.0 if edge.head < edge.tail else -1.0
        free = [bend for bend in _BENDS if all(abs(bend * sense - other) >= _APART for other in used)]
        free = free or [sense * (max(used) + _APART)]
        others = [name for name in self.boxes if name not in (edge.head, edge.tail)]
        bend = min(
            free, key=lambda bend: self._hits(_bezier(_arc(start, end, bend), np.linspace(0.1, 0.9, 25)), others)
        )
        used.add(bend * sense)
        return bend

    def _hits(self, points: np.ndarray, names: Sequence[str]) -> int:
        if not names:
            return 0
        centres = np.array([self.centres[name] for name in names])
        halves = np.array([self.boxes[name] for name in names]) / 2 + 0.03
        inside = (np.abs(points[:, None] - centres) < halves).all(2)
        return int(inside.any(0).sum())

    def _label(self, text: str, places: np.ndarray, color: str) -> None:
        """Write `text` at the first of `places` ((n, 2)) that is free, else at the least crowded."""
        short = wrap(text, 30, 2)
        size = np.array(measure(short, _EDGE_TEXT, padding=0.02))
        solid = [np.concatenate([self.centres[name], self.boxes[name]]) for name in self.boxes]
        # Hiding a node's name is worse than touching another label.
        place = min(places, key=lambda point: 3 * _overlap(point, size, solid) + _overlap(point, size, self.taken))
        self.taken.append(np.concatenate([place, size]))
        x, y = _xy(place)
        self.axes.text(
            x,
            y,
            short,
            fontsize=_EDGE_TEXT,
            color=color,
            ha="center",
            va="center",
            zorder=4,
            parse_math=False,
            bbox={"boxstyle": "round,pad=0.12", "facecolor": style.PAPER, "edgecolor": "none"},
        )

    def _loop(self, node: str, rank: int) -> np.ndarray:
        """Control points (4, 2) of a cubic curve above the node, wider for each loop there already is."""
        x, y = self.centres[node]
        height = self.boxes[node][1]
        reach, spread = 0.55 + 0.28 * rank, 0.22 + 0.08 * rank
        top = y + height / 2
        return np.array([(x + 0.1, top), (x + spread, top + reach), (x - spread, top + reach), (x - 0.1, top)])


def _busiest(edges: Sequence[Edge], limit: int) -> tuple[list[str], int]:
    """The `limit` nodes with the most edges, in order of appearance, and how many others there are."""
    degrees: Counter[str] = Counter()
    for edge in edges:
        degrees.update((edge.head, edge.tail))
    # most_common is stable: equals keep their order of appearance.
    chosen = {node for node, _ in degrees.most_common(limit)}
    return [node for node in degrees if node in chosen], len(degrees) - len(chosen)


def _ranked(edges: Sequence[Edge]) -> Iterable[tuple[Edge, int]]:
    """Each edge with the number of edges before it that join the same two nodes."""
    seen: Counter[frozenset[str]] = Counter()
    for edge in edges:
        pair = frozenset((edge.head, edge.tail))
        yield edge, seen[pair]
        seen[pair] += 1


def _note(nodes: int, edges: int, any_shown: bool) -> str:
    if not any_shown:
        return "nothing to draw: there are no relations"
    if not nodes:
        return ""
    return f"not drawn: {nodes:,} nodes with fewer edges, and the {edges:,} edges that touch them"


def _legend(looks: Mapping[str, tuple[str, style.Pattern]], fills: Mapping[str, str]) -> list[Artist]:
    handles: list[Artist] = [
        Patch(facecolor=fill, edgecolor=style.MUTED, label=_plain(kind)) for kind, fill in fills.items()
    ]
    lines = [
        Line2D([], [], color=color, linestyle=pattern, linewidth=2, label=_plain(wrap(name, 52, 1)))
        for name, (color, pattern) in looks.items()
    ]
    room = max(_LEGEND_ROWS - len(handles), 1)
    if len(lines) > room:
        rest = len(lines) - room
        lines = [*lines[:room], Line2D([], [], linestyle="none", label=f"and {rest} more relations")]
    return handles + lines


def _canvas(placed: Placed, title: str, note: str, legend: Sequence[Artist]) -> tuple[Figure, Axes]:
    """A figure just large enough, with axes whose units are inches, the legend beside and the texts around them."""
    labels = [str(handle.get_label()) for handle in legend]
    column = max((measure(label, 8)[0] for label in labels), default=-0.6) + 0.6
    top, bottom = (_HEADLINE if title else 0.0) + _MARGIN, _MARGIN + (0.2 if note else 0.0)
    inner = max(placed.height + 0.35, len(legend) * _LEGEND_ROW + 0.1, 0.8)
    wide = max(placed.width, measure(title, 12)[0] - column if title else 0.0, measure(note, 8)[0] - column, 1.0)
    width, height = wide + 2 * _MARGIN + column, inner + top + bottom
    figure = style.figure(width, height)
    axes = figure.add_axes((_MARGIN / width, bottom / height, wide / width, inner / height))
    axes.set_axis_off()
    left, low = (wide - placed.width) / 2, (inner - placed.height) / 2
    axes.set_xlim(-left, wide - left)
    axes.set_ylim(-low, inner - low)
    if title:
        place = (_MARGIN / width, 1 - _MARGIN / height)
        figure.text(*place, title, fontsize=12, fontweight="bold", color=style.INK, va="top", parse_math=False)
    if note:
        figure.text(_MARGIN / width, _MARGIN / height, note, fontsize=8, color=style.MUTED, va="bottom")
    if legend:
        figure.legend(
            handles=legend,
            loc="upper left",
            bbox_to_anchor=((wide + _MARGIN) / width, (bottom + inner) / height),
            fontsize=8,
            frameon=False,
            borderpad=0.2,
            labelspacing=0.45,
            handlelength=1.8,
        )
    return figure, axes


def _box(axes: Axes, centre: np.ndarray, size: Size, label: str, fill: str) -> FancyBboxPatch:
    width, height = size
    frame = FancyBboxPatch(
        _xy(centre - np.array(size) / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=fill,
        edgecolor=style.MUTED,
        linewidth=0.8,
        zorder=3,
    )
    axes.add_patch(frame)
    x, y = _xy(centre)
    axes.text(
        x,
        y,
        label,
        fontsize=_NODE_TEXT,
        color=style.INK,
        ha="center",
        va="center",
        zorder=5,
        parse_math=False,
        linespacing=1.15,
    )
    return frame


def _arc(start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    """The control points (3, 2) of matplotlib's `arc3`: a quadratic curve whose middle point is `bend` chords aside."""
    across = end - start
    return np.stack([start, (start + end) / 2 + bend * np.array([across[1], -across[0]]), end])


def _bezier(controls: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Points (n, 2) of the Bezier curve with these control points at the parameters `at` (n,), by de Casteljau."""
    level = np.repeat(np.asarray(controls, dtype=float)[None], len(at), axis=0)
    while level.shape[1] > 1:
        level = level[:, :-1] + at[:, None, None] * (level[:, 1:] - level[:, :-1])
    return level[:, 0]


def _xy(point: np.ndarray) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _overlap(centre: np.ndarray, size: np.ndarray, taken: Sequence[np.ndarray]) -> float:
    """Area that a box shares with the boxes in `taken`."""
    if not taken:
        return 0.0
    others = np.stack(taken)
    shared = (size + others[:, 2:]) / 2 - np.abs(centre - others[:, :2])
    return float(np.prod(np.clip(shared, 0, np.minimum(size, others[:, 2:])), axis=1).sum())


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
