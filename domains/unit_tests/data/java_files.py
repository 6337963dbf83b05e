"""Java files of a project: their package, what is tested in them, and where their tests stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from domains.unit_tests.data.java_classes import JavaClass, JavaMethod, classes
from domains.unit_tests.types import Focal
from suite.code.syntax import parse
from suite.errors import InputError

JUnit = Literal[4, 5]

WRITTEN_BY = "by peft-suite"
"""Stands in the first line of every test class that is written."""
_BUILDS = ("pom.xml", "build.gradle", "build.gradle.kts")
_JUNIT5 = ("junit-jupiter", "junit.jupiter", "useJUnitPlatform", "useJUnitJupiter")
_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)


@dataclass(frozen=True)
class JavaFile:
    """A file that tests are written for.

    Attributes:
        text: of the file. package: empty where it names none.
        focal: its class. indent: of the class's members.
        methods: that are tested.
        tests: where their tests stand, relative to the project. junit: the version that the project builds with.
    """

    path: Path
    text: str
    package: str
    focal: JavaClass
    methods: tuple[JavaMethod, ...]
    indent: str
    tests: str
    junit: JUnit

    @property
    def test_class(self) -> str:
        return self.tests.rpartition("/")[2].removesuffix(".java")

    @property
    def qualified_tests(self) -> str:
        """The test class with its package."""
        return f"{self.package}.{self.test_class}" if self.package else self.test_class

    def functions(self, project: Path) -> tuple[Focal, ...]:
        """The methods that are tested, with their lines."""
        module = f"{self.package}.{self.focal.name}" if self.package else self.focal.name
        inside = self.path.resolve().relative_to(project.resolve()).as_posix()
        starts, at = {}, 0
        for method in self.focal.methods:
            at = max(self.text.find(method.body, at), at)
            starts[id(method)] = self.text.count("\n", 0, at) + 1
            at += 1
        return tuple(
            Focal(
                one.name,
                module,
                inside,
                starts[id(one)],
                starts[id(one)] + one.body.count("\n"),
                one.body + "\n",
            )
            for one in self.methods
        )


def read_java(path: Path, project: Path, select: Sequence[str] = (), out: Path | None = None) -> JavaFile | None:
    """A file's first class with its public methods; None where there is nothing to test.

    Args:
        select: names `m`, `C` or `C.m`; private methods too.
        out: folder that the tests will be written to; a test class of the user's, there or in the project, is let be,
            and theirs is called `{Focal}GeneratedTest`.

    Raises:
        InputError: it cannot be read or parsed, or a name is not in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {error}; save it as UTF-8") from error
    root = parse(text, "java")
    if root.has_error:
        wrong = next(node for node in _below(root) if node.is_error or node.is_missing)
        raise InputError(f"{path}:{wrong.start_point.row + 1}:{wrong.start_point.column + 1}: invalid syntax")
    found = classes(text)
    if not found:
        return None
    focal = found[0]
    methods = [one for one in focal.methods if not one.constructor and not one.is_test]
    if select:
        wanted = {name.removeprefix(f"{focal.name}.") for name in select} - {focal.name}
        if absent := wanted - {one.name for one in methods}:
            known = ", ".join(one.name for one in methods) or "no method at all"
            raise InputError(f"{path}: has no {sorted(absent)[0]!r}; it has {known}")
        methods = [one for one in methods if one.name in wanted or focal.name in select]
    else:
        methods = [one for one in methods if "public" in one.modifiers.split()]
    if not methods:
        return None
    match = re.search(r"^\s*package\s+([\w.]+)\s*;", text, re.MULTILINE)
    body = text[text.find("{", text.find(f"class {focal.name}")) + 1 :]
    indent = _INDENT.search(body)
    place = _place(path, project, f"{focal.name}Test.java")
    if any(_is_users(folder / place) for folder in (project, out) if folder is not None):
        place = _place(path, project, f"{focal.name}GeneratedTest.java")
    return JavaFile(
        path,
        text,
        match[1] if match else "",
        focal,
        tuple(methods),
        indent[1] if indent else "    ",
        place,
        junit_of(path),
    )


def junit_of(path: Path) -> JUnit:
    """The version of JUnit in the nearest build file above a file that names one; 4 where none does."""
    for folder in path.resolve().parents:
        for name in _BUILDS:
            if (folder / name).is_file():
                text = (folder / name).read_text(encoding="utf-8", errors="replace")
                if any(mark in text for mark in _JUNIT5):
                    return 5
                if "junit" in text.lower():
                    return 4
    return 4


def _is_users(path: Path) -> bool:
    return path.is_file() and WRITTEN_BY not in path.read_text(encoding="utf-8", errors="replace")[:1000]


def _place(path: Path, project: Path, name: str) -> str:
    """The mirrored place under `src/test/java`; beside nothing where the file is not under `src/main/java`."""
    try:
        inside = path.resolve().relative_to(project.resolve()).as_posix()
    except ValueError:
        raise InputError(f"{path}: lies outside the project {project}; give --project") from None
    folder, main, rest = f"/{inside}".rpartition("/src/main/java/")
    if not main:
        return name
    package = rest.rpartition("/")[0]
    return f"{folder}/src/test/java/{package}/{name}".lstrip("/").replace("//", "/")


def _below(node):  # type: ignore[no-untyped-def]
    yield node
    for child in node.children:
        yield from _below(child)
