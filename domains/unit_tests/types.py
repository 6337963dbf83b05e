"""What unit tests are made for, and what became of each. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Reason = Literal[
    "does not parse",
    "no assertion",
    "trivial assertion",
    "duplicate",
    "import error",
    "failed",
    "error",
    "skipped",
    "timeout",
    "memory",
    "output",
    "network",
    "ended the process",
    "flaky",
    "focal code not executed",
    "covers nothing new",
    "fails beside the others",
]
"""Why a test is not kept."""

REASONS: tuple[Reason, ...] = Reason.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Focal:
    """A function or method to be tested.

    Attributes:
        name: `f`, or `C.m`.
        module: as it is imported, `pkg.mod`. path: of its file, relative to the project.
        first, last: its lines, decorators too.
        source: its text.
    """

    name: str
    module: str
    path: str
    first: int
    last: int
    source: str


@dataclass(frozen=True)
class Candidate:
    """One test, with everything that it needs to run alone.

    Attributes:
        name: of the test function, `C::test_x` in a class.
        code: the function's own text. source: a whole file with it as the only test.
    """

    name: str
    code: str
    source: str


@dataclass(frozen=True)
class Coverage:
    """Lines and branches of a file that ran.

    Attributes:
        executed, missing: numbers of lines.
        branches, missed_branches: pairs of lines, from and to; a negative one leaves the function.
    """

    executed: frozenset[int] = frozenset()
    missing: frozenset[int] = frozenset()
    branches: frozenset[tuple[int, int]] = frozenset()
    missed_branches: frozenset[tuple[int, int]] = frozenset()

    def within(self, first: int, last: int) -> Coverage:
        """The part of a function's lines."""
        lines = range(first, last + 1)
        return Coverage(
            frozenset(self.executed & set(lines)),
            frozenset(self.missing & set(lines)),
            frozenset(pair for pair in self.branches if pair[0] in lines),
            frozenset(pair for pair in self.missed_branches if pair[0] in lines),
        )

    def joined(self, other: Coverage) -> Coverage:
        """What either ran."""
        executed, branches = self.executed | other.executed, self.branches | other.branches
        missing = (self.missing | other.missing) - executed
        missed = (self.missed_branches | other.missed_branches) - branches
        return Coverage(executed, missing, branches, missed)

    @property
    def line_share(self) -> float:
        """Lines that ran, of all; 0 where nothing was measured."""
        return _share(len(self.executed), len(self.missing), 0.0)

    @property
    def branch_share(self) -> float:
        """Branches that were taken, of all; of code without any as the lines."""
        return _share(len(self.branches), len(self.missed_branches), self.line_share)


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate.

    Attributes:
        reason: why it is not kept; empty where it is.
        detail: the last lines that it said, or what it repeats.
        coverage: of the focal file, by this test alone.
        new_lines, new_branches: of them that no test before it ran.
        seconds: of its first run.
        runs: the outcome of each run, the first one first.
    """

    candidate: Candidate
    reason: Reason | Literal[""] = ""
    detail: str = ""
    coverage: Coverage = Coverage()
    new_lines: int = 0
    new_branches: int = 0
    seconds: float = 0.0
    runs: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class MutantFate:
    """What the kept tests made of a mutant.

    Attributes:
        line, operator, diff: of the change.
        fate: `killed` (a test failed), `timeout`, `survived`, or `not run` where no test comes by.
    """

    line: int
    operator: str
    diff: str
    fate: Literal["killed", "timeout", "survived", "not run"]


@dataclass(frozen=True)
class Judged:
    """What became of all candidates for one file.

    Attributes:
        path: of the focal file, relative to the project.
        focal: its functions that the tests are for.
        verdicts: in the candidates' order.
        before, after: coverage of the file by the user's own tests, and with those that were kept.
        isolation: what was enforced, as `doctor` shows it.
        notices: what the user should know, one line each.
        mutants: what the kept tests made of each; None where nobody asked. That a mutant does the same as the original
            cannot be excluded.
    """

    path: str
    focal: tuple[Focal, ...]
    verdicts: tuple[Verdict, ...]
    before: Coverage
    after: Coverage
    isolation: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    mutants: tuple[MutantFate, ...] | None = None

    @property
    def mutation_score(self) -> float | None:
        """Mutants killed or timed out, of all; None where there were none or nobody asked."""
        if not self.mutants:
            return None
        return sum(one.fate in ("killed", "timeout") for one in self.mutants) / len(self.mutants)

    @property
    def kept(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.kept)


def _share(there: int, lacking: int, otherwise: float) -> float:
    return there / (there + lacking) if there + lacking else otherwise
