import numpy as np
import pytest

from suite.media import points


def test_nearer_points_hide_farther_ones_and_nothing_is_white():
    cloud = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
    front = points.render(cloud, colors, size=64, view=points.View(0, 0), radius=6)
    back = points.render(cloud, colors, size=64, view=points.View(180, 0), radius=6)
    middle = (slice(31, 33), slice(44, 46))  # the pair stands right of the middle of the bounding box
    assert np.abs(front[middle] - np.array([255, 0, 0])).max() < 8
    assert np.abs(back[31:33, 18:20] - np.array([0, 255, 0])).max() < 8
    assert (front[0, 0] == 255).all()


def test_a_single_point_and_equal_points_can_be_drawn():
    assert (points.render(np.zeros((1, 3)), size=32) < 255).any()
    assert (points.render(np.ones((5, 3)), size=32) < 255).any()


def test_sheets_captions_and_legends_fit_together():
    image = points.render(np.random.default_rng(0).normal(size=(50, 3)), size=48)
    titled = points.caption(image, "a caption far too long for such a small picture")
    strip = points.legend(["seat", "legs", "back", "a long name of a part"], 48)
    assert titled.shape[1] == strip.shape[1] == 48 and titled.shape[0] > 48
    whole = points.sheet([titled, strip, image], columns=2)
    assert whole.shape == (2 * max(titled.shape[0], strip.shape[0]), 96, 3)
    with pytest.raises(ValueError, match="at least one"):
        points.sheet([])
