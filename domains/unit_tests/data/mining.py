"""Pairs of a test and the method that it is for, mined from Java projects by the rules of Methods2Test.

A test class is for the class whose file has the same path under `main`, without `test` in its name. A test is for the
method of its own name without `test`; otherwise for the only one of the class's methods that it calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from domains.unit_tests.data.java_classes import JavaClass, JavaMethod, classes
from domains.unit_tests.data.mined import Split, masked
from suite.errors import InputError
from suite.files import write_text

MOST_BYTES = 2**20
"""Of a source file; larger ones are made by programs."""


@dataclass(frozen=True)
class Pair:
    """A test and its method, each with its class and file."""

    test_file: str
    test_class: JavaClass
    test: JavaMethod
    focal_file: str
    focal_class: JavaClass
    focal: JavaMethod

    def to_dict(self, repository: Mapping[str, Any]) -> dict[str, Any]:
        """A record of Methods2Test."""
        return {
            "test_class": {**self.test_class.to_dict(methods=False), "file": self.test_file},
            "test_case": self.test.to_dict(),
            "focal_class": {**self.focal_class.to_dict(), "file": self.focal_file},
            "focal_method": self.focal.to_dict(),
            "repository": dict(repository),
        }


@dataclass
class Mined:
    """Pairs, and how many classes and tests were seen on the way.

    Attributes:
        test_classes: files in which `@Test` stands. mapped_classes: those whose class was found.
        test_cases: tests in these. mapped_cases: those whose method was found.
    """

    pairs: list[Pair] = field(default_factory=list)
    test_classes: int = 0
    test_cases: int = 0
    mapped_classes: int = 0
    mapped_cases: int = 0


def mine(files: Mapping[str, str], parity: bool = False) -> Mined:
    """The pairs of a project.

    Args:
        files: texts of its Java files, by their paths with forward slashes.
        parity: as the published script: `test` is deleted anywhere in a path, so that `AttestationTest` finds no
            `Attestation`, and folders `src/test` at a project's top are passed over.
    """
    mined = Mined()
    focal_of = {_key(path, parity): path for path in files if "@Test" not in files[path]}
    for path in sorted(files):
        if "@Test" not in files[path]:
            continue
        mined.test_classes += 1
        focal_path = focal_of.get(_focal_key(path, parity) or "")
        found = classes(files[path])
        focal_classes = classes(files[focal_path]) if focal_path is not None else []
        if not found or not focal_classes or focal_path is None:
            continue
        mined.mapped_classes += 1
        tests = [method for method in found[0].methods if method.is_test]
        mined.test_cases += len(tests)
        for test in tests:
            focal = focal_method(test, focal_classes[0])
            if focal is not None:
                mined.mapped_cases += 1
                mined.pairs.append(Pair(path, found[0], test, focal_path, focal_classes[0], focal))
    return mined


def focal_method(test: JavaMethod, of: JavaClass) -> JavaMethod | None:
    """The method that a test is for; None where that cannot be told."""
    bare = test.name.lower().replace("test", "")
    named = next((method for method in of.methods if method.name.lower() == bare), None)
    if named is not None:
        return named
    called = set(test.calls) & {method.name for method in of.methods}
    if len(called) != 1:
        return None
    return next(method for method in of.methods if method.name in called)


def read_project(folder: Path) -> Iterator[tuple[str, str]]:
    """The Java files of a folder: paths relative to it, and texts.

    Raises:
        InputError: it is no folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder")
    for path in sorted(folder.rglob("*.java")):
        inside = path.relative_to(folder)
        if path.is_symlink() or any(part.startswith(".") for part in inside.parts) or path.stat().st_size > MOST_BYTES:
            continue
        yield inside.as_posix(), path.read_text(encoding="utf-8", errors="replace")


def _key(path: str, parity: bool) -> str:
    return path.lower() if parity else f"/{path}".lower()


