"""Pictures of pictures: grids of prompts and seeds, before and after, an adapter's strength, contact sheets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from domains.personalized_diffusion.types import ImagesResult, Picture
from suite.files import atomic_file, write_text

SIDE = 256
"""Pixels of a picture's longer side in grids; larger ones are shrunk, smaller ones enlarged without smoothing."""

_GAP = 4
_TEXT = 13
MOST_ROWS = 60
"""Prompts on a contact sheet; the table lists them all."""


def cell(image: Image.Image, side: int = SIDE) -> Image.Image:
    """The picture with its longer side at `side`. Tiny pictures keep their pixels as squares."""
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def grid(
    rows: Sequence[Sequence[Image.Image]],
    *,
    names: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    side: int = SIDE,
) -> Image.Image:
    """Pictures in rows, on white.

    Args:
        rows: pictures, row by row; rows may differ in length.
        names: of the rows, written left of them. columns: names of the columns, written above.
        title: above all.
        side: longer side of a picture in pixels.

    Raises:
        ValueError: there is no picture.
    """
    cells = [[cell(image, side) for image in row] for row in rows]
    if not any(cells):
        raise ValueError("a grid needs at least one picture")
    font = ImageFont.load_default(_TEXT)
    width = max(image.width for row in cells for image in row)
    height = max(image.height for row in cells for image in row)
    left = min(220, round(max((font.getlength(name) for name in names), default=-2 * _GAP) + 2 * _GAP))
    top_title, top = (_TEXT + 12 if title else 0), (_TEXT + 8 if columns else 0)
    count = max(len(row) for row in cells)
    size = left + count * (width + _GAP) + _GAP, top_title + top + len(cells) * (height + _GAP) + _GAP
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    if title:
        text = _shortened(title, font, canvas.width - 2 * _GAP)
        pen.text((_GAP, top_title / 2), text, fill="black", font=font, anchor="lm")
    for number, text in enumerate(columns):
        middle = left + _GAP + number * (width + _GAP) + width / 2
        pen.text((middle, top_title + top / 2), _shortened(text, font, width), fill="black", font=font, anchor="mm")
    for line, row in enumerate(cells):
        upper = top_title + top + _GAP + line * (height + _GAP)
        if line < len(names):
            _write_name(pen, names[line], (_GAP, upper, left - _GAP, upper + height), font)
        for place, image in enumerate(row):
            canvas.paste(image, (left + _GAP + place * (width + _GAP), upper))
    return canvas


def _write_name(
    pen: ImageDraw.ImageDraw,
    text: str,
    box: tuple[int, int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Text left of a row, broken into lines."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > box[2] - box[0]:
            lines.append(line)
            longer = word
        line = longer
    lines = [*lines, line][: max(1, (box[3] - box[1]) // (_TEXT + 4))]
    pen.multiline_text((box[0], (box[1] + box[3]) / 2), "\n".join(lines), fill="black", font=font, anchor="lm")


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2].rstrip() + "…"
    return text


def result_grid(result: ImagesResult, side: int = SIDE) -> Image.Image:
    """All pictures of a result: the frozen base, if drawn, and each strength in rows; seeds in columns."""
    rows = _by_strength(result.pictures)
    names = [_row_name(strength) for strength in rows] if len(rows) > 1 else []
    first = next(iter(rows.values()))
    return grid(
        [[picture.image for picture in row] for row in rows.values()],
        names=names,
        columns=[f"seed {picture.seed}" for picture in first],
        title=result.prompt,
        side=side,
    )


def _by_strength(pictures: Sequence[Picture]) -> dict[float | None, list[Picture]]:
    rows: dict[float | None, list[Picture]] = {}
    for picture in sorted(pictures, key=lambda one: one.strength is not None):
        rows.setdefault(picture.strength, []).append(picture)
    return rows


def _row_name(strength: float | None) -> str:
    return "base" if strength is None else f"strength {strength:g}"


def contact_sheet(results: Sequence[ImagesResult], side: int = 160) -> Image.Image:
    """A row of pictures a prompt: the adapter's at the first strength."""
    shown = [result for result in results if result.images][:MOST_ROWS]
    return grid([result.images for result in shown], names=[result.prompt for result in shown], side=side)


def before_after(before: Sequence[Image.Image], after: Sequence[Image.Image], *, title: str = "") -> Image.Image:
    """Pictures of the same seeds without (upper row) and with the adapter (lower row)."""
    return grid([before, after], names=["base", "adapter"], title=title)


def interpolation(
    by_strength: Mapping[float, Sequence[Image.Image]], *, title: str = "", side: int = SIDE
) -> Image.Image:
    """Strengths in columns, seeds in rows: how the subject comes in as the adapter acts more."""
    columns = sorted(by_strength)
    rows = zip(*(by_strength[strength] for strength in columns), strict=True)
    return grid([list(row) for row in rows], columns=[f"{strength:g}" for strength in columns], title=title, side=side)


def real_and_generated(
    real: Sequence[Image.Image], generated: Mapping[str, Sequence[Image.Image]], *, side: int = 160
) -> Image.Image:
    """The subject's photos in the first row, then a row of pictures a prompt or method."""
    names = ["photos", *generated]
    return grid([list(real), *(list(images) for images in generated.values())], names=names, side=side)


def difference(first: Image.Image, second: Image.Image) -> float:
    """Mean absolute difference of two pictures of one size, in levels of 255."""
    a, b = (np.asarray(image.convert("RGB"), dtype=np.float64) for image in (first, second))
    return float(np.abs(a - b).mean())


def save_image(image: Image.Image, path: Path, text: Mapping[str, str] | None = None) -> Path:
    """Write a PNG, all or nothing; `text` becomes its text chunks."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    with atomic_file(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)
    return path


def save_result(result: ImagesResult, folder: Path) -> list[Path]:
    """Write the pictures, `result.json` and the grid that the result's query asks for."""
    home = folder / result.name
    files = [
        save_image(
            picture.image, home / f"{file_stem(picture, result)}.png", {"parameters": parameters(picture, result)}
        )
        for picture in result.pictures
    ]
    record = {"source": result.source, **result.to_dict()}
    files.append(write_text(home / "result.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n"))
    if result.query.grid and len(result.pictures) > 1:
        files.append(save_image(result_grid(result), home / "grid.png"))
    return files


def file_stem(picture: Picture, result: ImagesResult) -> str:
    """The bare number for the strength first asked for; others say what they are."""
    if picture.strength == result.query.strength[0]:
        return str(picture.number)
    return f"{picture.number}_" + ("base" if picture.strength is None else f"strength_{picture.strength:g}")


def parameters(picture: Picture, result: ImagesResult) -> str:
    """Settings of a picture as Stable Diffusion's web interfaces write them into PNG files."""
    settings = result.settings
    if settings is None:
        return result.prompt
    lines = [result.prompt]
    if settings.negative:
        lines.append(f"Negative prompt: {settings.negative}")
    facts = {
        "Steps": settings.steps,
        "Sampler": settings.scheduler,
        "CFG scale": f"{settings.guidance:g}",
        "Seed": picture.seed,
        "Size": f"{settings.width}x{settings.height}",
        "Model": settings.base,
    }
    if picture.strength is not None:
        facts["Adapters"] = " + ".join(f"{name}@{w * picture.strength:g}" for name, w in settings.adapters.items())
    lines.append(", ".join(f"{name}: {value}" for name, value in facts.items() if value not in ("", None)))
    return "\n".join(lines)
