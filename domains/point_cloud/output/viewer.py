"""Looking at clouds: an Open3D window where there is a display, else one HTML page that needs nothing."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domains.point_cloud.output.pictures import Drawing
from suite.files import write_text
from suite.media import points as drawing
from suite.media.sheets import Pixels

PAGE = Path(__file__).with_name("viewer.html")
MOST = 200_000
"""Points of a cloud on the page; larger ones are thinned evenly."""


def show(shown: Sequence[tuple[str, Drawing]], out: Path | None) -> Path | None:
    """Open a window for each cloud in turn, or write `viewer.html` into `out` (default: here) and say so."""
    if not shown:
        return None
    if has_display():
        for title, one in shown:
            _window(title, one)
        return None
    path = write_page(shown, (out or Path()) / "viewer.html")
    print(f"no display here; open {path} in a browser", file=sys.stderr, flush=True)
    return path


def has_display() -> bool:
    """Whether a window can be opened."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def write_page(shown: Sequence[tuple[str, Drawing]], path: Path) -> Path:
    """Write a page that shows the clouds with WebGL: no server, no network."""
    data = json.dumps([_record(title, one) for title, one in shown])
    # A title may hold anything; inside a script element only "</" could end it.
    return write_text(path, PAGE.read_text(encoding="utf-8").replace("__CLOUDS__", data.replace("</", "<\\/")))


def _record(title: str, shown: Drawing) -> dict[str, Any]:
    step = -(-len(shown.points) // MOST)
    points = np.asarray(shown.points, dtype=np.float32)[::step]
    colors = _colors(shown)[::step]
    middle = (points.min(0) + points.max(0)) / 2
    reach = float(np.linalg.norm(points - middle, axis=1).max()) or 1.0
    swatches = drawing.label_colors(np.arange(len(shown.legend))) if shown.legend else ()
    return {
        "title": title,
        "count": len(points),
        "points": base64.b64encode(((points - middle) / reach).astype("<f4").tobytes()).decode(),
        "colors": base64.b64encode(np.ascontiguousarray(colors).tobytes()).decode(),
        "legend": [(name, f"rgb({r}, {g}, {b})") for name, (r, g, b) in zip(shown.legend, swatches, strict=True)],
    }


def _colors(shown: Drawing) -> Pixels:
    if shown.colors is None:
        return drawing.value_colors(np.asarray(shown.points)[:, 1])
    return np.asarray(shown.colors, dtype=np.uint8)


def _window(title: str, shown: Drawing) -> None:
    import open3d

    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(np.asarray(shown.points, dtype=np.float64)))
    cloud.colors = open3d.utility.Vector3dVector(_colors(shown) / 255.0)
    open3d.visualization.draw_geometries([cloud], window_name=title)
