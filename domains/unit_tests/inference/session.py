"""From a Python file to the tests that are kept: ask, cut, judge, ask again, and run the whole file once more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from domains.unit_tests.data import focal as source_files
from domains.unit_tests.data.changed import changed_lines
from domains.unit_tests.inference import snapshot
from domains.unit_tests.inference.candidates import parsed
from domains.unit_tests.inference.container import container_of
from domains.unit_tests.inference.java_session import write_java
from domains.unit_tests.inference.judge import Judge, Rules
from domains.unit_tests.inference.loaded import Answer, Ends
from domains.unit_tests.inference.mutants import mutants
from domains.unit_tests.inference.prompts import Asked, Cutter, asked, told
from domains.unit_tests.inference.runs import MEGABYTE, Limits
from domains.unit_tests.inference.unittest_style import pytest_needed
from domains.unit_tests.output import test_file
from domains.unit_tests.output.result import WrittenTests
from domains.unit_tests.types import Candidate, Focal, Judged, WriterQuery
from suite.errors import InputError

JUDGED = "Each of them ran alone and beside the others in a sandbox, and passed every time."
UNVERIFIED = "NOT VERIFIED: none of these tests was ever run. Run them in a place where they can do no harm."
SNAPSHOTS = "Those named ..._snapshot hold on to what the code gave when they were written, right or wrong."
FAILING = (
    "Each of these tests FAILS: a possible bug of the code, or a wrong expectation of the test. Read them one by one."
)


class Writing(Protocol):
    """What answers sources."""

    @property
    def room(self) -> int: ...

    def length(self, source: str) -> int: ...

    def answers(
        self, sources: Sequence[str], query: WriterQuery, ends: Sequence[Ends], attempt: int = 0
    ) -> list[list[Answer]]: ...


class Session:
    """Writes tests for files by one query.

    Args:
        about: `base`, `adapter`: what answers.
        out: folder of the results; a test file of the same name there is gone on in.
    """

    def __init__(self, writer: Writing, query: WriterQuery, about: dict[str, Any], out: Path | None = None) -> None:
        self.writer, self.query, self.out = writer, query, out
        self.about = {**about, "seed": query.seed}
        limits = Limits(seconds=query.timeout, processor=max(1, round(query.timeout)), memory=query.memory * MEGABYTE)
        self.rules = Rules(
            query.repeat,
            query.keep_redundant,
            query.keep_trivial,
            query.plugins,
            query.workers,
            limits,
            query.unsafe,
            query.framework == "unittest",
            query.min_coverage_gain,
            container_of(query.runner, query.image),
        )

    def file(self, path: Path) -> WrittenTests:
        """The tests of one file in Python or Java.

        Raises:
            InputError: it is no code, outside the project, or cannot be imported; or a function does not fit.
        """
        if path == Path("-"):
            raise InputError("-: tests are written for files, whose places say how they are imported; name some")
        query, project = self.query, self.query.project or source_files.project_of(path)
        if path.suffix == ".java":
            if query.framework in ("pytest", "unittest") or query.snapshot:
                what = "--snapshot is" if query.snapshot else f"--framework {query.framework} is"
                raise InputError(f"{path}: {what} for Python; leave it out")
            room = self.writer.room - query.max_new_tokens
            placed = replace(query, project=project)
            return write_java(path, placed, self.about, room, self.writer.length, self.writer.answers, self.out)
        if query.framework.startswith("junit"):
            raise InputError(f"{path}: --framework {query.framework} is for Java; take pytest or unittest")
        text, tree = source_files.parse(path)
        functions = source_files.discover(path, project, query.function)
        if query.changed_since is not None:
            lines = changed_lines(path, query.changed_since)
            known, functions = functions, [one for one in functions if lines & set(range(one.first, one.last + 1))]
            if known and not functions:
                said = f"nothing to test: no function has a line that is changed since {query.changed_since}"
                return WrittenTests(str(path), about=self.about, message=said)
        if not functions:
            return WrittenTests(str(path), about=self.about, message=f"nothing to test: {source_files.seen(tree)}")
        user, existing = self._existing(path)
        cutter = Cutter(functions[0].module, text, test_file.names_in(user), self.rules.cases)
        if query.no_run:
            return self._unverified(path, functions, text, user, cutter)
        judge = Judge(project, functions, self.rules, existing)
        judge.check(path)
        judged = self._judged(judge, functions, text, cutter)
        if query.snapshot:
            judged = self._snapshots(judge, judged, cutter)
        return self._result(path, judge, judged, text, user)

    def _judged(self, judge: Judge, functions: Sequence[Focal], text: str, cutter: Cutter) -> Judged:
        """Ask and judge, as often as the query says or until nothing more can be run or kept."""
        judged: Judged | None = None
        wanted = list(functions)
        for attempt in range(self.query.rounds):
            candidates = self._candidates(wanted, text, cutter, judged, attempt)
            kept = 0 if judged is None else len(judged.kept)
            with _bar(len(candidates), "tests") as step:
                judged = judge.judge(candidates, step, judged)
            wanted = [one for one in functions if _uncovered(one, judged)]
            if not wanted or (attempt and len(judged.kept) == kept):
                break
        assert judged is not None
        return judged

    def _snapshots(self, judge: Judge, judged: Judged, cutter: Cutter) -> Judged:
        """Tests that fail for an expected value, judged once more with the values that the code gives."""
        made = []
        for verdict in judged.verdicts:
            if verdict.reason == "failed" and not verdict.candidate.snapshot:
                one = verdict.candidate
                name = cutter.free(f"{one.name}{snapshot.SUFFIX}")
                made.append(snapshot.rewritten(one, judge.noted(snapshot.recording(one)), name))
        with _bar(len(made), "snapshots") as step:
            return judge.judge([one for one in made if one is not None], step, judged)

    def _candidates(
        self, functions: Sequence[Focal], text: str, cutter: Cutter, judged: Judged | None, attempt: int
    ) -> list[Candidate]:
        query, sources = self.query, []
        room = self.writer.room - query.max_new_tokens
        for one in functions:
            notes = [] if judged is None else told(judged.verdicts, one, judged.after)
            sources.append(asked(one, text, room, self.writer.length, notes))
        return list(self._cut(sources, cutter, attempt))

    def _cut(self, sources: Sequence[Asked], cutter: Cutter, attempt: int) -> Iterator[Candidate]:
        query = self.query
        ends = [source.ends(query.max_tests) for source in sources]
        answers = self.writer.answers([source.source for source in sources], query, ends, attempt)
        for source, drawn in zip(sources, answers, strict=True):
            for answer in drawn:
                yield from cutter.candidates(source, answer, query.max_tests)

    def _existing(self, path: Path) -> tuple[str, tuple[Path, ...]]:
        """The user's part of the file that will be written, and the files whose tests are there already."""
        name = f"test_{path.stem}.py"
        own = [one for one in self.query.existing if one.name == name]
        if not own and self.out is not None and (self.out / name).is_file():
            own = [self.out / name]
        text = test_file.users_part(test_file.kept_text(own[0])) if own else ""
        return text, tuple(self.query.existing)

    def _unverified(self, path: Path, functions: Sequence[Focal], text: str, user: str, cutter: Cutter) -> WrittenTests:
        """Tests that only were read: what parses is written."""
        candidates = self._candidates(functions, text, cutter, None, 0)
        parsing = [one for one in candidates if parsed(one.code) and not (self.rules.cases and pytest_needed(one))]
        module = functions[0].module
        tests = test_file.composed(user, parsing, module, self.about, UNVERIFIED) if parsing else ""
        return WrittenTests(
            str(path),
            tests=tests,
            focal_source=text,
            name=f"test_{path.stem}",
            about=self.about,
            message=f"{len(parsing)} tests written. {UNVERIFIED}",
            unverified=len(parsing),
        )

    def _result(self, path: Path, judge: Judge, judged: Judged, text: str, user: str) -> WrittenTests:
        query, module = self.query, judged.focal[0].module
        judged, tests = self._whole(judge, judged, user)
        if query.mutants and judged.kept:
            made, before = mutants(text, judged.focal, query.mutants, query.seed), len(judged.kept)
            with _bar(len(made), "mutants") as step:
                judged = judge.mutate(judged, made, step)
            if len(judged.kept) > before:
                judged, tests = self._whole(judge, judged, user)
        failing = [verdict for verdict in judged.verdicts if verdict.reason == "failed"]
        separate = ""
        if failing and query.keep_failing == "separate":
            given = [verdict.candidate for verdict in failing]
            separate = test_file.composed("", given, module, self.about, FAILING)
        return WrittenTests(
            str(path),
            judged=judged,
            tests=tests,
            focal_source=text,
            name=f"test_{path.stem}",
            about=self.about,
            failing=separate,
        )

    def _whole(self, judge: Judge, judged: Judged, user: str) -> tuple[Judged, str]:
        """The written file, run as a whole; tests of ours that fail in it are left out until none does."""
        module = judged.focal[0].module
        while judged.kept:
            tests = [verdict.candidate for verdict in judged.kept]
            if self.query.keep_failing == "xfail":
                marked = [verdict for verdict in judged.verdicts if verdict.reason == "failed"]
                tests += [test_file.expected_to_fail(one.candidate, one.said) for one in marked]
            remark = f"{JUDGED}\n{SNAPSHOTS}" if any(one.snapshot for one in tests) else JUDGED
            text = test_file.composed(user, tests, module, self.about, remark)
            cases = self.rules.cases and not any(name.startswith("test") for name in test_file.names_in(user))
            wrong = judge.failing(text, cases)
            ours = {verdict.candidate.name for verdict in judged.kept} & set(wrong)
            if not ours:
                if "" in wrong:
                    raise InputError(f"the test file cannot be run as a whole: {wrong[''].splitlines()[-1]}")
                return judged, text
            verdicts = tuple(
                replace(one, reason="fails beside the others", detail=wrong[one.candidate.name])
                if one.candidate.name in ours
                else one
                for one in judged.verdicts
            )
            judged = judge.remeasured(replace(judged, verdicts=verdicts))
        return judged, ""


def _uncovered(focal: Focal, judged: Judged) -> bool:
    own = judged.after.within(focal.first, focal.last)
    return bool(own.missing or own.missed_branches or not own.executed)


@contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[Any], None]]:
    with tqdm(total=total, desc=what, unit=what.rstrip("s"), disable=not sys.stderr.isatty()) as bar:

        def step(_: Any) -> None:
            bar.update()

        yield step
