"""Cases of the three tasks from made repositories (`suite.code.repositories`). Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from domains.code_review.data.examples import Example
from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.model.wording import Task
from domains.code_review.types import Hunk
from suite.code.repositories import Change, Split, repositories

SPLITS: dict[str, Split] = {"train": "train", "val": "validation", "test": "test"}
"""What a configuration calls the splits."""


def changes(split: Split, seed: int = 0) -> Iterator[Change]:
    """Changes of the made repositories of a split, whose kinds the base has not seen."""
    for repository in repositories(seed, split):
        yield from repository.changes()


def examples(split: Split, task: Task, seed: int = 0) -> Iterator[Example]:
    """Cases of a task, one a hunk; of comments and refinements those with a fault alone."""
    for number, change in enumerate(changes(split, seed)):
        yield from _of_change(change, task, f"world:{split}:{number}")


def _of_change(change: Change, task: Task, name: str) -> Iterator[Example]:
    [file] = parse_diff(change.diff)
    for place, hunk in enumerate(file.hunks, 1):
        wanted = mended(hunk, change)
        faulty = wanted is not None
        case = {"id": f"{name}:{place}", "task": task, "language": "python"}
        if task == "necessity":
            yield Example(answer="yes" if faulty else "no", hunk=hunk, **case)  # type: ignore[arg-type]
        elif faulty and task == "comment":
            yield Example(answer=change.comment, hunk=hunk, **case)  # type: ignore[arg-type]
        elif wanted is not None:
            code = "\n".join(line.text for line in hunk.side("RIGHT"))
            yield Example(answer=wanted, code=code, comment=change.comment, **case)  # type: ignore[arg-type]


def mended(hunk: Hunk, change: Change) -> str | None:
    """The hunk's new lines as they should be; None where they are right as they are."""
    after, right = change.after.splitlines(), change.right.splitlines()
    start, stop = hunk.new_start - 1, hunk.new_start - 1 + hunk.new_count
    lines: list[str] = []
    for tag, a, b, c, d in SequenceMatcher(None, after, right, autojunk=False).get_opcodes():
        if tag == "equal":
            low, high = max(a, start), min(b, stop)
            lines += right[c + low - a : c + high - a] if low < high else []
        elif a < stop and (b > start or a == b >= start):
            lines += right[c:d]
    return None if lines == after[start:stop] else "\n".join(lines)
