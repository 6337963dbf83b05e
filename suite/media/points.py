"""Pictures of point clouds without a display: a z-buffer splatter with eye-dome lighting in numpy, or Open3D.

Open3D's off-screen renderer needs a graphics driver and ends the whole process where it finds none that works, so it is
tried in a process of its own first; the splatter needs nothing, takes its place then, and is the faster one anyway.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Renderer = Literal["splat", "open3d"]

PALETTE = np.array(
    [
        (76, 120, 168), (245, 133, 24), (84, 162, 75), (228, 87, 86), (114, 183, 178), (178, 121, 162),
        (238, 202, 59), (157, 117, 93), (255, 157, 166), (121, 112, 110), (31, 119, 180), (188, 189, 34),
        (23, 190, 207), (140, 86, 75), (44, 160, 44), (214, 39, 40),
    ],
    dtype=np.uint8,
)  # fmt: skip
"""Colours of labels, told apart by people with the common colour-vision deficiencies as far as 16 can be."""


def label_colors(labels: NDArray[np.integer]) -> Pixels:
    """A colour (N, 3) for each label (N,); the palette repeats after 16."""
    return PALETTE[np.asarray(labels) % len(PALETTE)]


def value_colors(values: NDArray[np.floating]) -> Pixels:
    """A colour (N, 3) for each number (N,), lowest to highest along the viridis map."""
    from matplotlib import colormaps

    values = np.asarray(values, dtype=float)
    span = np.ptp(values)
    scaled = (values - values.min()) / span if span > 0 else np.zeros_like(values)
    return (colormaps["viridis"](scaled)[:, :3] * 255).astype(np.uint8)


@dataclass(frozen=True)
class View:
    """Where the cloud is seen from: degrees about the vertical y axis and above the horizon."""

    azimuth: float = 35.0
    elevation: float = 22.0

    @property
    def axes(self) -> NDArray[np.float64]:
        """The directions right, up and away from the eye, as rows (3, 3)."""
        a, e = np.radians(self.azimuth), np.radians(self.elevation)
        around = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
        above = np.array([[1, 0, 0], [0, np.cos(e), -np.sin(e)], [0, np.sin(e), np.cos(e)]])
        return np.array([[1], [1], [-1]]) * (above @ around)

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Right, up and away (N, 3) of points (N, 3)."""
        return np.asarray(points, dtype=float) @ self.axes.T


def render(
    points: NDArray[np.floating],
    colors: Pixels | None = None,
    *,
    size: int = 480,
    view: View | None = None,
    radius: float | None = None,
    renderer: Renderer = "splat",
) -> Pixels:
    """Draw a cloud on white.

    Args:
        points: (N, 3), any units; the picture is scaled to fit, with equal axes.
        colors: (N, 3) in 0-255; None colours by height.
        size: pixels of a side.
        radius: of a point, in pixels; None suits it to the number of points.
        renderer: `open3d` draws with Open3D where that works here, and as `splat` where it does not.

    Returns:
        (size, size, 3).
    """
    points = np.asarray(points, dtype=float)
    colors = value_colors(points[:, 1]) if colors is None else np.asarray(colors, dtype=np.uint8)
    middle = (points.min(0) + points.max(0)) / 2
    reach = np.linalg.norm(points - middle, axis=1).max() or 1.0
    seen = (view or View()).project((points - middle) / reach)
    fine = 2 * size
    radius = 2 * radius if radius else float(np.clip(fine * 0.55 / np.sqrt(len(points)), 2.5, fine / 60))
    if renderer == "open3d" and open3d_renders():
        return _halved(_open3d((points - middle) / reach, colors, fine, 2 * radius, view or View()))
    depth, image = _splat(seen, colors, fine, radius)
    shaded = image * _eye_dome(depth)[..., None]
    shaded[np.isinf(depth)] = 255
    return _halved(shaded)


