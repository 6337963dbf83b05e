"""What prediction gives: a video's vector, and how near sentences are to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.text_video_retrieval.output.strips import compared
from domains.text_video_retrieval.types import TextVideoQuery
from suite.files import atomic_file, write_text
from suite.media import sheets

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class VideoResult:
    """A video beside sentences, or the `error` that says why there is none.

    Attributes:
        source: the file. name: of its files, unique within one prediction.
        scores: cosine of each sentence, the nearest first. Typically 0.15 to 0.35 for a CLIP of real size: they order
            sentences and videos, and are no probabilities.
        vector: (dim,) of length 1. times: of the frames that were read, seconds.
        moments: for each sentence the time of the frame that is nearest to it.
    """

    source: str
    error: str | None = None
    name: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    moments: Mapping[str, float] = field(default_factory=dict)
    vector: NDArray[np.float32] | None = None
    times: tuple[float, ...] = ()
    notices: tuple[str, ...] = ()
    pictures: tuple[Pixels, ...] = ()
    query: TextVideoQuery = field(default_factory=TextVideoQuery)

    @property
    def best(self) -> str:
        """The nearest sentence; empty without any."""
        return next(iter(self.scores), "")

    def __str__(self) -> str:
        lines = [f"{self.source}: " + (self.best or f"{len(self.times)} frames read")]
        lines += [f"  {score:.3f}  {sentence}" for sentence, score in self.scores.items()]
        return "\n".join([*lines, *(f"  note: {notice}" for notice in self.notices)])

    def to_dict(self) -> dict[str, Any]:
        """Everything but pictures and vector, ready for `json.dumps`."""
        return {
            "best": self.best,
            "scores": dict(self.scores),
            "moments": dict(self.moments),
            "times": list(self.times),
            "notices": list(self.notices),
        }

    def save(self, folder: str | Path) -> list[Path]:
        """Write `<name>.json`, the vector and the strip of frames; return the files."""
        folder = Path(folder)
        record = {"source": self.source, **self.to_dict()}
        written = [write_text(folder / f"{self.name}.json", json.dumps(record, ensure_ascii=False, indent=2) + "\n")]
        if self.query.vector and self.vector is not None:
            with atomic_file(folder / f"{self.name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, self.vector)
            written.append(folder / f"{self.name}.npy")
        if self.query.picture and self.pictures:
            image = compared(self.pictures, self.times, self.scores, Path(self.source).name)
            written.append(sheets.save_png(image, folder / f"{self.name}.png"))
        return written
