"""From a Java file to tests: cut where their braces close, repaired, and run where a JDK and JUnit 4 are there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domains.unit_tests.data.java_files import JavaFile, read_java
from domains.unit_tests.data.java_sources import JavaContext, java_context
from domains.unit_tests.inference import java_runner
from domains.unit_tests.inference.braces import closed_at
from domains.unit_tests.inference.java_repair import repair
from domains.unit_tests.inference.loaded import Answer, Ends
from domains.unit_tests.output import java_file
from domains.unit_tests.output.result import WrittenTests
from domains.unit_tests.types import WriterQuery
from suite.errors import InputError

GROUPS = 3
Answers = Callable[[list[str], WriterQuery, list[Ends]], list[list[Answer]]]


@dataclass(frozen=True)
class JavaTest:
    """A test in Java.

    Attributes:
        name: of its method. focal: of the method that it is for. code: with annotation and body.
        reason: why it is not kept, and empty where it is. detail: what the compiler or JUnit said.
        outcome: of its run; empty where it was not run.
    """

    name: str
    focal: str
    code: str
    reason: str = ""
    detail: str = ""
    outcome: str = ""


def write_java(
    path: Path,
    query: WriterQuery,
    about: dict[str, Any],
    room: int,
    length: Callable[[str], int],
    answers: Answers,
) -> WrittenTests:
    """Tests for the public methods of a file's class.

    Args:
        about: `base`, `adapter` and `seed`.
        room: most tokens of a source. length: tokens of a text. answers: what the model makes of sources.

    Raises:
        InputError: the file is no Java, or a method does not fit into the base.
    """
    file = read_java(path, query.project or path.parent, query.function)
    if file is None:
        return WrittenTests(str(path), about=about, message="nothing to test: no class with a public method")
    asked = [(method.name, _context(file, place, room, length)) for place, method in enumerate(file.methods)]
    ends: list[Ends] = [lambda text: closed_at(text) is not None] * len(asked)
    drawn = answers([context.source() for _, context in asked], query, ends)
    tests: list[JavaTest] = []
    for (name, context), some in zip(asked, drawn, strict=True):
        for answer in some:
            tests.append(_test(file, name, context, answer.text, {one.name for one in tests}))
    runner = None if query.no_run else java_runner.find(file, query)
    if isinstance(runner, java_runner.Runner):
        tests = [one if one.reason else _run(runner, file, one) for one in tests]
        note = "compiled and run in a sandbox; coverage and mutation score of Java are not measured"
    else:
        note = f"NOT RUN, only parsed ({runner or 'asked by --no-run'}): no pass, coverage or mutation score is known"
    kept = [one for one in tests if not one.reason]
    text = java_file.composed(file, [one.code for one in kept], about, note) if kept else ""
    executed = isinstance(runner, java_runner.Runner)
    rows = [
        {"name": one.name, "focal": one.focal, "code": one.code, "kept": not one.reason, "reason": one.reason or None}
        | {"detail": one.detail, "outcome": one.outcome or None}
        for one in tests
    ]
    shown = [f"{path}: {len(kept)} of {len(tests)} tests kept; {note}"]
    shown += [f"  {one.name}: {one.reason}" for one in tests if one.reason]
    return WrittenTests(
        str(path),
        tests=text,
        focal_source=file.text,
        name=file.tests.removesuffix(".java"),
        suffix=".java",
        about=about,
        message="\n".join(shown),
        unverified=0 if executed else len(kept),
        details={"executed": executed, "note": note, "tests": rows},
    )


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


def _test(file: JavaFile, focal: str, context: JavaContext, answer: str, taken: set[str]) -> JavaTest:
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
    test = JavaTest(own, focal, f"{head}\n{body}")
    if not mended.valid or not body:
        return replace(test, code=f"{head}\n{answer}", reason="does not parse")
    if not re.search(r"\b(assert|verify|fail|expect)", body):
        return replace(test, reason="no assertion")
    return test


def _run(runner: java_runner.Runner, file: JavaFile, test: JavaTest) -> JavaTest:
    ran = runner.run(file, java_file.composed(file, [test.code], {}, ""), test.name)
    return replace(test, outcome=ran.outcome, detail=ran.detail, reason="" if ran.outcome == "passed" else ran.outcome)
