"""What one input's commits gave."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.code_review.types import printable
from suite.files import write_text


@dataclass(frozen=True)
class Told:
    """What is said of one commit.

    Attributes:
        commit: its hash, or what it is called. subject: the first line of its own message.
        chance: that it brings in a defect; None where that was not asked. defect: whether that reaches the threshold.
        message: that it could have; empty where that was not asked.
    """

    commit: str
    subject: str = ""
    chance: float | None = None
    defect: bool | None = None
    message: str = ""

    def __str__(self) -> str:
        name = f"{self.commit[:12]}: "
        if self.chance is None:
            return f"{name}{printable(self.message)}"
        verdict = "defect" if self.defect else "clean"
        return f"{name}[{verdict} {self.chance:.2f}] {printable(self.subject)}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """As data, without what was not asked."""
        asked = ("message",) if self.chance is None else ("chance", "defect")
        return {name: getattr(self, name) for name in ("commit", "subject", *asked)}


@dataclass(frozen=True)
class ChangeResult:
    """The commits of one input, or the `error` of one that could not be read.

    Attributes:
        source: the file or folder. told: of each commit. name: how its file is named.
    """

    source: str
    error: str | None = None
    told: tuple[Told, ...] = ()
    name: str = "commits"

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return {"source": self.source, "error": self.error, "commits": [one.to_dict() for one in self.told]}

    def save(self, folder: str | Path) -> list[Path]:
        """Write it as JSON; return the file."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n"
        return [write_text(Path(folder) / f"{self.name}.commits.json", text)]

    def __str__(self) -> str:
        return "\n".join(map(str, self.told)) if self.told else f"{self.source}: no commit"
