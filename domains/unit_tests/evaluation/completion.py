"""HumanEval-X: a model completes functions, and the benchmark's own tests judge them: what tuning made it forget."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from domains.unit_tests.data.problems import FENCE, is_problem
from domains.unit_tests.data.readers.humaneval_x import Problem, read
from domains.unit_tests.inference.braces import closed_at
from domains.unit_tests.inference.container import container_of
from domains.unit_tests.inference.java_runner import ADDRESSES
from domains.unit_tests.inference.java_tools import JavaTools
from domains.unit_tests.inference.runs import Ended, Limits
from domains.unit_tests.inference.sandbox import Sandbox
from domains.unit_tests.metrics import pass_at_k
from domains.unit_tests.predict import TestWriter
from domains.unit_tests.types import WriterQuery
from suite.errors import InputError

_OVER = re.compile(r"\n[^\s#)\]}]")
"""A line that begins in the first column: the function is over."""
_OPEN = 2
"""Braces that stand open behind a prompt in Java: the class's and the method's."""
_DONE = "all tests passed"


def figures(
    writer: TestWriter, path: Path, query: WriterQuery, limits: Limits, most: int | None = None
) -> dict[str, Any]:
    """pass@1 and pass@k of completions in Python or Java, without bias; k is the number of samples.

    Raises:
        InputError: the file is damaged, or holds no problem; or they are in Java, and there is no JDK.
    """
    problems = list(islice(read(path), most))
    if not problems:
        raise InputError(f"{path}: holds no problem")
    container = container_of(query.runner, query.image)
    tools = JavaTools(container)
    if _in_java(problems) and (missing := tools.missing("java", "javac")):
        said = " and no ".join(missing)
        raise InputError(f"{path}: completions in Java are compiled and run, and there is no {said} {tools.where}")
    room = writer.room - query.max_new_tokens
    kept = [one for one in problems if writer.length(one.prompt) <= room]
    ends = [_end_of(one) for one in kept]
    answers = writer.answers([one.prompt for one in kept], query, ends)
    runs = [(problem, answer.text) for problem, drawn in zip(kept, answers, strict=True) for answer in drawn]
    sandbox = Sandbox(Path(__file__).parent, limits, unsafe=query.unsafe, container=container)
    if _in_java(problems):
        seconds = max(limits.seconds, _JAVA_SECONDS)
        wide = replace(limits, memory=ADDRESSES, seconds=seconds, processor=round(seconds))
        sandbox = replace(sandbox, limits=wide, shown=tuple(tools.shown("java", "javac")))
    with ThreadPoolExecutor(query.workers) as pool:
        right = list(pool.map(lambda run: passes(sandbox, *run), runs))
    counts = [sum(right[start : start + query.samples]) for start in range(0, len(right), query.samples)]
    counts += [0] * (len(problems) - len(kept))
    return {
        "problems": len(problems),
        "too_long": len(problems) - len(kept),
        **{
            f"pass@{k}": sum(pass_at_k(query.samples, count, k) for count in counts) / len(counts)
            for k in dict.fromkeys((1, query.samples))
        },
        "temperature": query.temperature,
    }


def passes(sandbox: Sandbox, problem: Problem, completion: str) -> bool:
    """Whether a completion passes the benchmark's tests of its function."""
    if problem.language == "java":
        return _passes_in_java(sandbox, problem, completion)
    text = f"{problem.program(completion)}\nprint({_DONE!r})\n"
    return _finished(sandbox.run([sandbox.python, "-B", "-s", "/tmp/program.py"], {"/tmp/program.py": text}))


def _passes_in_java(sandbox: Sandbox, problem: Problem, completion: str) -> bool:
    """The benchmark's `Main` throws where the function is wrong; a class of ours says that it came to its end."""
    text = problem.program(completion[: closed_at(completion, _OPEN)])
    judge = f"public class Judge {{ public static void main(String[] a) throws Exception {{ {_JUDGE} }} }}\n"
    program = JavaTools(sandbox.container).program
    steps = (
        f"cd $TMPDIR && mkdir out && {program('javac')} -J-Xmx512m -nowarn -d out Main.java Judge.java && "
        f"exec {program('java')} -Xmx512m -XX:+UseSerialGC -cp out Judge"
    )
    return _finished(sandbox.run(["/bin/sh", "-c", steps], {"/tmp/Main.java": text, "/tmp/Judge.java": judge}))


_JUDGE = f'Main.main(a); System.out.println("{_DONE}");'
_JAVA_SECONDS = 30.0
"""Of compiling and running."""


def _finished(ended: Ended) -> bool:
    return ended.code == 0 and not ended.reason and ended.stdout.rstrip().endswith(_DONE.encode())


def _in_java(problems: Iterable[Problem]) -> bool:
    return any(one.language == "java" for one in problems)


def _end_of(problem: Problem) -> Callable[[str], bool]:
    """Whether an answer to a problem is over."""
    if is_problem(problem.prompt):
        return lambda text: FENCE in text
    return _over_in_java if problem.language == "java" else _over


def _over(text: str) -> bool:
    return _OVER.search(text) is not None


def _over_in_java(text: str) -> bool:
    return closed_at(text, _OPEN) is not None
