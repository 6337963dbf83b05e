from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from suite.errors import InputError
from suite.media import graph, plots


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_curves_survive_gaps_and_dollars() -> None:
    noisy = [(step, math.nan if step == 3 else 1 / (1 + step)) for step in range(50)]
    figure = plots.curves({"loss $a$": noisy, "none": []}, title="5 $ of 6 $", y="loss", log=True, smooth=0.9)
    assert pixels(plots.to_bytes(figure)).std() > 1
    assert len(figure.axes[0].lines) == 2  # the points and the smoothed line


def test_curves_without_points_say_so() -> None:
    figure = plots.curves({"loss": []})
    assert figure.axes[0].texts[0].get_text() == "no points yet"


def test_the_moving_average_of_a_constant_is_the_constant() -> None:
    figure = plots.curves({"loss": [(step, 2.0) for step in range(30)]}, smooth=0.99)
    assert np.allclose(figure.axes[0].lines[1].get_ydata(), 2.0)


def test_bars_carry_their_figures() -> None:
    figure = plots.bars({"base": 0.125, "lora": 0.7, "gone": math.nan}, errors={"lora": 0.02}, percent=True)
    assert [text.get_text() for text in figure.axes[0].texts] == ["12.5 %", "70.0 %", "nan %"]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_saving_is_reproducible(tmp_path: Path, suffix: str) -> None:
    def draw() -> bytes:
        figure = graph.draw([("A", "knows", "B"), ("B", "knows", "A")], title="two")
        return plots.save(figure, tmp_path / "new" / f"picture{suffix}").read_bytes()

    assert draw() == draw()


@pytest.mark.parametrize("name", ["picture.exe", "picture"])
def test_a_picture_needs_a_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"use \.png or \.svg"):
        plots.save(plots.bars({"a": 1}), tmp_path / name)
    assert not list(tmp_path.iterdir())
