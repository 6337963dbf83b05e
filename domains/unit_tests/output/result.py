"""What one file's tests gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domains.unit_tests.output import page, reports
from domains.unit_tests.types import Judged
from suite.files import write_text


@dataclass(frozen=True)
class JudgedResult:
    """Tests of one source that were judged, or the `error` of one that could not be read.

    Attributes:
        source: the file of the tests.
        judged: what became of them.
        tests: a test file with those that were kept.
        focal_source: text of the file that they are for.
        name: how the files are named. suffix: of the test file.
    """

    source: str
    error: str | None = None
    judged: Judged | None = None
    tests: str = ""
    focal_source: str = ""
    name: str = "tests"
    suffix: str = ".py"

    @property
    def short_name(self) -> str:
        """How reports are named: they stand at the top of a folder, also where the tests stand below `src/test`."""
        return self.name.rpartition("/")[2]

    def to_dict(self) -> dict[str, Any]:
        return {} if self.judged is None else reports.record(self.judged)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the kept tests, JSON, JUnit, Cobertura and lcov reports, and a page; return the files."""
        if self.judged is None:
            return []
        folder, judged, name = Path(folder), self.judged, self.short_name
        written = [
            write_text(folder / f"{name}.json", reports.as_json(judged)),
            write_text(folder / f"{name}.junit.xml", reports.as_junit(judged)),
            write_text(folder / f"{name}.coverage.xml", reports.as_cobertura(judged)),
            write_text(folder / f"{name}.lcov", reports.as_lcov(judged)),
            write_text(folder / f"{name}.html", page.render(judged, self.focal_source)),
        ]
        if judged.kept:
            written.insert(0, write_text(folder / f"{self.name}{self.suffix}", self.tests))
        return written

    def __str__(self) -> str:
        if self.judged is None:
            return f"{self.source}: {self.error}"
        dropped = [verdict for verdict in self.judged.verdicts if verdict.reason]
        told = [f"  {one.candidate.name}: {one.reason}{f': {one.said[:100]}' if one.said else ''}" for one in dropped]
        return "\n".join([self._told(self.judged), *told])

    def _told(self, judged: Judged) -> str:
        """What became of the tests together."""
        reasons = Counter(verdict.reason for verdict in judged.verdicts if verdict.reason)
        lines = [f"{judged.path}: {len(judged.kept)} of {len(judged.verdicts)} tests kept"]
        lines += [f"  {count:3}  {reason}" for reason, count in reasons.most_common()]
        for name, before, after in (
            ("lines", judged.before.line_share, judged.after.line_share),
            ("branches", judged.before.branch_share, judged.after.branch_share),
        ):
            lines.append(f"  {name} run: {before:.0%} before, {after:.0%} after")
        if judged.after.missing:
            lines.append(f"  not run: lines {reports.spans(judged.after.missing)}")
        if judged.mutation_score is not None:
            fates = Counter(one.fate for one in judged.mutants or ())
            told = ", ".join(f"{count} {fate}" for fate, count in fates.most_common())
            lines.append(f"  mutation score: {judged.mutation_score:.0%} ({told})")
        return "\n".join([*lines, *(f"  warning: {notice}" for notice in judged.notices)])


@dataclass(frozen=True)
class WrittenTests(JudgedResult):
    """Tests that a model wrote for one file, and what became of them.

    Attributes:
        about: `base`, `adapter` and `seed`.
        failing: a file of tests that fail, where it was asked for.
        message: what there is to say where nothing was judged.
        unverified: tests that were written and never run.
        details: more for the report of tests in Java: whether they were run, and what is not known of them.
    """

    about: Mapping[str, Any] = field(default_factory=dict)
    failing: str = ""
    message: str = ""
    unverified: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 where there is a test, 3 where none is."""
        return 0 if self.tests else 3

    def to_dict(self) -> dict[str, Any]:
        if self.judged is None:
            told = {"message": self.message, "verified": bool(self.tests) and not self.unverified}
            return {**self.about, **told, "unverified": self.unverified, **self.details}
        return {**self.about, "verified": True, **self.details, **reports.record(self.judged, self.about)}

    def save(self, folder: str | Path) -> list[Path]:
        """Write what `JudgedResult` writes, and the tests that fail."""
        folder = Path(folder)
        if self.judged is None:
            return [write_text(folder / f"{self.name}{self.suffix}", self.tests)] if self.tests else []
        text = reports.as_mutation_elements(self.judged, self.focal_source)
        told = {**self.about, **{name: value for name, value in self.details.items() if name != "tests"}}
        more = {
            f"{self.short_name}.json": reports.as_json(self.judged, told),
            **({f"{self.name}_failing.py": self.failing} if self.failing else {}),
            **({f"{self.short_name}.mutation.json": text} if self.judged.mutants is not None else {}),
        }
        written = [*super().save(folder), *(write_text(folder / name, content) for name, content in more.items())]
        return list(dict.fromkeys(written))

    def __str__(self) -> str:
        if self.judged is None:
            return f"{self.source}: {self.error or self.message}"
        lines = [self._told(self.judged)]
        for row in reports.by_function(self.judged):
            lines.append(f"  {row['name']}: {row['kept']} of {row['generated']} kept")
        if not self.judged.kept:
            lines.append("  no test survived")
        return "\n".join(lines)
