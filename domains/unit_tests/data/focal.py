"""The functions of a Python file that can be tested."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from domains.unit_tests.data.python_text import Definition, lines_of, read_python
from domains.unit_tests.types import Focal
from suite.errors import InputError


def parse(path: Path) -> tuple[str, ast.Module]:
    """A Python file's text and tree.

    Raises:
        InputError: it cannot be read, or is no Python; names line and column.
    """
    source = read_python(path)
    try:
        return source, ast.parse(source)
    except SyntaxError as error:
        raise InputError(f"{path}:{error.lineno}:{error.offset}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be parsed: {error}") from error


def discover(path: str | Path, project: str | Path = ".", select: Sequence[str] = ()) -> list[Focal]:
    """The public functions and methods of a file, in its order.

    Args:
        path: of the file. project: the folder that it is imported from, or that has a `src` folder it lies in.
        select: names `f`, `C.m` or `C`; private ones too.

    Raises:
        InputError: the file is no Python or outside the project, or a name is not in it.
    """
    path, project = Path(path), Path(project)
    source, tree = parse(path)
    lines = lines_of(source)
    inside = relative(path, project)
    if wrong := [part for part in module_name(inside).split(".") if not part.isidentifier()]:
        remedy = "rename it" if wrong[0] == path.stem else "give --project"
        raise InputError(f"{path}: cannot be imported from {project}, {wrong[0]!r} is no name of a package; {remedy}")
    found = []
    for name, nodes in _together(tree):
        if not _wanted(name, select):
            continue
        first = min([nodes[0].lineno, *(one.lineno for one in nodes[0].decorator_list)])
        last = nodes[-1].end_lineno or nodes[-1].lineno
        text = "".join(lines[first - 1 : last])
        found.append(Focal(name, module_name(inside), inside, first, last, text))
    named = {name for focal in found for name in (focal.name, focal.name.partition(".")[0])}
    if absent := [name for name in select if name not in named]:
        known = ", ".join(name for name, _ in _together(tree)) or "no function at all"
        raise InputError(f"{path}: has no {absent[0]!r}; it has {known}")
    return found


def seen(tree: ast.Module) -> str:
    """What a file without a function to be tested has, for people: `2 functions, 1 class, 3 other statements`."""
    counts = {"function": 0, "class": 0, "import": 0, "other statement": 0}
    for node in tree.body:
        kind = "function" if isinstance(node, Definition) else "class" if isinstance(node, ast.ClassDef) else ""
        kind = kind or ("import" if isinstance(node, ast.Import | ast.ImportFrom) else "other statement")
        counts[kind] += 1
    plurals = {"class": "classes"}
    told = [
        f"{count} {name if count == 1 else plurals.get(name, name + 's')}" for name, count in counts.items() if count
    ]
    return f"no public function to be tested among {', '.join(told)}" if told else "the file is empty"


def project_of(path: Path) -> Path:
    """The folder that a file's tests are run from where nobody says it (see `WriterQuery.project`)."""
    inside = path.resolve()
    if inside.is_relative_to(Path.cwd()):
        return Path.cwd()
    for folder in inside.parents:
        if any((folder / mark).exists() for mark in _MARKS):
            return folder
    return next((folder for folder in inside.parents if not (folder / "__init__.py").exists()), inside.parent)


_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")


def relative(path: Path, project: Path) -> str:
    """A file's path in its project, with forward slashes.

    Raises:
        InputError: it lies elsewhere.
    """
    try:
        return path.resolve().relative_to(project.resolve()).as_posix()
    except ValueError:
        raise InputError(f"{path}: lies outside the project {project}; give --project") from None


def module_name(path: str) -> str:
    """The name under which a file of a project is imported; a `src` folder is none of a package."""
    parts = path.removesuffix(".py").split("/")
    if parts[0] == "src" and len(parts) > 1:
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _together(tree: ast.Module) -> Iterator[tuple[str, list[Definition]]]:
    """Functions by name; a property with its setter, or overloads with what they are of, are one."""
    for name, found in groupby(_definitions(tree), key=lambda one: one[0]):
        yield name, [node for _, node in found]


def _definitions(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    for node in tree.body:
        if isinstance(node, Definition):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, Definition):
                    yield f"{node.name}.{member.name}", member


def _wanted(name: str, select: Sequence[str]) -> bool:
    if select:
        return name in select or name.partition(".")[0] in select
    if name.partition(".")[0].lower().startswith("test"):
        return False
    return not any(part.startswith("_") and part != "__init__" and part != "__call__" for part in name.split("."))
