"""Pictures beside each other: captions, legends, grids of rows and columns, contact sheets, refusals; PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from suite.files import atomic_file

Pixels = NDArray[np.uint8]
"""(height, width, 3), red, green and blue in 0-255."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SIDE = 256
"""Pixels of a picture's longer side in grids; larger ones are shrunk, smaller ones enlarged without smoothing."""

SHEET = "contact_sheet.png"

_GAP = 4
_TEXT = 16


def save_png(image: Image.Image | Pixels, path: Path, text: Mapping[str, str] | None = None) -> Path:
    """Write a PNG, all or nothing; `text` becomes its text chunks."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    with atomic_file(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=info)
    return path


def font_for(text: str, size: float) -> Font:
    """The font to write `text` in: Pillow's own, which has ASCII alone, or one that has its other characters too."""
    if text.isascii():
        return ImageFont.load_default(size)
    from suite.media import fonts  # matplotlib, which most texts do without

    return ImageFont.truetype(fonts.file_covering(text), size)


def shortened(text: str, font: Font, width: float) -> str:
    """The text, cut with an ellipsis where it is wider than `width` pixels."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2].rstrip() + "…"
    return text


def wrapped(text: str, font: Font, width: float) -> list[str]:
    """The text in lines of at most `width` pixels, broken between words."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]


def caption(image: Pixels, text: str) -> Pixels:
    """The image with a line of text above it, shortened to its width."""
    width = image.shape[1]
    size = max(16, width // 24)
    font, height = font_for(text, size), int(size * 1.7)
    canvas = Image.new("RGB", (width, image.shape[0] + height), "white")
    canvas.paste(Image.fromarray(image), (0, height))
    text = shortened(text, font, width - 8)
    ImageDraw.Draw(canvas).text((width / 2, height / 2), text, fill="black", font=font, anchor="mm")
    return np.asarray(canvas)


def legend(names: Sequence[str], colors: Pixels, width: int) -> Pixels:
    """A strip of colour swatches with names, `width` pixels wide and as high as its lines need."""
    size = max(15, width // 30)
    font, step, x = font_for("".join(names), size), int(size * 1.6), 8
    lines: list[list[tuple[int, str, tuple[int, ...]]]] = [[]]
    for name, color in zip(names, colors, strict=True):
        needed = step + int(font.getlength(name)) + 16
        if x + needed > width and lines[-1]:
            lines.append([])
            x = 8
        lines[-1].append((x, name, tuple(int(value) for value in color)))
        x += needed
    canvas = Image.new("RGB", (width, step * len(lines) + 6), "white")
    pen = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        top = 3 + number * step
        for left, name, color in line:
            pen.rectangle((left, top + 2, left + step - 6, top + step - 4), fill=color)
            pen.text((left + step, top + step / 2), name, fill="black", font=font, anchor="lm")
    return np.asarray(canvas)


def sheet(images: Sequence[Pixels], columns: int | None = None) -> Pixels:
    """Images side by side in rows, on white.

    Raises:
        ValueError: there are no images.
    """
    if not images:
        raise ValueError("a sheet needs at least one image")
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    width, height = max(i.shape[1] for i in images), max(i.shape[0] for i in images)
    rows = -(-len(images) // columns)
    canvas = np.full((rows * height, min(columns, len(images)) * width, 3), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * height, number % columns * width
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def refusal(name: str, reason: str, side: int) -> Pixels:
    """A card, `side` pixels high and wide below its captions, of an input that was refused: its name and the reason."""
    canvas = Image.new("RGB", (side, side), (250, 236, 236))
    font = font_for(reason, 12)
    lines = ["refused", "", *wrapped(reason.removeprefix(f"{name}: "), font, side - 20)][:13]
    ImageDraw.Draw(canvas).multiline_text((10, 10), "\n".join(lines), fill=(140, 30, 30), font=font)
    return caption(caption(np.asarray(canvas), "refused"), name)


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
    text: int = _TEXT,
) -> Image.Image:
    """Pictures in rows, on white.

    Args:
        rows: pictures, row by row; rows may differ in length.
        names: of the rows, written left of them. columns: names of the columns, written above.
        title: above all.
        side: longer side of a picture in pixels.
        text: height of the names and the title in pixels.

    Raises:
        ValueError: there is no picture.
    """
    cells = [[cell(image, side) for image in row] for row in rows]
    if not any(cells):
        raise ValueError("a grid needs at least one picture")
    font = font_for("".join((title, *names, *columns)), text)
    width = max(image.width for row in cells for image in row)
    height = max(image.height for row in cells for image in row)
    left = min(220, round(max((font.getlength(name) for name in names), default=-2 * _GAP) + 2 * _GAP))
    top_title, top = (text + 12 if title else 0), (text + 8 if columns else 0)
    count = max(len(row) for row in cells)
    size = left + count * (width + _GAP) + _GAP, top_title + top + len(cells) * (height + _GAP) + _GAP
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    if title:
        heading = shortened(title, font, canvas.width - 2 * _GAP)
        pen.text((_GAP, top_title / 2), heading, fill="black", font=font, anchor="lm")
    for number, name in enumerate(columns):
        middle = left + _GAP + number * (width + _GAP) + width / 2
        pen.text((middle, top_title + top / 2), shortened(name, font, width), fill="black", font=font, anchor="mm")
    for line, row in enumerate(cells):
        upper = top_title + top + _GAP + line * (height + _GAP)
        if line < len(names):
            _row_name(pen, names[line], (_GAP, upper, left - _GAP, upper + height), font, text)
        for place, image in enumerate(row):
            canvas.paste(image, (left + _GAP + place * (width + _GAP), upper))
    return canvas


def _row_name(pen: ImageDraw.ImageDraw, text: str, box: tuple[int, int, int, int], font: Font, size: int) -> None:
    """Text left of a row, broken into lines."""
    left, upper, right, lower = box
    lines = wrapped(text, font, right - left)[: max(1, (lower - upper) // (size + 4))]
    pen.multiline_text((left, (upper + lower) / 2), "\n".join(lines), fill="black", font=font, anchor="lm")
