"""The funnel that every test goes through: read, run alone, run again otherwise, kept only for what it adds."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from domains.unit_tests.data.focal import parse, relative
from domains.unit_tests.inference import snapshot
from domains.unit_tests.inference.candidates import assertion, fingerprint, parsed
from domains.unit_tests.inference.container import PYTHON, Container, examined
from domains.unit_tests.inference.mutants import Mutant
from domains.unit_tests.inference.outcomes import advice, coverage_of, outcome_of, own_lines, special
from domains.unit_tests.inference.runs import Ended, Limits
from domains.unit_tests.inference.sandbox import Sandbox
from domains.unit_tests.inference.unittest_style import pytest_needed
from domains.unit_tests.output.test_file import users_part
from domains.unit_tests.types import Candidate, Coverage, Focal, Judged, MutantFate, Reason, Verdict
from suite.errors import InputError

_WORKER = Path(__file__).with_name("worker.py")
_MUTANT = "/tmp/mutant.py"
_NO_TESTS = 5
"""Exit code of pytest."""
_REDUNDANT: Reason = "covers nothing new"
_CLOCK = 400 * 24 * 3600.0
"""Seconds by which the clock of every second run is put forward: another year, another day of the week."""


# Plugins that happen to be installed beside the suite cost a second each, and are not the project's.
_PLAIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@dataclass(frozen=True)
class Rules:
    """How tests are judged.

    Attributes:
        repeat: runs of each test; a different outcome in any of them makes it flaky.
        keep_redundant: keep tests that run no line or branch that others before them have not.
        keep_trivial: keep tests whose assertions cannot fail.
        min_gain: percent of the functions' lines and branches that a test must run that others before it have not.
        cases: tests must be methods of `unittest.TestCase` that need no pytest.
        plugins: of pytest that the tests need, as `-p` takes them; none is loaded otherwise.
        workers: sandboxes at once.
        limits: of one run.
        unsafe: run without namespaces where the machine has none.
        container: run in such ones, by the Python of their image.
    """

    repeat: int = 3
    keep_redundant: bool = False
    keep_trivial: bool = False
    plugins: tuple[str, ...] = ()
    workers: int = 2
    limits: Limits = field(default_factory=Limits)
    unsafe: bool = False
    cases: bool = False
    min_gain: float = 0.0
    container: Container | None = None


class Judge:
    """Judges tests for one file of a project.

    Args:
        project: the folder that the tests will be run from.
        focal: the functions that they are for, all of one file.
        existing: the user's own test files for it, whose coverage counts as there already.

    Raises:
        InputError: there is nothing to test, or containers cannot run tests.
    """

    def __init__(
        self, project: Path, focal: Sequence[Focal], rules: Rules = Rules(), existing: Sequence[Path] = ()
    ) -> None:
        if not focal:
            raise InputError("nothing to test: the file has no public function; name private ones with --function")
        self.project, self.focal, self.rules = project.resolve(), tuple(focal), rules
        self.existing, self.cut = _existing_tests(existing, self.project)
        if rules.container is not None:
            _check_image(rules.container)
        self.sandbox = Sandbox(
            self.project, rules.limits, shown=(_WORKER.parent,), unsafe=rules.unsafe, container=rules.container
        )
        self.path = f"/project/{focal[0].path}"

    def judge(
        self,
        candidates: Sequence[Candidate],
        told: Callable[[Verdict], None] | None = None,
        known: Judged | None = None,
    ) -> Judged:
        """Say of each test why it is kept or not, in order; a test that repeats another loses to the earlier one.

        Args:
            told: called with each verdict as it is known, for a progress bar.
            known: what was judged before, whose verdicts stand first; names of tests differ from those there.
        """
        verdicts = [] if known is None else list(known.verdicts)
        before = self._existing() if known is None else known.before
        covered = before if known is None else known.after
        with ThreadPoolExecutor(self.rules.workers) as pool:
            for verdict in pool.map(self._alone, _without_duplicates(candidates, self.rules, verdicts[:])):
                if verdict.kept:
                    verdict = self._worth(verdict, covered)
                if verdict.kept:
                    covered = covered.joined(self._focal(verdict.coverage))
                verdicts.append(verdict)
                if told is not None:
                    told(verdict)
        isolation = self.sandbox.isolation
        notices = () if isolation.network else ("network isolation not enforced",)
        path, found = self.focal[0].path, tuple(self._together(verdicts))
        return self.remeasured(Judged(path, self.focal, found, before, before, isolation.rows(), notices))

    def remeasured(self, judged: Judged) -> Judged:
        """The same with the coverage of the tests that are kept."""
        after = judged.before
        for verdict in judged.kept:
            after = after.joined(self._focal(verdict.coverage))
        return replace(judged, after=after)

    def mutate(
        self, judged: Judged, mutants: Sequence[Mutant], told: Callable[[MutantFate], None] | None = None
    ) -> Judged:
        """Say what the kept tests make of each mutant; of those that cover nothing new one that kills another is kept.

        Args:
            told: called with each as it is known.
        """
        kept = [verdict.candidate for verdict in judged.kept]
        run = set().union(*(verdict.coverage.executed for verdict in judged.kept))

        def fate(mutant: Mutant) -> tuple[MutantFate, list[str]]:
            if mutant.line not in run:
                return MutantFate(mutant.line, mutant.operator, mutant.diff, "not run"), []
            found, killers = self._fate(mutant, kept)
            return MutantFate(mutant.line, mutant.operator, mutant.diff, found), killers

        fates, kills = [], Counter[str]()
        with ThreadPoolExecutor(self.rules.workers) as pool:
            for number, (one, killers) in enumerate(pool.map(fate, mutants)):
                if one.fate == "survived" and (more := self._killer(mutants[number], judged.verdicts, kills)):
                    one, killers = replace(one, fate="killed"), [more]
                fates.append(one)
                kills.update(killers[:1])
                if told is not None:
                    told(one)
        verdicts = [
            replace(
                one,
                kills=kills[one.candidate.name],
                reason="" if one.reason == _REDUNDANT and kills[one.candidate.name] else one.reason,
            )
            for one in judged.verdicts
        ]
        if sum(one.kept for one in verdicts) > len(kept):
            verdicts = self._together(verdicts)
        return replace(judged, verdicts=tuple(verdicts), mutants=tuple(fates))

    def _killer(self, mutant: Mutant, verdicts: Sequence[Verdict], kills: Mapping[str, int]) -> str:
        """The first test that covers nothing new and kills a mutant, one that killed others before; empty for none."""
        redundant = [one for one in verdicts if one.reason == _REDUNDANT and mutant.line in one.coverage.executed]
        redundant.sort(key=lambda one: not kills.get(one.candidate.name))
        _, killers = self._fate(mutant, [one.candidate for one in redundant], first=False) if redundant else ("", [])
        return next((one.candidate.name for one in redundant if one.candidate.name in killers), "")

    def _fate(
        self, mutant: Mutant, tests: Sequence[Candidate], first: bool = True
    ) -> tuple[Literal["survived", "timeout", "killed"], list[str]]:
        """What becomes of a mutant, and the tests that fail on it.

        Args:
            first: end at the first of them.
        """
        files = {f"/tmp/tests/test_{number}.py": test.source for number, test in enumerate(tests)}
        report, ended = self._run(list(files), {**files, _MUTANT: mutant.source}, measured=False, first=first)
        outcome, _ = outcome_of(report, ended)
        killers = [name for name, row in (report or {"tests": {}})["tests"].items() if row["outcome"] != "passed"]
        if outcome in ("passed", "timeout"):
            return ("survived" if outcome == "passed" else "timeout"), killers
        return "killed", killers

    def check(self, path: Path) -> None:
        """Refuse what no test could pass with.

        Args:
            path: of the focal file, as the user wrote it.

        Raises:
            InputError: the focal module cannot be imported in the sandbox, or a plugin of pytest's cannot.
        """
        if why := self._why_not_imported():
            raise InputError(f"{path}: {why}; {advice(why, self.project)}")
        if not self.rules.plugins:
            return
        file = "/tmp/tests/test_nothing.py"
        report, ended = self._run([file], {file: ""}, measured=False)
        if report is None or report["code"] not in (0, _NO_TESTS):
            raise InputError(f"--plugins {' '.join(self.rules.plugins)}: pytest says: {ended.last_line}")

    def _why_not_imported(self) -> str:
        code = f"import sys; sys.path[:0] = {self._path()!r}; import {self.focal[0].module}; print('imported')"
        ended = self.sandbox.run([self.sandbox.python, "-B", "-s", "-c", code])
        if ended.code == 0 and not ended.reason and ended.stdout.rstrip().endswith(b"imported"):
            return ""
        said = ended.stderr.decode("utf-8", "replace").strip()
        last = said.splitlines()[-1] if said else ""
        if ended.reason == "timeout":
            return f"importing it takes more than {self.rules.limits.seconds:g} s"
        if ended.reason:
            return f"importing it was stopped: {ended.reason}"
        if (reason := special(said)) is not None:
            return f"importing it was stopped: {reason}"
        if "Error" in last or "Exception" in last:
            return f"importing it fails: {last[:300]}"
        return "importing it ends the process" + (f" ({last[:100]})" if last else "")

    def failing(self, text: str, cases: bool = False) -> dict[str, str]:
        """Run a whole test file once, in an order of its own; the tests that do not pass, and what they said.

        Args:
            text: of the file. Its name is that of no other module.
            cases: run by unittest alone, without pytest.
        """
        file = "/tmp/tests/test_whole_file.py"
        report, ended = self._run([file], {file: text}, measured=False, seed=1, cases=cases)
        if report is None or report["collection"]:
            return {"": outcome_of(report, ended)[1] or "the file cannot be run as a whole"}
        return {name: row["said"] for name, row in report["tests"].items() if row["outcome"] != "passed"}

    def noted(self, source: str) -> list[list[Any]]:
        """What a file of `snapshot.recording` noted: of each value its number and `repr`; nothing where it fails."""
        file = "/tmp/tests/test_candidate.py"
        report, _ = self._run([file], {file: source}, measured=False, notes=snapshot.FILE)
        if report is None or any(row["outcome"] != "passed" for row in report["tests"].values()):
            return []
        return [one for one in report["notes"] if isinstance(one, list) and len(one) == 2]

    def _path(self) -> list[str]:
        return ["/project/src", "/project"] if self.focal[0].path.startswith("src/") else ["/project"]

    def _existing(self) -> Coverage:
        """What the user's own tests run of the focal functions."""
        if not self.existing:
            return Coverage()
        report, _ = self._run(self.existing, self.cut, measured=True)
        if report is None or report["coverage"] is None:
            return Coverage()
        return self._focal(coverage_of(report["coverage"]))

    def _focal(self, coverage: Coverage) -> Coverage:
        parts = [coverage.within(one.first, one.last) for one in self.focal]
        joined = parts[0]
        for part in parts[1:]:
            joined = joined.joined(part)
        return joined

    def _alone(self, verdict: Verdict) -> Verdict:
        """Run a test by itself, then again with another hash seed, order and clock."""
        if not verdict.kept:
            return verdict
        runs: list[str] = []
        for number in range(self.rules.repeat):
            file = "/tmp/tests/test_candidate.py"
            report, ended = self._run([file], {file: verdict.candidate.source}, measured=number == 0, number=number)
            outcome, detail = outcome_of(report, ended)
            runs.append(outcome)
            if number == 0:
                verdict = replace(verdict, seconds=ended.seconds, detail=detail)
                if outcome != "passed":
                    return replace(verdict, reason=outcome, runs=tuple(runs))
                assert report is not None
                coverage = coverage_of(report["coverage"])
                if not self._body_ran(coverage, verdict.candidate):
                    return replace(verdict, reason="focal code not executed", runs=tuple(runs))
                verdict = replace(verdict, coverage=coverage, detail="")
            elif outcome != "passed":
                return replace(verdict, reason="flaky", detail=f"{outcome}: {detail}", runs=tuple(runs))
        return replace(verdict, runs=tuple(runs))

    def _body_ran(self, coverage: Coverage, candidate: Candidate) -> bool:
        """Whether a line inside the focal function ran, or inside any where none is said.

        A function's first lines run when the file is imported.
        """
        own = [one for one in self.focal if one.name == candidate.focal] or self.focal
        return any(own_lines(one) & coverage.executed for one in own)

    def _worth(self, verdict: Verdict, covered: Coverage) -> Verdict:
        own = self._focal(verdict.coverage)
        lines, branches = own.executed - covered.executed, own.branches - covered.branches
        verdict = replace(verdict, new_lines=len(lines), new_branches=len(branches))
        gain = own.gain(covered)
        if ((lines or branches) and gain >= self.rules.min_gain) or self.rules.keep_redundant:
            return verdict
        if lines or branches:
            told = f"it adds {gain:.2g} % of the lines and branches, {self.rules.min_gain:g} % are asked for"
            verdict = replace(verdict, detail=told)
        return replace(verdict, reason=_REDUNDANT)

    def _together(self, verdicts: list[Verdict]) -> list[Verdict]:
        """Run the kept tests in one process, as users will; those that fail there are left out."""
        kept = [verdict for verdict in verdicts if verdict.kept]
        if len(kept) < 2:
            return verdicts
        files = {f"/tmp/tests/test_{n}.py": verdict.candidate.source for n, verdict in enumerate(kept)}
        report, _ = self._run(list(files), files, measured=False, seed=1)
        if report is None:
            return verdicts
        failed = set()
        for name, row in report["tests"].items():
            if row["outcome"] != "passed":
                failed.add(name)
        names = [verdict.candidate.name for verdict in kept]
        return [
            replace(verdict, reason="fails beside the others")
            if verdict.kept and verdict.candidate.name in failed and names.count(verdict.candidate.name) == 1
            else verdict
            for verdict in verdicts
        ]

    def _run(
        self,
        tests: Sequence[str],
        files: dict[str, str],
        measured: bool,
        number: int = 0,
        seed: int | None = None,
        cases: bool = False,
        notes: str = "",
        first: bool = False,
    ) -> tuple[dict[str, Any] | None, Ended]:
        """Run tests in a sandbox; the report is None where the process ended before it could give one."""
        word = secrets.token_hex(16)
        job = {
            "tests": list(tests),
            "focal": self.path if measured else None,
            "path": self._path(),
            "word": word,
            "seed": number if number else seed,
            "clock": _CLOCK if number % 2 else 0.0,
            "plugins": list(self.rules.plugins),
            "mutant": _MUTANT if _MUTANT in files else None,
            "module": self.focal[0].module,
            "focal_path": self.path,
            "cases": cases,
            "notes": notes,
            "first": first,
        }
        sandbox = replace(self.sandbox, environment={**_PLAIN, "PYTHONHASHSEED": str(number * 7919 + 1)})
        ended = sandbox.run([sandbox.python, "-B", "-s", str(_WORKER), json.dumps(job)], files)
        for line in reversed(ended.stdout.decode("utf-8", "replace").splitlines()):
            if line.startswith(word):
                report: dict[str, Any] = json.loads(line[len(word) :])
                return report, ended
        return None, ended