def _halved(image: NDArray[Any]) -> Pixels:
    """Half as many pixels on each side, each the mean of four: smooth edges."""
    size = image.shape[0] // 2
    return image.reshape(size, 2, size, 2, 3).mean((1, 3)).round().astype(np.uint8)


def _splat(seen: NDArray[np.float64], colors: Pixels, fine: int, radius: float) -> tuple[NDArray[np.float64], Pixels]:
    """The depth (inf: nothing) and colour of each pixel when every point is a ball of `radius` pixels."""
    scale = 0.46 * fine
    x = fine / 2 + seen[:, 0] * scale
    y = fine / 2 - seen[:, 1] * scale
    reach = int(np.ceil(radius))
    offsets = np.array([(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)])
    offsets = offsets[(offsets**2).sum(1) <= radius**2]
    bulge = np.sqrt(radius**2 - (offsets**2).sum(1)) / scale
    columns = (x[:, None] + offsets[:, 0]).astype(int).clip(0, fine - 1)
    rows = (y[:, None] + offsets[:, 1]).astype(int).clip(0, fine - 1)
    away = seen[:, 2][:, None] - bulge
    pixel = (rows * fine + columns).ravel()
    # Assigned from far to near, the last write of a pixel is its nearest point.
    order = np.argsort(-away, axis=None, kind="stable")
    depth = np.full(fine * fine, np.inf)
    owner = np.zeros(fine * fine, dtype=int)
    depth[pixel[order]] = away.ravel()[order]
    owner[pixel[order]] = order // len(offsets)
    image = colors[owner].reshape(fine, fine, 3)
    return depth.reshape(fine, fine), image


def _eye_dome(depth: NDArray[np.float64], strength: float = 6.0, distance: int = 3) -> NDArray[np.float64]:
    """Shade (0, 1] of each pixel: darker the more its neighbours lie nearer to the eye (Boucheny, 2009)."""
    known = np.where(np.isinf(depth), 3.0, depth)
    shade = np.zeros_like(depth)
    for rows, columns in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        neighbour = np.roll(known, (distance * rows, distance * columns), (0, 1))
        shade += np.clip(known - neighbour, 0, 0.25)
    return np.exp(-strength * shade / 8)


def _open3d(points: NDArray[np.float64], colors: Pixels, size: int, width: float, view: View) -> Pixels:
    """The cloud, in the unit sphere, as Open3D draws it, (size, size, 3); points are `width` pixels wide."""
    import open3d
    from open3d.visualization import rendering

    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.colors = open3d.utility.Vector3dVector(colors / 255.0)
    material = rendering.MaterialRecord()
    material.shader, material.point_size = "defaultUnlit", float(width)
    with _quiet():
        renderer = rendering.OffscreenRenderer(size, size)
        renderer.scene.set_background([1.0, 1.0, 1.0, 1.0])
        renderer.scene.view.set_post_processing(False)  # tone mapping would change the colours that the legend names
        renderer.scene.add_geometry("cloud", cloud, material)
        _, up, away = view.axes
        # As far away as makes the unit sphere fill the picture nearly as the splatter's parallel projection does.
        renderer.setup_camera(30.0, np.zeros(3), -4.2 * away, up)
        image = np.array(renderer.render_to_image())
        del renderer
    return image


@contextmanager
def _quiet() -> Iterator[None]:
    """What libraries below Python say on standard output goes to standard error: it is no result."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


_PROBE = """
import numpy, open3d
from open3d.visualization import rendering
renderer = rendering.OffscreenRenderer(32, 32)
cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(numpy.zeros((1, 3))))
material = rendering.MaterialRecord()
material.shader = "defaultUnlit"
renderer.scene.add_geometry("cloud", cloud, material)
assert numpy.asarray(renderer.render_to_image()).shape == (32, 32, 3)
"""


@cache
def open3d_renders(timeout: float = 60.0) -> bool:
    """Whether Open3D's off-screen renderer works here, found out in a process that it may end."""
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
