"""What is asked for each function, and the tests that are cut out of the answers."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from domains.unit_tests.data.python_sources import GROUPS, python_context
from domains.unit_tests.data.python_text import lines_of
from domains.unit_tests.inference.indents import ended, finished
from domains.unit_tests.inference.loaded import Answer
from domains.unit_tests.inference.python_repair import Definition, functions_in, names_of, repaired
from domains.unit_tests.inference.unittest_style import class_name, method
from domains.unit_tests.output.test_file import source_of
from domains.unit_tests.types import Candidate, Coverage, Focal, Verdict
from suite.errors import InputError

_NOTE = 100
"""Characters of a line that tells the model what failed."""


@dataclass(frozen=True)
class Asked:
    """A source for one function.

    Attributes:
        source: what the model reads. opening: its last line, with which the test begins.
    """

    focal: Focal
    source: str
    opening: str

    def ends(self, tests: int) -> Callable[[str], bool]:
        """Whether an answer of so many tests is over."""
        return lambda text: ended(self.opening + text, tests)


def asked(focal: Focal, file: str, room: int, length: Callable[[str], int], notes: Sequence[str] = ()) -> Asked:
    """The source for a function, groups left out where it is too long.

    Args:
        file: text of its file.
        room: most tokens of the source. length: tokens of a text.
        notes: what the model is told of an earlier attempt; left out first.

    Raises:
        InputError: not even the function alone fits.
    """
    context = python_context(focal, file, notes)
    bare = python_context(focal, file) if notes else context
    for one in (context, *(bare.shortened(groups) for groups in range(GROUPS + 1))):
        if length(source := one.source()) <= room:
            return Asked(focal, source, one.opening)
    raise InputError(
        f"{focal.path}:{focal.first}: {focal.name} has {length(source):,} tokens with its test's head, the base has "
        f"room for {room:,}; take a base with a longer context, or name other functions with --function"
    )


@dataclass
class Cutter:
    """Cuts tests out of answers, each under a name of its own.

    Attributes:
        module: that the tests are for. source: text of its file.
        taken: names that no test may have, the user's own among them.
        cases: tests become methods of `unittest.TestCase`, where they can.
    """

    module: str
    source: str
    taken: set[str] = field(default_factory=set)
    cases: bool = False

    def __post_init__(self) -> None:
        self.names = names_of(self.source)
        self.holders: dict[str, str] = {}

    def candidates(self, asked: Asked, answer: Answer, tests: int) -> list[Candidate]:
        """The tests of an answer; one that is no Python is one candidate as it stands."""
        text = finished(asked.opening + answer.text, tests, answer.complete)
        found = functions_in(text)
        if not found:
            name = self.free(f"test_{asked.focal.name.replace('.', '_')}")
            made = [Candidate(name, text, text, asked.focal.name)]
        else:
            made = [self._candidate(test, asked.focal) for test in found[:tests]]
        return [replace(one, finish_reason=answer.finish_reason, logprob=answer.logprob) for one in made]

    def _candidate(self, test: Definition, focal: Focal) -> Candidate:
        mended = repaired(test, self.module, self.names)
        name = self.free(test.name)
        node = mended.node
        node.name = name
        if ast.get_docstring(node) is None:
            node.body.insert(0, ast.Expr(ast.Constant(f"Tests {focal.name}.")))
        imports = mended.imports
        if self.cases and (converted := method(node)) is not None:
            name = f"{self._holder(focal)}::{name}"
            node = converted
            imports = (*(line for line in imports if line != "import pytest"), "import unittest")
        code = ast.unparse(ast.fix_missing_locations(node)) + "\n"
        made = Candidate(name, code, "", focal.name, imports)
        return replace(made, source=source_of(made, self.module))

    def _holder(self, focal: Focal) -> str:
        """The class with a function's tests, under a name of its own."""
        if focal.name not in self.holders:
            self.holders[focal.name] = self.free(class_name(focal))
        return self.holders[focal.name]

    def free(self, name: str) -> str:
        """The name, with a number where it is taken; taken from here on."""
        number, wanted = 1, name
        while wanted in self.taken:
            number += 1
            wanted = f"{name}_{number}"
        self.taken.add(wanted)
        return wanted


def told(verdicts: Sequence[Verdict], focal: Focal, covered: Coverage, most: int = 3) -> list[str]:
    """What the model is told of its earlier tests for a function: how they failed, and what no test runs."""
    notes = []
    for verdict in verdicts:
        if verdict.candidate.focal == focal.name and verdict.reason in ("failed", "error", "import error"):
            last = [
                line for line in verdict.detail.splitlines() if line.startswith("E ")
            ] or verdict.detail.splitlines()
            notes.append(f"{verdict.candidate.name}: {' '.join(' '.join(last[:1]).split())[:_NOTE]}")
    own = covered.within(focal.first, focal.last)
    lines = _lines(own.missing, focal)
    return [*notes[:most], *(f"no test runs: {line[:_NOTE]}" for line in lines[:most])]


def _lines(missing: Collection[int], focal: Focal) -> list[str]:
    text = lines_of(focal.source)
    return [text[number - focal.first].strip() for number in sorted(missing)]
