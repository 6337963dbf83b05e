"""From a Java file to tests: cut where their braces close, repaired, and judged where a JDK is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from domains.unit_tests.data.java_files import JavaFile, read_java
from domains.unit_tests.data.java_sources import JavaContext, java_context
from domains.unit_tests.inference.braces import closed_at
from domains.unit_tests.inference.java_judge import JavaJudge, chosen, worded
from domains.unit_tests.inference.java_repair import repair
from domains.unit_tests.inference.loaded import Answer, Ends
from domains.unit_tests.output import java_file
from domains.unit_tests.output.result import WrittenTests
from domains.unit_tests.types import Candidate, Verdict, WriterQuery
from suite.errors import InputError

GROUPS = 3
Answers = Callable[[list[str], WriterQuery, list[Ends]], list[list[Answer]]]


def write_java(
    path: Path,
    query: WriterQuery,
    about: dict[str, Any],
    room: int,
    length: Callable[[str], int],
    answers: Answers,
    out: Path | None = None,
) -> WrittenTests:
    """Tests for the public methods of a file's class.

    Args:
        out: folder of the results.
        about: `base`, `adapter` and `seed`.
        room: most tokens of a source. length: tokens of a text. answers: what the model makes of sources.

    Raises:
        InputError: the file is no Java, or a method does not fit into the base.
    """
    project = query.project or path.parent
    file = read_java(path, project, query.function, out)
    if file is None:
        return WrittenTests(str(path), about=about, message="nothing to test: no class with a public method")
    if query.framework != "auto":
        file = replace(file, junit=5 if query.framework == "junit5" else 4)
    asked = [(method.name, _context(file, place, room, length)) for place, method in enumerate(file.methods)]
    ends: list[Ends] = [lambda text: closed_at(text) is not None] * len(asked)
    drawn = answers([context.source() for _, context in asked], query, ends)
    tests: list[Verdict] = []
    for (name, context), some in zip(asked, drawn, strict=True):
        for answer in some:
            made = _test(file, name, context, answer.text, {one.candidate.name for one in tests})
            told = replace(made.candidate, finish_reason=answer.finish_reason, logprob=answer.logprob)
            tests.append(replace(made, candidate=told))
    runner = "asked by --no-run" if query.no_run else chosen(file, query)
    if isinstance(runner, str):
        missing = dict.fromkeys(("outcomes", "coverage", "mutation score"), runner)
        return _unjudged(file, tests, about, f"NOT RUN, only parsed ({runner}): {_UNKNOWN}", missing)
    found = JavaJudge(runner, file, query, project).judge(tests)
    if found.judged is None:
        unknown = "; ".join(f"{name} is not known: {why}" for name, why in found.missing.items())
        return _unjudged(file, found.verdicts, about, f"compiled and run in a sandbox; {unknown}", found.missing, True)
    note = "compiled and run in a sandbox, each alone and beside the others"
    return WrittenTests(
        str(path),
        judged=found.judged,
        tests=_written(file, found.verdicts, about, note),
        focal_source=file.text,
        name=file.tests.removesuffix(".java"),
        suffix=".java",
        about=about,
        details={**_details(found.verdicts, note, found.missing, True), "methods": list(found.methods)},
    )


_UNKNOWN = "no pass, coverage or mutation score is known"


def _unjudged(
    file: JavaFile,
    tests: Sequence[Verdict],
    about: dict[str, Any],
    note: str,
    missing: Mapping[str, str],
    executed: bool = False,
) -> WrittenTests:
    """Tests of which nothing but the outcome is known, if that is."""
    kept = [one for one in tests if one.kept]
    shown = [f"{len(kept)} of {len(tests)} tests kept; {note}"]
    shown += [f"  {one.candidate.name}: {one.reason}" for one in tests if one.reason]
    return WrittenTests(
        str(file.path),
        tests=_written(file, tests, about, note),
        focal_source=file.text,
        name=file.tests.removesuffix(".java"),
        suffix=".java",
        about=about,
        message="\n".join(shown),
        unverified=0 if executed else len(kept),
        details=_details(tests, note, missing, executed),
    )


def _written(file: JavaFile, tests: Sequence[Verdict], about: Mapping[str, Any], note: str) -> str:
    kept = [one.candidate.code for one in tests if one.kept]
    return java_file.composed(file, kept, about, note) if kept else ""


def _details(tests: Sequence[Verdict], note: str, missing: Mapping[str, str], executed: bool) -> dict[str, Any]:
    """What the report says of tests in Java; a metric that is not known is named with the reason."""
    rows = [
        {
            "name": one.candidate.name,
            "focal": one.candidate.focal,
            "code": one.candidate.code,
            "kept": one.kept,
            "reason": one.reason or None,
            "detail": one.detail,
            "outcome": one.runs[0] if one.runs else None,
        }
        for one in tests
    ]
    return {"executed": executed, "note": note, "missing_metrics": dict(missing), "tests": rows}


def _context(file: JavaFile, place: int, room: int, length: Callable[[str], int]) -> JavaContext:
    context = java_context(file.focal, file.methods[place], indent=file.indent)
    for groups in range(GROUPS + 1):
        shorter = context.shortened(groups)
        if (found := length(shorter.source())) <= room:
            return shorter
    raise InputError(
        f"{file.path}: {file.methods[place].name} has {found:,} tokens with its test's head, the base has room for "
        f"{room:,}; take a base with a longer context, or name other methods with --function"
    )


def _test(file: JavaFile, focal: str, context: JavaContext, answer: str, taken: set[str]) -> Verdict:
    """A test from an answer: cut at its closing brace, what does not parse cut off."""
    head = context.head
    name = re.findall(r"(\w+)\s*\(", head)[-1]
    own, number = name, 1
    while own in taken:
        number += 1
        own = f"{name}{number}"
    head = re.sub(rf"\b{name}(\s*\()", rf"{own}\1", head)
    end = closed_at(answer)
    mended = repair(f"{answer[:end]}\n\n}}")
    body = mended.body[: closed_at(mended.body)].rstrip()
    if not mended.valid or not body:
        return Verdict(Candidate(own, f"{head}\n{answer}", "", focal), "does not parse")
    code = f"{head}\n{body}"
    return worded(Verdict(Candidate(own, code, java_file.composed(file, [code], {}, ""), focal)))
