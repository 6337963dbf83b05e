"""A domain as a third party would ship it, small enough for every test: four numbers in, one of three classes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from suite.domain import Domain, Task
from suite.errors import InputError
from suite.files import write_text

DOMAIN = Domain(
    name="fake",
    title="four numbers to one of three classes",
    extra="fake",
    tasks={
        "default": Task(
            recipe="tests.domains.fake_parts:FakeRecipe",
            data="tests.domains.fake_parts:FakeData",
            predictor="tests.domains.fake_parts:FakePredictor",
            query="tests.domains.fake:FakeQuery",
            result="tests.domains.fake:FakeResult",
        )
    },
    verbs={"add": "tests.domains.fake:add", "demo": "tests.domains.fake:demo"},
    load_base="tests.domains.fake_parts:load_base",
    save_base="tests.domains.fake_parts:save_base",
)


@dataclass(frozen=True)
class FakeQuery:
    """What one prediction may be asked for.

    Attributes:
        scale: multiplies the numbers.
        names: of the classes,
            in order.
        style: how a result reads.
        probabilities: give them too.
    """

    scale: float = 1.0
    names: tuple[str, ...] = ("a", "b", "c")
    style: Literal["plain", "loud"] = "plain"
    probabilities: bool = False
    resume: Path | None = None

    def __post_init__(self) -> None:
        if self.scale != self.scale:
            raise InputError("scale is nan; give a number")


@dataclass(frozen=True)
class FakeResult:
    source: str
    label: str = ""
    probabilities: tuple[float, ...] = ()
    error: str | None = None

    def __str__(self) -> str:
        return f"{self.source}: {self.label}"

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "probabilities": self.probabilities}

    def save(self, folder: str | Path) -> list[Path]:
        return [write_text(Path(folder) / f"{Path(self.source).stem}.label.txt", self.label + "\n")]


def add(first: int, second: int = 1, *, twice: bool = False) -> dict[str, Any]:
    """Add two numbers.

    Args:
        first: one number.
        second: the other.
        twice: double the sum.
    """
    total = (first + second) * (2 if twice else 1)
    return {"sum": total, "message": f"sum {total}"}


def demo(out: Path) -> dict[str, Any]:
    """Show a curve."""
    from suite.media import plots

    picture = plots.save(plots.curves({"loss": [(0, 1.0), (1, 0.5)]}), Path(out) / "curve.png")
    return {"title": "fake", "text": "A curve.", "pictures": [picture], "seconds": 0.1}
