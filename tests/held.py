"""Acceptance lists: which test or kind of golden case holds an item."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from tests.golden.registry import HERE


def missing(folder: Path, tests: Iterable[str], cases: Iterable[str] = ()) -> list[str]:
    """The tests (`file:function`, from `folder`) and the kinds of golden cases that are not there."""
    absent = []
    for name in tests:
        module, _, test = name.partition(":")
        tree = ast.parse((folder / f"{module}.py").read_text(encoding="utf-8"))
        if test not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            absent.append(name)
    runners = "".join(file.read_text(encoding="utf-8") for file in (HERE / "kinds").glob("*.py"))
    return absent + [case for case in cases if f'@kind("{case}")' not in runners]
