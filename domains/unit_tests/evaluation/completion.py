"""HumanEval-X: a model completes functions, and the benchmark's own tests judge them: what tuning made it forget."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from domains.unit_tests.data.readers.humaneval_x import Problem, read
from domains.unit_tests.inference.sandbox import Limits, Sandbox
from domains.unit_tests.metrics import pass_at_k
from domains.unit_tests.predict import TestWriter
from domains.unit_tests.types import WriterQuery
from suite.errors import InputError

_OVER = re.compile(r"\n[^\s#)\]}]")
"""A line that begins in the first column: the function is over."""


def figures(
    writer: TestWriter, path: Path, query: WriterQuery, limits: Limits, most: int | None = None
) -> dict[str, Any]:
    """pass@1 and pass@k of completions in Python, without bias; k is the number of samples.

    Raises:
        InputError: the file is damaged, or holds no problem in Python.
    """
    problems = [one for one in read(path) if one.language == "python"][:most]
    if not problems:
        raise InputError(f"{path}: holds no problem in Python; completions in Java are not run")
    room = writer.room - query.max_new_tokens
    kept = [one for one in problems if writer.length(one.prompt) <= room]
    ends = [lambda text: _OVER.search(text) is not None] * len(kept)
    answers = writer.answers([one.prompt for one in kept], query, ends)
    runs = [(problem, answer.text) for problem, drawn in zip(kept, answers, strict=True) for answer in drawn]
    sandbox = Sandbox(Path(__file__).parent, limits, unsafe=query.unsafe)
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
    done = "print('all tests passed')"
    program = f"{problem.program(completion)}\n{done}\n"
    ended = sandbox.run([sys.executable, "-B", "-s", "/tmp/program.py"], {"/tmp/program.py": program})
    return ended.code == 0 and not ended.reason and ended.stdout.rstrip().endswith(b"all tests passed")
