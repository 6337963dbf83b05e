"""Pairs of a test and the function that it is for, mined from Python projects.

A test is for what it is called after, `test_foo` for `foo` and `TestFoo.test_bar` for `Foo.bar`, where its file imports
that from the project; otherwise for the only function of the project that it calls.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from domains.unit_tests.data.focal import module_name
from domains.unit_tests.data.mined import masked
from domains.unit_tests.data.python_sources import python_context
from domains.unit_tests.data.python_text import Definition, lines_of, read_python
from domains.unit_tests.types import Focal
from suite.errors import InputError

MOST_BYTES = 2**20
"""Of a source file; larger ones are made by programs."""


@dataclass(frozen=True)
class PythonPair:
    """A test and what it is for, as a model reads and writes them."""

    id: str
    source: str
    target: str

    def to_dict(self) -> dict[str, str]:
        return {"id": self.id, "source": self.source, "target": self.target}


@dataclass
class Mined:
    """Pairs, how many tests were seen on the way, and files that are no Python."""

    pairs: list[PythonPair] = field(default_factory=list)
    test_files: int = 0
    test_cases: int = 0
    not_python: list[str] = field(default_factory=list)


def mine_python(files: Mapping[str, str]) -> Mined:
    """The pairs of a project; what looks like a secret in them is masked.

    Args:
        files: texts of its Python files, by their paths with forward slashes.
    """
    mined, trees = Mined(), {}
    for path, text in files.items():
        try:
            trees[path] = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            mined.not_python.append(path)
    known = {
        f"{one.module}.{one.name}": (one, files[path])
        for path, tree in trees.items()
        if not is_test_file(path)
        for one in _functions(tree, files[path], path)
    }
    for path in sorted(trees):
        if not is_test_file(path):
            continue
        mined.test_files += 1
        imported = dict(_imported(trees[path]))
        for holder, test in _tests(trees[path]):
            mined.test_cases += 1
            focal = _focal(holder, test, imported, known)
            if focal is not None:
                mined.pairs.append(_pair(path, files[path], test, *known[focal]))
    return mined


def is_test_file(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith("test_") or name.endswith("_test.py")


def read_project(folder: Path) -> Iterator[tuple[str, str]]:
    """The Python files of a folder: paths relative to it, and texts.

    Raises:
        InputError: it is no folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder")
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") or part in ("build", "site-packages") for part in inside.parts)
        if not path.is_symlink() and not hidden and path.stat().st_size <= MOST_BYTES:
            try:
                yield inside.as_posix(), read_python(path)
            except InputError:  # it is counted among those that are no Python
                yield inside.as_posix(), "\0"


def _functions(tree: ast.Module, text: str, path: str) -> Iterator[Focal]:
    lines = lines_of(text)
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        for one in members:
            if isinstance(one, Definition):
                name = f"{node.name}.{one.name}" if isinstance(node, ast.ClassDef) else one.name
                first = min([one.lineno, *(mark.lineno for mark in one.decorator_list)])
                last = one.end_lineno or one.lineno
                yield Focal(name, module_name(path), path, first, last, "".join(lines[first - 1 : last]))


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What names of a file stand for: `from pkg.mod import f` gives `f` and `pkg.mod.f`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for one in node.names:
                yield one.asname or one.name, f"{node.module}.{one.name}"
        elif isinstance(node, ast.Import):
            for one in node.names:
                yield one.asname or one.name, one.name


def _tests(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    for node in tree.body:
        if isinstance(node, Definition) and node.name.startswith("test"):
            yield "", node
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            for one in node.body:
                if isinstance(one, Definition) and one.name.startswith("test"):
                    yield node.name, one


def _focal(
    holder: str, test: Definition, imported: Mapping[str, str], known: Mapping[str, tuple[Focal, str]]
) -> str | None:
    bare = test.name.removeprefix("test").lstrip("_")
    if holder and (of_class := imported.get(holder.removeprefix("Test"))):
        return f"{of_class}.{bare}" if f"{of_class}.{bare}" in known else None
    if imported.get(bare) in known:
        return imported[bare]
    called = {_called(node.func, imported) for node in ast.walk(test) if isinstance(node, ast.Call)} & set(known)
    return called.pop() if len(called) == 1 else None


def _called(node: ast.expr, imported: Mapping[str, str]) -> str:
    """The whole name of what is called, as far as the imports tell it."""
    first, dot, rest = ast.unparse(node).partition(".")
    return imported.get(first, first) + dot + rest


def _pair(path: str, text: str, test: Definition, focal: Focal, file: str) -> PythonPair:
    lines = lines_of(text)
    code = textwrap.dedent("".join(lines[test.lineno - 1 : test.end_lineno]))
    context = replace(python_context(focal, file), name=test.name, test_path=path)
    target = code.partition(f"def {test.name}")[2].rstrip() + "\n"
    return PythonPair(f"{path}::{test.name}", masked(context.source()), masked(target))
