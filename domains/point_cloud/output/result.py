"""What prediction gives: a class or a part for every point of one cloud, and the files of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.output.labelled import write_labelled
from domains.point_cloud.output.pictures import SIZE, Drawing, legend, part_colors, picture, render, turntable
from domains.point_cloud.output.vertices import write_vertices
from domains.point_cloud.types import ClassificationQuery, Cloud, SegmentationQuery
from suite.files import write_text
from suite.media import sheets
from suite.media.sheets import Pixels

MOST_CARDS = 100
"""Clouds on a contact sheet; the tables list them all."""


@dataclass(frozen=True)
class ClassificationResult:
    """What one cloud is, or the `error` that says why that is not known.

    Attributes:
        source: the file, or what the caller's array is called.
        name: of its files, unique within one prediction.
        label: the likeliest class. probability: its share of the softmax.
        scores: probabilities of the likeliest classes, in falling order.
        known: False where no known class fits, however likely one is beside the others; None where the adapter has not
            been calibrated (`suite point_cloud calibrate`).
        points_read: points of the file, or drawn from its surface. points_used: those that the model saw.
        notices: what the user should know, one line each.
    """

    source: str
    error: str | None = None
    name: str = ""
    label: str = ""
    probability: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    known: bool | None = None
    points_read: int = 0
    points_used: int = 0
    notices: tuple[str, ...] = ()
    drawing: Drawing | None = None
    query: ClassificationQuery = field(default_factory=ClassificationQuery)

    def __str__(self) -> str:
        others = ", ".join(f"{name} {share:.0%}" for name, share in list(self.scores.items())[1:3])
        lines = [f"{self.source}: {self.caption_of('.1%')}" + (f"  ({others})" if others else "")]
        notices = self.notices[:-1] if self.known is False else self.notices  # the first line has said that
        return "\n".join([*lines, *(f"  note: {notice}" for notice in notices)])

    @property
    def caption(self) -> str:
        """What its picture says."""
        return self.caption_of(".0%")

    def caption_of(self, digits: str) -> str:
        """The label and its share, as that of the nearest class where none fits."""
        named = f"{self.label} {self.probability:{digits}}"
        return f"unknown, nearest {named}" if self.known is False else named

    def to_dict(self) -> dict[str, Any]:
        """Everything but the drawing, ready for `json.dumps`."""
        return {
            "label": self.label,
            "probability": self.probability,
            "scores": dict(self.scores),
            "known": self.known,
            "points_read": self.points_read,
            "points_used": self.points_used,
            "notices": list(self.notices),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write `<name>.json` and, where the query asks for them, pictures; return the files."""
        return save_result(self, Path(folder))


@dataclass(frozen=True)
class SegmentationResult:
    """A part for every point of one cloud, in the file's order, or the `error` that says why there is none.

    Attributes:
        category: given, or found.
        labels: (N,) ids of parts, one for every point of the file; -1 where its coordinates are NaN. Ids count
            through all categories, as in the data that the model was trained with.
        parts: names of the category's parts by id.
        counts: points of each part by name.
        scores: accuracy and mean IoU where the file holds true labels.
        cloud: the input, for writing it back with its labels.
    """

    source: str
    error: str | None = None
    name: str = ""
    category: str = ""
    labels: NDArray[Any] | None = None
    parts: Mapping[int, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    points_read: int = 0
    points_used: int = 0
    notices: tuple[str, ...] = ()
    truth: NDArray[Any] | None = None
    cloud: Cloud | None = None
    drawing: Drawing | None = None
    query: SegmentationQuery = field(default_factory=SegmentationQuery)

    def __str__(self) -> str:
        total = max(1, sum(self.counts.values()))
        shares = ", ".join(f"{name} {count / total:.0%}" for name, count in self.counts.items())
        lines = [f"{self.source}: {self.category}: {shares}"]
        if self.scores:
            lines.append("  against the file's labels: " + ", ".join(f"{k} {v:.1%}" for k, v in self.scores.items()))
        return "\n".join([*lines, *(f"  note: {notice}" for notice in self.notices)])

    @property
    def caption(self) -> str:
        """What its picture says."""
        return self.category

    def to_dict(self) -> dict[str, Any]:
        """Everything but clouds and labels, ready for `json.dumps`; labels go into the labelled cloud."""
        return {
            "category": self.category,
            "parts": {str(number): name for number, name in self.parts.items()},
            "counts": dict(self.counts),
            "scores": dict(self.scores),
            "points_read": self.points_read,
            "points_used": self.points_used,
            "notices": list(self.notices),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write the cloud with its labels, `<name>.json` and, where the query asks for them, pictures."""
        assert self.cloud is not None and self.labels is not None
        colors = part_colors(self.labels, self.parts)
        labelled = write_labelled(self.cloud, self.labels, Path(folder), self.name, self.query.format, colors)
        meshes = write_vertices(self.cloud, self.labels, colors, Path(folder), self.name)
        return [labelled, *meshes, *save_result(self, Path(folder))]


Result = ClassificationResult | SegmentationResult


def save_result(result: Result, folder: Path) -> list[Path]:
    """Write `<name>.json`, and the pictures that the result's query asks for."""
    record = {"source": result.source, **result.to_dict()}
    files = [write_text(folder / f"{result.name}.json", json.dumps(record, indent=2) + "\n")]
    if result.drawing is None:
        return files
    if result.query.picture:
        title = f"{Path(result.source).name}: {result.caption}"
        if isinstance(result, SegmentationResult) and result.truth is not None:
            image = comparison(result)
        else:
            image = picture(result.drawing, title)
        files.append(sheets.save_png(image, folder / f"{result.name}.png"))
    if result.query.turntable:
        files.append(turntable(result.drawing, folder / f"{result.name}.gif"))
    return files


def comparison(result: SegmentationResult) -> Pixels:
    """Ground truth, prediction and error side by side."""
    assert result.labels is not None and result.truth is not None and result.drawing is not None
    kept = result.labels >= 0
    known = result.truth[kept] >= 0
    wrong = known & (result.labels[kept] != result.truth[kept])
    errors = np.where(wrong[:, None], (214, 39, 40), (200, 200, 200)).astype(np.uint8)
    shown = result.drawing
    panels = {
        "ground truth": render(replace(shown, colors=part_colors(result.truth[kept], result.parts))),
        "prediction": shown.image,
        f"error: {wrong.sum() / max(1, known.sum()):.1%} of the points": render(replace(shown, colors=errors)),
    }
    image = sheets.sheet([sheets.caption(panel, title) for title, panel in panels.items()], columns=3)
    beside = ((0, 0), (0, image.shape[1] - SIZE), (0, 0))
    return np.concatenate([image, np.pad(legend(shown.legend), beside, constant_values=255)])


def card(result: Result, caption: str = "") -> Pixels:
    """A small picture for the contact sheet; a cloud that was refused gets its name and the reason.

    Args:
        caption: what it says; the result's own caption by default.
    """
    name = Path(result.source).name
    if result.error is not None:
        return sheets.refusal(name, result.error.replace(result.source, name), SIZE // 2)
    assert result.drawing is not None
    half = result.drawing.image.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean((1, 3)).astype(np.uint8)
    return sheets.caption(sheets.caption(half, caption or result.caption), name)


def contact_sheet(cards: Sequence[Pixels], path: Path) -> Path:
    """Write all cards into one picture, wider than high."""
    return sheets.save_png(sheets.sheet(cards, columns=math.ceil(math.sqrt(1.6 * len(cards)))), path)
