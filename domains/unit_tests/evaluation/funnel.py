"""Tests that a model writes for whole modules, through the funnel: how many run, pass and cover what they are for."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from domains.unit_tests.data.problems import is_problem
from domains.unit_tests.data.readers.humaneval_x import read
from domains.unit_tests.data.sources import made_repositories
from domains.unit_tests.output.reports import by_function
from domains.unit_tests.output.result import WrittenTests
from domains.unit_tests.predict import TestWriter
from suite.errors import InputError
from suite.files import write_text

WORKING = ("", "covers nothing new")
"""Reasons of tests that ran, passed and covered their function; the second are not kept beside others."""


@dataclass(frozen=True)
class Project:
    """A folder of modules.

    Attributes:
        files: texts by path. modules: paths that tests are written for, with names of the functions; all of them where
            there is none.
    """

    files: Mapping[str, str]
    modules: Mapping[str, tuple[str, ...]]


@dataclass
class Funnel:
    """What became of the tests of many functions.

    Attributes:
        rows: a function each, as reports have them.
        reasons: why tests are not kept. errors: of modules that could not be tested.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    working: int = 0

    def add(self, written: WrittenTests) -> None:
        if written.judged is None:
            self.errors.append(f"{written.source}: {written.error or written.message}")
            return
        self.rows += by_function(written.judged)
        for verdict in written.judged.verdicts:
            self.reasons[verdict.reason or "kept"] += 1
            self.working += verdict.reason in WORKING

    def figures(self) -> dict[str, Any]:
        """Shares of all tests that were generated, and means over functions."""
        total = {name: sum(row[name] for row in self.rows) for name in ("generated", "parsed", "ran", "passed", "kept")}
        mutants = sum(row["mutation"]["total"] for row in self.rows if row["mutation"])
        killed = sum(row["mutation"]["killed"] for row in self.rows if row["mutation"])
        return {
            "functions": len(self.rows),
            **total,
            "working": self.working,
            "working_share": _share(self.working, total["generated"]),
            "functions_with_a_test": _share(sum(row["kept"] > 0 for row in self.rows), len(self.rows)),
            "line_coverage": _mean(row["coverage_after"]["lines"] for row in self.rows),
            "branch_coverage": _mean(row["coverage_after"]["branches"] for row in self.rows),
            "mutants": mutants,
            "mutation_score": _share(killed, mutants) if mutants else None,
            "reasons": dict(self.reasons.most_common()),
            **({"not_tested": self.errors} if self.errors else {}),
        }


def run(writer: TestWriter, projects: Iterable[Project], **options: Any) -> Funnel:
    """Write tests for the modules of projects and judge them.

    Args:
        **options: the fields of `WriterQuery`.
    """
    funnel = Funnel()
    for project in projects:
        with _written(project) as folder:
            for path, names in project.modules.items():
                for written in writer.predict(folder / path, project=folder, function=names, **options):
                    funnel.add(written)
    return funnel


def made_projects(source: str, seed: int = 0) -> Iterator[Project]:
    """The made world's repositories of a split, `world:test:40`: as many functions as asked for, without their tests.

    Raises:
        InputError: there is no such split.
    """
    found, left = made_repositories(source, seed)
    for repository in found:
        modules = {}
        for module in repository.modules:
            names = tuple(function.name for function in islice(module.functions, left))
            left -= len(names)
            if names:
                modules[module.path] = names
        files = {path: text for path, text in repository.files.items() if not path.startswith("tests/")}
        yield Project(files, modules)
        if left <= 0:
            return


def benchmark_projects(path: Path, most: int | None = None) -> Iterator[Project]:
    """The functions of HumanEval (or of HumanEval-X in Python) with their right bodies, a module each.

    Raises:
        InputError: the file is damaged, or holds no problem in Python.
    """
    problems = [one for one in read(path) if one.language == "python" and not is_problem(one.prompt)]
    if not problems:
        raise InputError(f"{path}: holds no function in Python; tests are written for Python modules")
    for problem in problems[:most]:
        name = f"problem_{problem.task.rpartition('/')[2]}"
        entry = (problem.entry,) if problem.entry else ()
        yield Project({f"{name}.py": problem.prompt + problem.solution}, {f"{name}.py": entry})


@contextmanager
def _written(project: Project) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="modules-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for path, text in project.files.items():
            write_text(folder / path, text)
        yield folder


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
