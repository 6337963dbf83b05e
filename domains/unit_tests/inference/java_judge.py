"""The funnel for tests in Java: read, run alone, run again, kept only for what they add, and run as one class."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from domains.unit_tests.data.java_files import JavaFile
from domains.unit_tests.data.readers import java_reports
from domains.unit_tests.inference import java_runner
from domains.unit_tests.inference.builds import Build, BuildTool
from domains.unit_tests.inference.gradle_project import BUILDS, find_gradle
from domains.unit_tests.inference.java_runner import Ran, Runner
from domains.unit_tests.inference.maven_project import POM, find_maven
from domains.unit_tests.output.java_file import composed
from domains.unit_tests.types import Candidate, Coverage, Judged, Verdict, WriterQuery
from suite.errors import InputError

_ASSERTION = re.compile(r"\b(assert|verify|fail|expect)")
_LITERALS = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|\b(?:true|false|null)\b|\b\d[\w.]*')
_CALL = re.compile(r"\bassert\w+\s*\(")


@dataclass(frozen=True)
class JavaJudged:
    """What became of tests in Java.

    Attributes:
        verdicts: in the tests' order.
        judged: them with what they cover; None where coverage was not measured.
        missing: by metric, why it is not known.
        methods: counters of each method by JaCoCo, with the kept tests.
    """

    verdicts: tuple[Verdict, ...]
    judged: Judged | None
    missing: dict[str, str]
    methods: tuple[dict[str, Any], ...] = ()


def chosen(file: JavaFile, query: WriterQuery) -> BuildTool | Runner | str:
    """What runs the tests of a file: its project's Maven or Gradle, a JDK with JUnit 4; or why nothing does.

    Of two build files the nearer one is asked first.
    """
    finders: list[tuple[Finder, tuple[str, ...]]] = [(find_maven, (POM,)), (find_gradle, BUILDS)]
    why = []
    for find, _ in sorted(finders, key=lambda one: -_depth(file.path, one[1])):
        tool = find(file, query)
        if isinstance(tool, BuildTool):
            tool = tool.tried(file)
        if isinstance(tool, BuildTool):
            return tool
        why += [tool] if tool else []
    runner = java_runner.find(file, query)
    if isinstance(runner, Runner) or not why:
        return runner
    return f"{'; '.join(why)}; without it: {runner}"


Finder = Callable[[JavaFile, WriterQuery], BuildTool | str]


def _depth(path: Path, names: Sequence[str]) -> int:
    """How deep the nearest file of a name lies."""
    folders = (one for one in path.resolve().parents if any((one / name).is_file() for name in names))
    return len(next(folders, Path()).parts)


def worded(verdict: Verdict) -> Verdict:
    """A test whose text alone says that it is not kept."""
    body = verdict.candidate.code.partition("{")[2]
    if not _ASSERTION.search(body):
        return replace(verdict, reason="no assertion")
    asserted = [_arguments(body, match.end()) for match in _CALL.finditer(body)]
    # What is left of a literal is punctuation; a name or a call is something that can differ.
    if asserted and not any(re.search(r"\w", _LITERALS.sub("", one)) for one in asserted):
        return replace(verdict, reason="trivial assertion")
    return verdict


def without_duplicates(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The later ones of tests with the same body are not kept."""
    seen: dict[str, str] = {}
    found = []
    for verdict in verdicts:
        if verdict.kept:
            body = " ".join(verdict.candidate.code.partition("{")[2].split())
            first = seen.setdefault(body, verdict.candidate.name)
            if first != verdict.candidate.name:
                verdict = replace(verdict, reason="duplicate", detail=f"of {first}")
        found.append(verdict)
    return found


