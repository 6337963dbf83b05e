from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from suite.media import graph, plots
from suite.media.layout import arrange, measure, wrap


def texts(figure: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in figure.axes[0].texts]


def arrows(figure: Figure) -> list[FancyArrowPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_nodes_edges_and_legend_are_all_there() -> None:
    edges = [("Ann", "owns", "Bob Ltd"), ("Bob Ltd", "based in", "Cork"), ("Ann", "born in", "Cork")]
    figure = graph.draw(edges, title="Cost $1 to $2", groups={"Ann": "person", "Cork": "place"})
    assert sorted(texts(figure)) == sorted(["Ann", "Bob Ltd", "Cork", "owns", "based in", "born in"])
    assert len(arrows(figure)) == 3
    assert legend(figure) == ["person", "other", "place", "owns", "based in", "born in"]
    assert figure.texts[0].get_text() == "Cost $1 to $2"
    plots.to_bytes(figure)


def test_parallel_and_opposite_arrows_are_bent_apart() -> None:
    edges = [("A", "one", "B"), ("A", "two", "B"), ("B", "three", "A"), ("A", "two", "B")]
    figure = graph.draw(edges)
    drawn = arrows(figure)
    assert len(drawn) == 3  # the repeated one is drawn once
    figure.canvas.draw()
    middles = [arrow.get_path().vertices[1:-1].mean(0) for arrow in drawn]
    for one, other in itertools.combinations(middles, 2):
        assert np.linalg.norm(one - other) > 0.05


def test_loops_do_not_hide_one_another() -> None:
    figure = graph.draw([("A", "one", "A"), ("A", "two", "A")])
    heights = [arrow.get_path().vertices[:, 1].max() for arrow in arrows(figure)]
    assert len(heights) == 2 and abs(heights[0] - heights[1]) > 0.1


def test_too_many_nodes_are_counted_in_the_picture() -> None:
    edges = [("hub", "has", f"leaf {index}") for index in range(20)] + [("leaf 0", "near", "leaf 1")]
    figure = graph.draw(edges, max_nodes=3)
    shown = {patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)}
    assert len(shown) == 3 and {"hub", "leaf 0", "leaf 1"} <= set(texts(figure))
    assert figure.texts[-1].get_text() == "not drawn: 18 nodes with fewer edges, and the 18 edges that touch them"
    with pytest.raises(ValueError, match="max_nodes"):
        graph.draw(edges, max_nodes=0)


def test_no_relations_make_a_picture_that_says_so() -> None:
    figure = graph.draw([], title="empty")
    assert figure.texts[-1].get_text().startswith("nothing to draw")
    assert plots.to_bytes(figure)


@pytest.mark.parametrize("name", ["", " ", "$x^2$ and $y$", "a" * 300, "tab\tand\nline", "\x00", "😀 <b>&amp;"])
def test_odd_names_are_drawn(name: str) -> None:
    figure = graph.draw([(name, name, "other")], title=name, groups={name: name})
    assert plots.to_bytes(figure, ".svg")


def test_boxes_do_not_overlap_and_lie_on_the_sheet() -> None:
    random = np.random.default_rng(0)
    boxes = {f"node {index}": (0.4 + random.random(), 0.2 + 0.3 * random.random()) for index in range(40)}
    pairs = [(f"node {index}", f"node {int(random.integers(index))}") for index in range(1, 35)]
    placed = arrange(boxes, pairs, gap=0.8, seed=0)
    for a, b in itertools.combinations(boxes, 2):
        apart = np.abs(placed.positions[a] - placed.positions[b])
        assert (apart >= (np.array(boxes[a]) + np.array(boxes[b])) / 2).any(), (a, b)
    for name, size in boxes.items():
        low, high = placed.positions[name] - np.array(size) / 2, placed.positions[name] + np.array(size) / 2
        assert (low >= 0).all() and high[0] <= placed.width and high[1] <= placed.height


def test_another_seed_may_differ_and_the_same_does_not() -> None:
    boxes = {name: (0.5, 0.3) for name in "abcdefgh"}
    pairs = list(itertools.pairwise("abcdefgh"))
    one, two = (arrange(boxes, pairs, gap=0.5, seed=1) for _ in range(2))
    assert all(np.array_equal(one.positions[name], two.positions[name]) for name in boxes)


def test_the_picture_is_the_same_in_every_process() -> None:
    code = (
        "from suite.media import graph, plots; import hashlib; "
        "edges = [(f'n{i}', 'r', f'n{i // 3}') for i in range(9)];"
        "print(hashlib.sha256(plots.to_bytes(graph.draw(edges, groups={'n1': 'x'}))).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout != ""


def test_texts_are_wrapped_and_measured() -> None:
    assert wrap("one two three four", 8, 2) == "one two\nthree …"
    assert measure("wide text", 9)[0] > measure("wide", 9)[0] > 0
    assert measure("a\nb", 9)[1] == 2 * measure("a", 9)[1]
