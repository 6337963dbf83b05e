"""What unit tests are made for, and what became of each. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, get_args

from suite.errors import InputError
from suite.prediction.options import normalise

Reason = Literal[
    "does not parse",
    "does not compile",
    "no assertion",
    "trivial assertion",
    "needs pytest",
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

Framework = Literal["auto", "pytest", "unittest", "junit4", "junit5"]

RunnerName = Literal["namespaces", "docker", "podman"]
"""What keeps generated tests apart from the machine."""

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
        focal: name of the function that it was written for; empty where nobody says it.
        imports: lines that it needs, where it was written for a file that is still to be made.
        snapshot: whether its expected values are those that the code gave.
        finish_reason: of the answer that it is out of: `stop`, or `length` where that was cut at the most tokens; empty
            where no model wrote it. logprob: mean of that answer's tokens' (nats).
    """

    name: str
    code: str
    source: str
    focal: str = ""
    imports: tuple[str, ...] = ()
    snapshot: bool = False
    finish_reason: Literal["", "stop", "length"] = ""
    logprob: float | None = None


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

    def gain(self, before: Coverage) -> float:
        """Percent of all lines and branches that ran here and not before."""
        every = self.executed | self.missing | before.executed | before.missing
        branches = self.branches | self.missed_branches | before.branches | before.missed_branches
        new = len(self.executed - before.executed) + len(self.branches - before.branches)
        return 100 * _share(new, len(every) + len(branches) - new, 0.0)

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
        kills: mutants that it was the first to notice.
        seconds: of its first run.
        runs: the outcome of each run, the first one first.
    """

    candidate: Candidate
    reason: Reason | Literal[""] = ""
    detail: str = ""
    coverage: Coverage = Coverage()
    new_lines: int = 0
    new_branches: int = 0
    kills: int = 0
    seconds: float = 0.0
    runs: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        return not self.reason

    @property
    def said(self) -> str:
        """The line of its detail that says what was wrong."""
        lines = [line for line in self.detail.splitlines() if line.strip()]
        return next((line[2:].strip() for line in lines if line.startswith("E ")), lines[0] if lines else "")


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


@dataclass(frozen=True)
class WriterQuery:
    """What tests are asked for; the fields are the options of `suite unit_tests predict`.

    Attributes:
        takes_text: of the class: an input is always a file.
        project: the folder that tests are run from, shown to them read-only; by default the working folder where the
            file lies in it, else the nearest above it with a pyproject.toml, setup.py or .git, else its package's.
        function: names f, C or C.m of what is tested; all public ones where it is left out.
        changed_since: only functions with lines that git says are changed since this commit.
        existing: test files of the project whose coverage is there already; one that is named as the new file is goes
            on in it, its own tests untouched.
        framework: that the tests are written for: pytest or unittest (methods of TestCase) for Python, junit4 or junit5
            for Java; auto takes pytest, and the JUnit of the build file.
        samples: answers of the model for each function.
        max_tests: tests of an answer.
        rounds: how often the model is asked; from the second time on it is shown what failed and which lines no test
            runs, and a function all of whose lines and branches run is not asked about.
        temperature: of the sampling; 0 takes the likeliest token, which makes all samples one.
        top_p: the likeliest tokens that have this share together are drawn from.
        max_new_tokens: longest answer.
        batch_size: answers side by side.
        qkv_blocks: of a CodeGen base, in how many blocks its fused projections lie; the adapter's, else 4.
        seed: of the sampling and of the mutants.
        repeat: runs of each test, with other hash seeds, orders and clocks; a different outcome makes it flaky.
        timeout: seconds of a run.
        memory: megabytes of a process.
        workers: sandboxes at once.
        plugins: of pytest that the tests need, as its -p takes them.
        classpath: archives that Java tests are compiled with where Maven does not build the project; JUnit 4's is found
            where Maven keeps it.
        mutants: try the kept tests on at most this many small changes of the functions; of Java on all that PIT makes.
        keep_redundant: keep tests that run no line or branch that others before them have not.
        min_coverage_gain: percent of the functions' lines and branches that a test must run and none before has; 0 is
            any line or branch.
        keep_trivial: keep tests whose assertions cannot fail.
        keep_failing: write tests that fail too, marked as a possible bug or a wrong expectation: expected to fail
            beside the others (xfail), or in a file of their own (separate).
        snapshot: write tests that fail for an expected value once more with the value that the code gives, labelled so;
            they hold on to what the code does, right or wrong.
        no_run: run nothing; the tests are then not verified at all.
        runner: what the tests are kept in: namespaces of this machine, or containers of docker or podman.
        image: of the containers: one that is on this machine, with Python 3.9 or newer, pytest, coverage and all that
            the project needs; for Java with a JDK, and Maven or Gradle.
        unsafe: run the tests with limits alone where the machine cannot isolate them.
    """

    takes_text: ClassVar[bool] = False

    project: Path | None = None
    function: tuple[str, ...] = ()
    changed_since: str | None = None
    existing: tuple[Path, ...] = ()
    framework: Framework = "auto"
    samples: int = 5
    max_tests: int = 3
    rounds: int = 1
    temperature: float = 0.8
    top_p: float = 0.95
    max_new_tokens: int = 256
    batch_size: int = 16
    qkv_blocks: int | None = None
    seed: int = 0
    repeat: int = 3
    timeout: float = 20.0
    memory: int = 1024
    workers: int = 2
    plugins: tuple[str, ...] = ()
    classpath: tuple[Path, ...] = ()
    mutants: int = 0
    keep_redundant: bool = False
    min_coverage_gain: float = 0.0
    keep_trivial: bool = False
    keep_failing: Literal["none", "xfail", "separate"] = "none"
    snapshot: bool = False
    no_run: bool = False
    runner: RunnerName = "namespaces"
    image: str | None = None
    unsafe: bool = False

    def __post_init__(self) -> None:
        if self.framework not in get_args(Framework):
            raise InputError(f"--framework {self.framework}: choose one of {', '.join(get_args(Framework))}")
        if self.keep_failing not in ("none", "xfail", "separate"):
            raise InputError(f"--keep-failing {self.keep_failing}: choose none, xfail or separate")
        check_runner(self.runner, self.image, self.unsafe)
        normalise(self)
        check_least(**{name: getattr(self, name) for name in _LEAST})
        if self.qkv_blocks is not None and self.qkv_blocks < 1:
            raise InputError(f"--qkv-blocks {self.qkv_blocks}: give 1 or more")
        if self.min_coverage_gain > 100:
            raise InputError(f"--min-coverage-gain {self.min_coverage_gain}: give a percentage, at most 100")
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top-p {self.top_p}: give more than 0, at most 1")
        if self.snapshot and self.no_run:
            raise InputError(
                "--snapshot with --no-run: what the code gives is known where it is run; leave one of them out"
            )


def check_least(**given: float) -> None:
    """Whether numbers of the options of those names are large enough.

    Raises:
        InputError: one is not.
    """
    for name, value in given.items():
        if value < _LEAST[name]:
            raise InputError(f"--{name.replace('_', '-')} {value}: give {_LEAST[name]} or more")


def check_runner(runner: RunnerName, image: str | None, unsafe: bool) -> None:
    """Whether options that say where tests are run go together.

    Raises:
        InputError: they do not.
    """
    if runner not in get_args(RunnerName):
        raise InputError(f"--runner {runner}: choose one of {', '.join(get_args(RunnerName))}")
    if runner == "namespaces" and image is not None:
        raise InputError(f"--image {image}: is for containers; add --runner docker or --runner podman")
    if runner != "namespaces" and not image:
        raise InputError(
            f"--runner {runner}: name an image with --image, that has pytest, coverage and what the project needs"
        )
    if runner != "namespaces" and unsafe:
        raise InputError(f"--runner {runner} with --unsafe: containers are isolated, or nothing is run; leave one out")


_LEAST: Mapping[str, float] = {
    **dict.fromkeys(("samples", "max_tests", "rounds", "max_new_tokens", "batch_size", "repeat", "workers"), 1),
    **dict.fromkeys(("temperature", "mutants", "min_coverage_gain"), 0),
    "timeout": 0.1,
    "memory": 64,
}


def _share(there: int, lacking: int, otherwise: float) -> float:
    return there / (there + lacking) if there + lacking else otherwise
