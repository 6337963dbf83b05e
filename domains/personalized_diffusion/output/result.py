"""What one prompt gives: its pictures, and the files of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from domains.personalized_diffusion.types import Picture, PromptQuery, Settings
from suite.errors import InputError
from suite.files import read_json, write_text
from suite.media import sheets
from suite.media.sheets import SIDE
from suite.tables import counted

MOST_ROWS = 60
"""Prompts on a contact sheet; the table lists them all."""

TABLE = "images"
"""Name of the table that `evaluate` reads beside the pictures."""

COLUMNS = ("image", "prompt", "subject")


@dataclass(frozen=True)
class ImagesResult:
    """The pictures of one prompt, or the `error` that says why there are none.

    Attributes:
        source: the prompt, or FILE:LINE where it stands.
        name: of its folder, unique within one prediction; SUBJECT/NUMBER for DreamBooth's prompts.
        prompt: as the model read it. subject: of DreamBooth's protocol, else empty.
        pictures: by strength, then by seed.
        notices: what the user should know, one line each.
        seconds: that drawing took.
    """

    source: str
    error: str | None = None
    name: str = ""
    prompt: str = ""
    subject: str = ""
    pictures: tuple[Picture, ...] = ()
    settings: Settings | None = None
    notices: tuple[str, ...] = ()
    seconds: float = 0.0
    query: PromptQuery = field(default_factory=PromptQuery)

    @property
    def images(self) -> list[Image.Image]:
        """The pictures of the adapter at the first strength asked for, in the order of their seeds."""
        first = self.query.strength[0]
        return [picture.image for picture in self.pictures if picture.strength == first]

    @property
    def grid(self) -> Image.Image:
        """All pictures in one: seeds in columns; the frozen base and each strength in rows."""
        return result_grid(self)

    def __str__(self) -> str:
        size = f"{self.settings.width} x {self.settings.height}" if self.settings else ""
        lines = [f"{self.source}: {counted(len(self.pictures), 'picture')}, {size} px, {self.seconds:.1f} s"]
        return "\n".join([*lines, *(f"  note: {notice}" for notice in self.notices)])

    def to_dict(self) -> dict[str, Any]:
        """Everything but pixels, ready for `json.dumps`; each picture by the sha256 of its pixels."""
        return {
            "name": self.name,
            "prompt": self.prompt,
            "subject": self.subject,
            "settings": asdict(self.settings) if self.settings else None,
            "pictures": [
                {"number": one.number, "seed": one.seed, "strength": one.strength, "sha256": one.digest}
                for one in self.pictures
            ],
            "notices": list(self.notices),
            "seconds": round(self.seconds, 3),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write `<name>/0.png`, `1.png`, …, `result.json` and, where the query asks for it, `grid.png`.

        Pictures of the frozen base are `<n>_base.png`, those of further strengths `<n>_strength_<s>.png`; every PNG
        carries its settings as text, as Stable Diffusion's web interfaces write them.
        """
        return save_result(self, Path(folder))


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


def contact_sheet(shown: Sequence[ImagesResult], path: Path) -> Path:
    """Write the pictures of all prompts: a row for the frozen base, if drawn, and for each strength asked for."""
    rows = [(result, strength, row) for result in shown for strength, row in _by_strength(result.pictures).items()]
    several = len(rows) > len(shown)
    names = [f"{result.prompt}, {_row_name(strength)}" if several else result.prompt for result, strength, _ in rows]
    images = [[picture.image for picture in row] for _, _, row in rows]
    return sheets.save_png(sheets.grid(images, names=names, side=160), path)


def table_rows(result: ImagesResult) -> list[dict[str, str]]:
    """The rows of `images.csv`: a picture each at the first strength, with what it should show."""
    if result.error is not None:
        return []
    return [
        {
            "image": f"{result.name}/{file_stem(picture, result)}.png",
            "prompt": result.prompt,
            "subject": result.subject or "subject",
        }
        for picture in result.pictures
        if picture.strength == result.query.strength[0]
    ]


def save_result(result: ImagesResult, folder: Path) -> list[Path]:
    """Write the pictures, `result.json` and the grid that the result's query asks for."""
    home = folder / result.name
    earlier = _pictures_of(home)
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
    for file in earlier.difference(files):  # else they would pass for pictures of this run
        file.unlink(missing_ok=True)
    return files


def _pictures_of(home: Path) -> set[Path]:
    """The pictures of an earlier run in the folder of a result, as its record lists them."""
    try:
        listed = read_json(home / "result.json")["pictures"]
        names = {"grid"}
        for one in listed:
            number, strength = int(one["number"]), one["strength"]
            names |= {f"{number}", f"{number}_base" if strength is None else f"{number}_strength_{float(strength):g}"}
    except (InputError, OSError, KeyError, TypeError, ValueError):
        return set()
    return {home / f"{name}.png" for name in names}


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
