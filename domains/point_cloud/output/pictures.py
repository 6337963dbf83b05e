"""Pictures of results: one cloud with its class or parts, a contact sheet of many, a turning one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from domains.point_cloud.types import ClassificationResult, Drawing, SegmentationResult
from suite.files import atomic_file, write_text
from suite.media import points as drawing

Result = ClassificationResult | SegmentationResult
Pixels = drawing.Pixels

SIZE = 480
"""Pixels of a side of a picture; on the contact sheet half of it."""

UNLABELLED = (160, 160, 160)
"""Colour of points without a part."""

MOST_CARDS = 100
"""Clouds on a contact sheet; the tables list them all."""

DRAWN = 20_000
"""Points that a picture of 480 pixels can tell apart; larger clouds are thinned evenly for it."""


def render(shown: Drawing, size: int = SIZE, view: drawing.View | None = None) -> Pixels:
    """The cloud on white, (size, size, 3)."""
    step = -(-len(shown.points) // DRAWN)
    colors = None if shown.colors is None else shown.colors[::step]
    return drawing.render(shown.points[::step], colors, size=size, view=view, renderer=shown.renderer)


def picture(shown: Drawing, caption: str) -> Pixels:
    """One cloud with a caption above it and its legend below."""
    image = drawing.caption(shown.image, caption)
    if not shown.legend:
        return image
    return np.concatenate([image, drawing.legend(shown.legend, SIZE)])


def part_colors(labels: NDArray[np.integer], parts: Mapping[int, str]) -> Pixels:
    """A colour (N, 3) for the part of each point, the same for a part in every picture and file; grey for -1."""
    colors = drawing.label_colors(np.searchsorted(list(parts), labels))
    colors[labels < 0] = UNLABELLED
    return colors


def comparison(result: SegmentationResult) -> Pixels:
    """Ground truth, prediction and error side by side."""
    assert result.labels is not None and result.truth is not None and result.drawing is not None
    kept = result.labels >= 0
    wrong = result.labels[kept] != result.truth[kept]
    errors = np.where(wrong[:, None], (214, 39, 40), (200, 200, 200)).astype(np.uint8)
    shown = result.drawing
    panels = {
        "ground truth": render(replace(shown, colors=part_colors(result.truth[kept], result.parts))),
        "prediction": shown.image,
        f"error: {wrong.mean():.1%} of the points": render(replace(shown, colors=errors)),
    }
    image = drawing.sheet([drawing.caption(panel, title) for title, panel in panels.items()], columns=3)
    legend = drawing.legend(shown.legend, SIZE)
    beside = ((0, 0), (0, image.shape[1] - SIZE), (0, 0))
    return np.concatenate([image, np.pad(legend, beside, constant_values=255)])


def save_image(image: Pixels, path: Path) -> Path:
    """Write a PNG, all or nothing."""
    with atomic_file(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", optimize=False)
    return path


def save_result(result: Result, folder: Path, caption: str) -> list[Path]:
    """Write `<name>.json`, and the pictures that the result's query asks for."""
    record = {"source": result.source, **result.to_dict()}
    files = [write_text(folder / f"{result.name}.json", json.dumps(record, indent=2) + "\n")]
    if result.drawing is None:
        return files
    if result.query.picture:
        title = f"{Path(result.source).name}: {caption}"
        if isinstance(result, SegmentationResult) and result.truth is not None:
            image = comparison(result)
        else:
            image = picture(result.drawing, title)
        files.append(save_image(image, folder / f"{result.name}.png"))
    if result.query.turntable:
        files.append(turntable(result.drawing, folder / f"{result.name}.gif"))
    return files


def turntable(shown: Drawing, path: Path, frames: int = 24, size: int = 240) -> Path:
    """Write a GIF of the cloud turning once about its vertical axis."""
    turned = [Image.fromarray(render(shown, size, drawing.View(360 * i / frames))) for i in range(frames)]
    with atomic_file(path) as temporary:
        turned[0].save(temporary, format="GIF", save_all=True, append_images=turned[1:], duration=80, loop=0)
    return path


def card(result: Result, caption: str) -> Pixels:
    """A small picture for the contact sheet; a cloud that was refused gets its name and the reason."""
    name = Path(result.source).name
    if result.error is not None:
        return _refusal(name, result.error.replace(result.source, name))
    assert result.drawing is not None
    half = result.drawing.image.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean((1, 3)).astype(np.uint8)
    return drawing.caption(drawing.caption(half, caption), name)


def _refusal(name: str, reason: str) -> Pixels:
    canvas = Image.new("RGB", (SIZE // 2, SIZE // 2), (250, 236, 236))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    lines, line = [], ""
    for word in reason.removeprefix(f"{name}: ").split():
        if line and font.getlength(f"{line} {word}") > SIZE // 2 - 20:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    pen.multiline_text((10, 10), "\n".join(["refused", "", *lines, line][:13]), fill=(140, 30, 30), font=font)
    return drawing.caption(drawing.caption(np.asarray(canvas), "refused"), name)


def contact_sheet(cards: Sequence[Pixels], path: Path) -> Path:
    """Write all cards into one picture, wider than high."""
    return save_image(drawing.sheet(cards, columns=math.ceil(math.sqrt(1.6 * len(cards)))), path)