def _focal_key(path: str, parity: bool) -> str | None:
    """How the file is keyed that a test file is for."""
    rooted = path if parity else f"/{path}"
    if "/src/test/" not in rooted:
        return None
    moved = rooted.replace("/src/test/", "/src/main/").lower()
    if parity:
        return moved.replace("test", "")
    folder, _, name = moved.rpartition("/")
    stem = name.removesuffix(".java")
    bare = re.sub(r"^tests?(?=.)|tests?$|testcase$", "", stem)
    return f"{folder}/{bare}.java" if bare != stem else None


def mine_command(
    project: Path,
    out: Path,
    language: Literal["java", "python"] = "java",
    parity: bool = False,
    held_out: float = 0.0,
    by: Literal["file", "time"] = "file",
    seed: int = 0,
) -> dict[str, Any]:
    """Mine a project for pairs of a test and what it is for: records of Methods2Test, or sources and targets of Python.

    Args:
        project: its folder.
        out: file of JSON lines to be written, one pair each; tests whose bodies are the same are written once, and what
            looks like a secret is masked.
        language: of the project.
        parity: of Java, by the rules of the published script, also where they pass pairs over.
        held_out: share of the test files whose pairs go to a file of their own, OUT.held_out.jsonl, for validation.
        by: which files those are: drawn by the seed, or the ones that git says were changed last.
        seed: of the draw.
    """
    if not 0 <= held_out < 1:
        raise InputError(f"--held-out {held_out}: give a share from 0 to less than 1")
    split = Split(project, held_out, by, seed)
    if language == "python":
        if parity:
            raise InputError("--parity is of Java: there is no published script for Python")
        return _mine_python(project, out, split)
    mined = mine(dict(read_project(project)), parity)
    if not mined.pairs:
        raise InputError(
            f"{project}: no test of a method was found ({mined.test_classes} files with @Test, {mined.mapped_classes} "
            "with a class of the same path under src/main)"
        )
    repository = {"repo_id": project.resolve().name, "url": ""}
    records: dict[str, Mapping[str, Any]] = {}
    for pair in mined.pairs:
        record = masked(pair.to_dict(repository))
        records.setdefault(" ".join(pair.test.body.partition("{")[2].split()), record)
    counts = {
        "test_classes": mined.test_classes,
        "mapped_classes": mined.mapped_classes,
        "test_cases": mined.test_cases,
        "mapped_cases": mined.mapped_cases,
    }
    return _write(out, list(records.values()), counts, split)


def _mine_python(project: Path, out: Path, split: Split) -> dict[str, Any]:
    from domains.unit_tests.data.python_mining import mine_python
    from domains.unit_tests.data.python_mining import read_project as read_python

    mined = mine_python(dict(read_python(project)))
    if not mined.pairs:
        raise InputError(
            f"{project}: no test of a function was found ({mined.test_files} files test_*.py or *_test.py with "
            f"{mined.test_cases} tests, none of which is called after or calls one function of the project)"
        )
    records: dict[str, Mapping[str, Any]] = {}
    for pair in mined.pairs:
        records.setdefault(" ".join(pair.target.split()), pair.to_dict())
    counts = {
        "test_files": mined.test_files,
        "test_cases": mined.test_cases,
        "mapped_cases": len(mined.pairs),
        "not_python": len(mined.not_python),
    }
    return _write(out, list(records.values()), counts, split, mined.not_python)


def _write(
    out: Path,
    records: Sequence[Mapping[str, Any]],
    counts: Mapping[str, int],
    split: Split,
    passed_over: Sequence[str] = (),
) -> dict[str, Any]:
    kept, held = split.parts(records)
    files = {out: kept, **({out.with_suffix(".held_out.jsonl"): held} if split.share else {})}
    for path, rows in files.items():
        write_text(path, "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in rows))
    counted = {**counts, "written": len(kept), **({"held_out": len(held)} if split.share else {})}
    told = "\n".join(f"{name.replace('_', ' '):<15} {count}" for name, count in counted.items())
    notes = [f"  {path}: cannot be parsed" for path in passed_over]
    return {**counted, "out": out, "message": "\n".join([told, *notes, *(f"results  {path}" for path in files)])}