class JavaJudge:
    """Judges tests for one Java file.

    Args:
        runner: what compiles and runs them.
        project: that the file lies in.
    """

    def __init__(self, runner: BuildTool | Runner, file: JavaFile, query: WriterQuery, project: Path) -> None:
        self.runner, self.file, self.query = runner, file, query
        self.focal = file.functions(project)
        self.measured = isinstance(runner, BuildTool) and not runner.coverage_missing
        self.existing = [path.stem for path in query.existing if path.suffix == ".java"]

    def judge(self, verdicts: Sequence[Verdict]) -> JavaJudged:
        """Say of each test that was not refused for its text why it is kept or not, in order."""
        before = self._before()
        covered, found = before, list[Verdict]()
        with ThreadPoolExecutor(self.query.workers) as pool:
            for verdict in pool.map(self._alone, without_duplicates(verdicts)):
                if verdict.kept and self.measured:
                    verdict, covered = self._worth(verdict, covered, [one for one in found if one.kept])
                found.append(verdict)
        found, whole = self._together(found)
        missing = self._missing()
        if not self.measured:
            return JavaJudged(tuple(found), None, missing)
        after = before if whole.coverage is None else before.joined(self._own(whole.coverage))
        isolation = self.runner.isolation
        judged = Judged(self.focal[0].path, self.focal, tuple(found), before, after, isolation.rows())
        if self.query.mutants and judged.kept:
            judged, missing = self._mutated(judged, missing)
        notices = [*([] if isolation.network else ["network isolation not enforced"])]
        notices += [f"{name} is not known: {why}" for name, why in missing.items()]
        methods = tuple(self._counters(whole))
        return JavaJudged(tuple(found), replace(judged, notices=tuple(notices)), missing, methods)

    def _missing(self) -> dict[str, str]:
        if isinstance(self.runner, Runner):
            why = (
                "the tests are run by JUnit alone; JaCoCo is run where Maven or Gradle builds the project, PIT by Maven"
            )
            return {"coverage": why, "mutation score": why}
        mutants = self.runner.mutants_missing(self.file.junit)
        found = {"coverage": self.runner.coverage_missing, "mutation score": mutants}
        return {name: why for name, why in found.items() if why}

    def _mutated(self, judged: Judged, missing: dict[str, str]) -> tuple[Judged, dict[str, str]]:
        """The same with what the kept tests make of PIT's mutants of the methods."""
        if "mutation score" in missing or not isinstance(self.runner, BuildTool):
            return judged, missing
        try:
            fates = self.runner.mutate(self.file, self._source(judged.kept))
        except InputError as error:
            return judged, {**missing, "mutation score": str(error)}
        own = [one for one in fates if any(focal.first <= one.line <= focal.last for focal in self.focal)]
        return replace(judged, mutants=tuple(sorted(own, key=lambda one: one.line))), missing

    def _before(self) -> Coverage:
        """What the user's own tests run of the methods."""
        if not self.existing or not isinstance(self.runner, BuildTool) or not self.measured:
            return Coverage()
        build = self.runner.build(self.file, "", existing=self.existing)
        return self._own(build.coverage) if build.coverage is not None else Coverage()

    def _alone(self, verdict: Verdict) -> Verdict:
        """Run a test by itself, then again."""
        if not verdict.kept:
            return verdict
        runs: list[str] = []
        for number in range(self.query.repeat):
            ran = self._run(verdict.candidate, measured=number == 0)
            runs.append(ran.outcome)
            if number == 0:
                verdict = replace(verdict, seconds=ran.seconds, coverage=ran.coverage or Coverage())
            if ran.outcome != "passed":
                reason: Any = ran.outcome if number == 0 else "flaky"
                return replace(verdict, reason=reason, detail=ran.detail, runs=tuple(runs))
        return replace(verdict, runs=tuple(runs))

    def _run(self, candidate: Candidate, measured: bool) -> Ran:
        if isinstance(self.runner, Runner):
            return self.runner.run(self.file, candidate.source, candidate.name)
        return self.runner.build(self.file, candidate.source, [candidate.name], measured=measured).ran(candidate.name)

    def _worth(self, verdict: Verdict, covered: Coverage, kept: Sequence[Verdict]) -> tuple[Verdict, Coverage]:
        """Whether a test runs what others before it have not, and what all of them run."""
        own = self._own(verdict.coverage)
        mine = [one for one in self.focal if one.name == verdict.candidate.focal] or list(self.focal)
        if not any(own.within(one.first, one.last).executed for one in mine):
            return replace(verdict, reason="focal code not executed"), covered
        after = covered.joined(own)
        # JaCoCo counts a line's branches: whether two tests took the same ones is seen where both are run together.
        if after == covered and kept and _open(own, covered) and isinstance(self.runner, BuildTool):
            build = self.runner.build(self.file, self._source([*kept, verdict]), existing=self.existing)
            after = covered.joined(self._own(build.coverage)) if build.coverage is not None else covered
        lines, branches = after.executed - covered.executed, after.branches - covered.branches
        verdict = replace(verdict, new_lines=len(lines), new_branches=len(branches))
        enough = (lines or branches) and after.gain(covered) >= self.query.min_coverage_gain
        if enough or self.query.keep_redundant:
            return verdict, after
        return replace(verdict, reason="covers nothing new"), covered

    def _together(self, verdicts: list[Verdict]) -> tuple[list[Verdict], Build]:
        """The written class, run as a whole; tests that fail in it are left out until none does."""
        while kept := [one for one in verdicts if one.kept]:
            if isinstance(self.runner, Runner):
                return verdicts, Build()
            build = self.runner.build(self.file, self._source(kept), existing=self.existing)
            wrong = {one.candidate.name: build.ran(one.candidate.name) for one in kept}
            wrong = {name: ran for name, ran in wrong.items() if ran.outcome != "passed"}
            if not wrong:
                return verdicts, build
            verdicts = [
                replace(one, reason="fails beside the others", detail=wrong[one.candidate.name].detail)
                if one.kept and one.candidate.name in wrong
                else one
                for one in verdicts
            ]
        return verdicts, Build()

    def _source(self, verdicts: Sequence[Verdict]) -> str:
        return composed(self.file, [one.candidate.code for one in verdicts], {}, "")

    def _own(self, coverage: Coverage) -> Coverage:
        return reduce(Coverage.joined, (coverage.within(one.first, one.last) for one in self.focal))

    def _counters(self, whole: Build) -> list[dict[str, Any]]:
        """Instructions and branches of each method, as the study counts them."""
        if whole.report is None:
            return []
        found = []
        for method in self.file.methods:
            signature = f"{method.returns} {method.name}{method.parameters}"
            try:
                row = java_reports.coverage(
                    whole.report, self.file.package, self.file.focal.name, method.name, signature
                )
            except InputError:
                continue  # an interface's method has no code
            found.append(
                {"name": method.name, **{key: row[key] for key in ("instruction_coverage", "branch_coverage")}}
            )
        return found


def _open(own: Coverage, covered: Coverage) -> bool:
    """Whether a test took branches of lines where some are not taken yet."""
    lines = {line for line, _ in covered.missed_branches}
    return any(line in lines for line, _ in own.branches)


def _arguments(text: str, start: int) -> str:
    """What stands in the brackets of a call."""
    depth, at = 1, start
    while at < len(text) and depth:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return text[start : at - 1]
