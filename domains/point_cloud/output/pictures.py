"""Pictures of clouds: one with its class or parts, a turning one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from domains.point_cloud.types import Renderer
from suite.files import atomic_file
from suite.media import points, sheets
from suite.media.sheets import Pixels

SIZE = 480
"""Pixels of a side of a picture; on the contact sheet half of it."""

UNLABELLED = (160, 160, 160)
"""Colour of points without a part."""

DRAWN = 20_000
"""Points that a picture of 480 pixels can tell apart; larger clouds are thinned evenly for it."""


@dataclass(frozen=True)
class Drawing:
    """What a picture of a result shows: points (N, 3) and their colours (N, 3) in 0-255, None by height."""

    points: NDArray[np.floating]
    colors: Pixels | None = None
    legend: tuple[str, ...] = ()
    renderer: Renderer = "splat"

    @cached_property
    def image(self) -> Pixels:
        """The cloud seen from the front left, drawn once for its own picture and the contact sheet."""
        return render(self)


def render(shown: Drawing, size: int = SIZE, view: points.View | None = None) -> Pixels:
    """The cloud on white, (size, size, 3)."""
    step = -(-len(shown.points) // DRAWN)
    colors = None if shown.colors is None else shown.colors[::step]
    return points.render(shown.points[::step], colors, size=size, view=view, renderer=shown.renderer)


def picture(shown: Drawing, caption: str) -> Pixels:
    """One cloud with a caption above it and its legend below."""
    image = sheets.caption(shown.image, caption)
    if not shown.legend:
        return image
    return np.concatenate([image, legend(shown.legend)])


def legend(parts: Sequence[str]) -> Pixels:
    """A strip with the colour of each part, as wide as one picture."""
    return sheets.legend(parts, points.label_colors(np.arange(len(parts))), SIZE)


def part_colors(labels: NDArray[np.integer], parts: Mapping[int, str]) -> Pixels:
    """A colour (N, 3) for the part of each point, the same for a part in every picture and file; grey for -1."""
    colors = points.label_colors(np.searchsorted(list(parts), labels))
    colors[labels < 0] = UNLABELLED
    return colors


def turntable(shown: Drawing, path: Path, frames: int = 24, size: int = 240) -> Path:
    """Write a GIF of the cloud turning once about its vertical axis."""
    turned = [Image.fromarray(render(shown, size, points.View(360 * i / frames))) for i in range(frames)]
    with atomic_file(path) as temporary:
        turned[0].save(temporary, format="GIF", save_all=True, append_images=turned[1:], duration=80, loop=0)
    return path
