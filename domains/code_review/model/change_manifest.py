"""What an adapter of commits remembers: the `domain` section of its `suite.json`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from suite.errors import InputError
from suite.files import check_kinds

ChangeTask = Literal["defects", "message"]
CHANGE_TASKS: tuple[ChangeTask, ...] = ("defects", "message")

_KINDS: Mapping[str, tuple[Any, str]] = {
    "task": (str, "a name"),
    "head": (str, "a name"),
    "layout": (str, "a name"),
    "max_length": (int, "a whole number"),
    "max_message": (int, "a whole number"),
    "mean": (list, "a list of numbers"),
    "deviation": (list, "a list of numbers"),
}


@dataclass(frozen=True)
class ChangeManifest:
    """How commits were read while an adapter was trained.

    Attributes:
        task: that it answers.
        head: of a classifier: `single`, or `concat`, which reads the experts' features, too.
        layout: how changes stood in the data (`data.commits.Layout`).
        max_length, max_message: most tokens of a commit, and of its message in front.
        mean, deviation: of the training commits' features; empty where none were read.
    """

    task: ChangeTask
    head: str = "single"
    layout: str = "lines"
    max_length: int = 512
    max_message: int = 64
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, section: Mapping[str, Any], task: ChangeTask, where: str) -> Self:
        """Read the section.

        Raises:
            InputError: the adapter is for another task, or something else stands where a name or a number belongs.
        """
        found = section.get("task")
        if found != task:
            own = f"is for {found}, not" if found else "tells no task of its own, and is not"
            raise InputError(f"{where}: this adapter {own} for {task}")
        check_kinds(section, _KINDS, where)
        known = {name: section[name] for name in _KINDS if name in section}
        for name in ("mean", "deviation"):
            known[name] = tuple(float(value) for value in known.get(name, ()))
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """The section, ready for `json.dumps`."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
