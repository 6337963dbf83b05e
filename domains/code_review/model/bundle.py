"""Where the adapters of the tasks are: a folder of one, or one that holds a folder for each. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from domains.code_review.model.manifest import Manifest
from domains.code_review.model.wording import TASKS, Task, Template
from suite.errors import InputError
from suite.manifest import CONFIG, MANIFEST, read_manifest


@dataclass(frozen=True)
class Bundle:
    """Adapters by task.

    Attributes:
        parts: the folder of each.
        base: reference of the base that they name; None where they do not.
        templates: the words that each was trained with.
        threshold: of the decision, as its adapter states it.
    """

    parts: Mapping[Task, Path] = field(default_factory=dict)
    base: str | None = None
    templates: Mapping[Task, Template] = field(default_factory=dict)
    threshold: float | None = None

    def with_part(self, task: Task, folder: Path) -> Bundle:
        """The same with another adapter for a task.

        Raises:
            InputError: the folder holds none for it.
        """
        found = find_bundle(part_of(folder, task), task)
        if found.threshold is None and task == "necessity" and (folder / MANIFEST).is_file():
            whole = Manifest.from_dict(read_manifest(folder)["domain"], str(folder)).threshold
            found = Bundle(found.parts, found.base, found.templates, whole)
        return Bundle(
            {**self.parts, **found.parts},
            self.base or found.base,
            {**self.templates, **found.templates},
            self.threshold if found.threshold is None else found.threshold,
        )


def find_bundle(root: Path, task: Task | None = None) -> Bundle:
    """Describe the adapters of a folder.

    Args:
        task: what its one adapter is for, where it does not say so itself.

    Raises:
        InputError: there is none, it is for another task, or nothing says what it is for.
    """
    inside: dict[Task, Path] = {name: root / name for name in TASKS if holds_adapter(root / name)}
    if inside:
        found = Bundle()
        for name, part in inside.items():
            found = found.with_part(name, part)
        stated = Manifest.from_dict(read_manifest(root)["domain"], str(root)) if (root / MANIFEST).is_file() else None
        whole = None if stated is None else stated.threshold
        return found if whole is None else Bundle(found.parts, found.base, found.templates, whole)
    if not holds_adapter(root):
        raise InputError(f"{root}: no adapter there; expected {CONFIG}, or a folder for each of {', '.join(TASKS)}")
    manifest = read_manifest(root)
    settings = Manifest.from_dict(manifest["domain"], str(root))
    if task is not None and settings.task not in (None, task):
        raise InputError(f"{root}: this adapter is for {settings.task}, not for {task}; give it as --{settings.task}")
    own = settings.task or task
    if own is None:
        raise InputError(f"{root}: nothing says what this adapter is for; give it as --{', --'.join(TASKS)}")
    return Bundle({own: root}, manifest["base"]["reference"], {own: settings.template}, settings.threshold)


def part_of(root: Path, task: Task) -> Path:
    """The folder of a task's adapter: its own below `root`, else `root` itself."""
    return root / task if holds_adapter(root / task) else root


def holds_adapter(folder: Path) -> bool:
    """Whether an adapter lies in a folder itself."""
    return (folder / CONFIG).is_file() or (folder / MANIFEST).is_file()
