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


def test_where_open3d_cannot_draw_the_splatter_does(monkeypatch):
    cloud = np.random.default_rng(0).normal(size=(50, 3))
    monkeypatch.setattr(points, "open3d_renders", lambda: False)
    assert np.array_equal(points.render(cloud, size=48, renderer="open3d"), points.render(cloud, size=48))


def test_a_renderer_that_ends_its_process_is_not_used(monkeypatch):
    monkeypatch.setattr(points, "_PROBE", "import os; os.abort()")
    assert points.open3d_renders.__wrapped__() is False
    monkeypatch.setattr(points, "_PROBE", "import time; time.sleep(60)")
    assert points.open3d_renders.__wrapped__(timeout=0.2) is False


@pytest.mark.slow
def test_open3d_draws_the_same_colours_at_the_same_places():
    if not points.open3d_renders():
        pytest.skip("Open3D's off-screen renderer does not work on this machine")
    cloud = np.random.default_rng(0).uniform(-1, 1, size=(4000, 3))
    colors = points.label_colors((cloud[:, 0] > 0).astype(int))
    view = points.View(0, 0)
    drawn = {name: points.render(cloud, colors, size=96, view=view, renderer=name) for name in ("splat", "open3d")}
    for name, image in drawn.items():
        left, right = image[40:56, 24:40].reshape(-1, 3), image[40:56, 56:72].reshape(-1, 3)
        assert np.abs(np.median(left, 0) - points.PALETTE[0]).max() < 60, name
        assert np.abs(np.median(right, 0) - points.PALETTE[1]).max() < 60, name
    covered = {name: (image < 250).any(-1).mean() for name, image in drawn.items()}
    assert abs(covered["splat"] - covered["open3d"]) < 0.1
