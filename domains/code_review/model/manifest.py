"""What an adapter remembers of how it was trained: the `domain` section of its `suite.json`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domains.code_review.model.wording import LLAMA_REVIEWER, TASKS, Task, Template
from suite.errors import InputError
from suite.files import check_kinds

_KINDS: Mapping[str, tuple[Any, str]] = {
    "task": (str | None, "a name"),
    "template": (dict | None, "an object"),
    "threshold": (float | int | None, "a number"),
}


@dataclass(frozen=True)
class Manifest:
    """How an adapter was asked while it was trained.

    Attributes:
        task: that it answers; None where nothing tells it, and of a folder with an adapter for each.
        template: the words around hunks and code.
        threshold: from which chance on it was found best to call for a review; None where nobody looked.
    """

    task: Task | None = None
    template: Template = LLAMA_REVIEWER
    threshold: float | None = None

    @classmethod
    def from_dict(cls, section: Mapping[str, Any], where: str = "the adapter") -> Manifest:
        """Read the section; a plain peft folder has none, and is taken for one with the published prompts.

        Raises:
            InputError: something else stands where a name or an object belongs, or there is no such task.
        """
        check_kinds(section, _KINDS, where)
        task, template = section.get("task"), section.get("template")
        if task is not None and task not in TASKS:
            raise InputError(f"{where}: its task {task!r} is none of {', '.join(TASKS)}")
        return cls(
            task,
            LLAMA_REVIEWER if template is None else Template.from_dict(template),
            section.get("threshold"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The section, ready for `json.dumps`."""
        told: dict[str, Any] = {"template": self.template.to_dict()}
        if self.task is not None:
            told["task"] = self.task
        if self.threshold is not None:
            told["threshold"] = self.threshold
        return told