def _check_image(container: Container) -> None:
    """Refuse an image that cannot run tests."""
    if missing := sorted({"pytest", "coverage"} - examined(container).modules):
        raise InputError(
            f"--image {container.image}: its {PYTHON} has no {' and no '.join(missing)}; build one from it with "
            f"`RUN pip install {' '.join(missing)}`"
        )


def _existing_tests(paths: Sequence[Path], project: Path) -> tuple[list[str], dict[str, str]]:
    """Where the user's tests stand in the sandbox, and texts of those files in which generated ones stand, too.

    Raises:
        InputError: a file lies outside of the project, or cannot be read.
    """
    places, cut = [], {}
    for number, path in enumerate(paths):
        inside, (text, _) = relative(path, project), parse(path)
        if (own := users_part(text)) == text:
            places.append(f"/project/{inside}")
        elif own.strip():
            places.append(f"/tmp/tests/test_existing_{number}.py")
            cut[places[-1]] = own
    return places, cut


def _without_duplicates(
    candidates: Sequence[Candidate], rules: Rules, earlier: Sequence[Verdict] = ()
) -> Iterator[Verdict]:
    """Verdicts that need no run; what is kept here is run.

    Args:
        earlier: of tests that were judged before.
    """
    ran = [verdict.candidate for verdict in earlier if verdict.runs]
    seen = {fingerprint(candidate): candidate.name for candidate in ran}
    for candidate in candidates:
        if not parsed(candidate.source) or not parsed(candidate.code):
            yield Verdict(candidate, "does not parse")
            continue
        kind = assertion(candidate)
        if rules.cases and pytest_needed(candidate):
            yield Verdict(candidate, "needs pytest")
        elif kind == "none":
            yield Verdict(candidate, "no assertion")
        elif kind == "trivial" and not rules.keep_trivial:
            yield Verdict(candidate, "trivial assertion")
        elif (known := seen.setdefault(fingerprint(candidate), candidate.name)) != candidate.name:
            yield Verdict(candidate, "duplicate", f"of {known}")
        else:
            yield Verdict(candidate)
