"""Pictures of pictures: grids of prompts and seeds, before and after, an adapter's strength, contact sheets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from domains.personalized_diffusion.types import ImagesResult, Picture
from suite.files import write_text
from suite.media import sheets
from suite.media.sheets import SIDE

MOST_ROWS = 60
"""Prompts on a contact sheet; the table lists them all."""


def result_grid(result: ImagesResult, side: int = SIDE) -> Image.Image:
    """All pictures of a result: the frozen base, if drawn, and each strength in rows; seeds in columns."""
    rows = _by_strength(result.pictures)
    names = [_row_name(strength) for strength in rows] if len(rows) > 1 else []
    first = next(iter(rows.values()))
    return sheets.grid(
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
    return sheets.grid([result.images for result in shown], names=[result.prompt for result in shown], side=side)


def interpolation(
    by_strength: Mapping[float, Sequence[Image.Image]], *, title: str = "", side: int = SIDE
) -> Image.Image:
    """Strengths in columns, seeds in rows: how the subject comes in as the adapter acts more."""
    columns = sorted(by_strength)
    rows = zip(*(by_strength[strength] for strength in columns), strict=True)
    return sheets.grid(
        [list(row) for row in rows], columns=[f"{strength:g}" for strength in columns], title=title, side=side
    )


def real_and_generated(
    real: Sequence[Image.Image], generated: Mapping[str, Sequence[Image.Image]], *, side: int = 160
) -> Image.Image:
    """The subject's photos in the first row, then a row of pictures a prompt or method."""
    names = ["photos", *generated]
    return sheets.grid([list(real), *(list(images) for images in generated.values())], names=names, side=side)


def difference(first: Image.Image, second: Image.Image) -> float:
    """Mean absolute difference of two pictures of one size, in levels of 255."""
    a, b = (np.asarray(image.convert("RGB"), dtype=np.float64) for image in (first, second))
    return float(np.abs(a - b).mean())


def save_result(result: ImagesResult, folder: Path) -> list[Path]:
    """Write the pictures, `result.json` and the grid that the result's query asks for."""
    home = folder / result.name
    files = [
        sheets.save_png(
            picture.image, home / f"{file_stem(picture, result)}.png", {"parameters": parameters(picture, result)}
        )
        for picture in result.pictures
    ]
    record = {"source": result.source, **result.to_dict()}
    files.append(write_text(home / "result.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n"))
    if result.query.grid and len(result.pictures) > 1:
        files.append(sheets.save_png(result_grid(result), home / "grid.png"))
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
