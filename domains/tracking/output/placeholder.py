"""What one input gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.files import write_text


@dataclass(frozen=True)
class PlaceholderResult:
    """The place of the largest number.

    Attributes:
        source: where the numbers stand. error: why there is no answer.
        place: 0, 1 or 2; scores: the chance of each, where asked for.
    """

    source: str
    place: int | None = None
    scores: tuple[float, ...] = ()
    error: str | None = None

    def __str__(self) -> str:
        return f"{self.source}: {self.place}"

    def to_dict(self) -> dict[str, Any]:
        return {"place": self.place, "scores": list(self.scores)}

    def save(self, folder: str | Path) -> list[Path]:
        """Write `<name>.place.txt`."""
        return [write_text(Path(folder) / f"{Path(self.source).stem}.place.txt", f"{self.place}\n")]
