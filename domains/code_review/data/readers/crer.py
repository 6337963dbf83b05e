"""CodeReviewer's release (Zenodo 6900648): a line of JSON a case, one folder a task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domains.code_review.data.examples import Example, hunk_of, unmarked
from domains.code_review.data.languages import ending_of
from domains.code_review.data.readers.paths import quoted
from domains.code_review.data.readers.records import Skipping, each_line, json_object, read_lines, text_field
from domains.code_review.model.wording import Task
from suite.errors import InputError
from suite.prediction.inputs import slug

FOLDERS: dict[Task, tuple[str, str]] = {
    "necessity": ("Diff_Quality_Estimation", "cls"),
    "comment": ("Comment_Generation", "msg"),
    "refinement": ("Code_Refinement", "ref"),
}
"""Of each task, the folder and how its files begin."""


def files_of(root: Path, task: Task, split: str) -> list[Path]:
    """A split's files: `cls-train-chunk-0.jsonl` and the next, or `msg-train.jsonl`.

    Args:
        root: of the release, or the task's own folder.

    Raises:
        InputError: there is none.
    """
    folder, start = FOLDERS[task]
    for place in (root / folder, root):
        if found := sorted([*place.glob(f"{start}-{split}.jsonl"), *place.glob(f"{start}-{split}-chunk-*.jsonl")]):
            return found
    raise InputError(f"{root}: no {folder}/{start}-{split}.jsonl there; give the folder of CodeReviewer's release")


def read_crer(path: Path, task: Task, skipping: Skipping) -> Iterator[Example]:
    """The cases of one file, for one task.

    Raises:
        InputError: a line is no JSON object or lacks a key; names file, line and key.
    """
    return each_line(path, lambda line, where: _MAKERS[task](json_object(line, where), where), skipping)


def _necessity(record: dict[str, Any], where: str) -> Example:
    """`y` says it; without one it is no, and a comment means yes whatever `y` says."""
    needed = record.get("y") or 0
    if needed not in (0, 1, "0", "1"):
        raise InputError(f"{where}: 'y' is {needed!r}, neither 0 nor 1")
    said = record.get("msg") or ""
    answer = "yes" if int(needed) or (isinstance(said, str) and said.strip()) else "no"
    return _of_hunk(record, where, "necessity", answer)


def _comment(record: dict[str, Any], where: str) -> Example:
    said = text_field(record, "msg", where).strip()
    if not said:
        raise InputError(f"{where}: 'msg' is empty, there is no comment to learn")
    return _of_hunk(record, where, "comment", said)


def _refinement(record: dict[str, Any], where: str) -> Example:
    old, new = (unmarked(text_field(record, key, where)) for key in ("old", "new"))
    comment = text_field(record, "comment", where).strip()
    return Example(_id(record, where), "refinement", new, code=old, comment=comment, language=_language(record))


_MAKERS = {"necessity": _necessity, "comment": _comment, "refinement": _refinement}


def _of_hunk(record: dict[str, Any], where: str, task: Task, answer: str) -> Example:
    patch = text_field(record, "patch", where)
    hunk = hunk_of(patch)
    code = "" if hunk is not None else patch
    old = record.get("oldf") if task == "necessity" else None
    old_file = old if isinstance(old, str) else ""
    return Example(
        _id(record, where), task, answer, hunk=hunk, code=code, language=_language(record), old_file=old_file
    )


def _id(record: dict[str, Any], where: str) -> str:
    found = record.get("id", record.get("ids", record.get("ghid")))
    return where if found is None else str(found)


def _language(record: dict[str, Any]) -> str:
    found = record.get("lang")
    return found if isinstance(found, str) else ""


def diff_of_cases(path: Path) -> bytes:
    """The hunks of a file of cases as one diff, each as a file that is called after its case.

    Their headers are counted anew: in one of the published files the counts are wrong.

    Raises:
        InputError: a line is no JSON object, or holds no hunk; names file, line and key.
    """
    return "".join(
        _shown(json_object(line, where), where, number) for number, (where, line) in enumerate(read_lines(path), 1)
    ).encode("utf-8", "surrogateescape")


def _shown(record: dict[str, Any], where: str, number: int) -> str:
    hunk = hunk_of(text_field(record, "patch" if "patch" in record else "hunk", where))
    if hunk is None or not hunk.lines:
        raise InputError(f"{where}: its hunk begins with no header, '@@ -1,2 +1,2 @@'")
    named = record.get("path")
    name = (
        named if isinstance(named, str) else f"{number}-{slug(_id(record, str(number)))}{ending_of(_language(record))}"
    )
    old, new = quoted(f"a/{name}"), quoted(f"b/{name}")
    return f"diff --git {old} {new}\n--- {old}\n+++ {new}\n{hunk.render()}"
