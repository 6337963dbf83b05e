"""Tufano et al.'s Java methods (ICSE 2022, Zenodo 5387856): two or three columns a line, parted by tabs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from domains.code_review.data.examples import Example
from domains.code_review.data.readers.records import Skipping, each_line
from domains.code_review.model.wording import Task
from suite.errors import InputError

PREFIXES = ("code2code: ", "code&comment2code: ", "code2comment: ")
"""What tells T5 its task; our prompts say it in words."""


def read_tufano(path: Path, task: Task, skipping: Skipping) -> Iterator[Example]:
    """The cases of one file: method and comment, or method, comment and revised method.

    Raises:
        InputError: the task has no such data, or a line has other columns; names file and line.
    """
    if task == "necessity":
        raise InputError(f"{path}: Tufano's files say nothing of whether a review is needed; use them for the others")
    return each_line(path, lambda line, where: _example(line, where, task), skipping)


def _example(line: str, where: str, task: Task) -> Example:
    columns = line.split("\t")
    wanted = 2 if task == "comment" else 3
    if len(columns) != wanted:
        raise InputError(f"{where}: {len(columns)} columns parted by tabs, expected {wanted} for the task {task}")
    code = columns[0]
    for prefix in PREFIXES:
        code = code.removeprefix(prefix)
    if task == "comment":
        return Example(where, task, columns[1], code=code, language="java")
    return Example(where, task, columns[2], code=code, comment=columns[1], language="java")
