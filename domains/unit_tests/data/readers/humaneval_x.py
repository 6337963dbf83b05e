"""HumanEval-X: functions to be completed, each with tests of its own (THUDM/CodeGeeX, Apache-2.0).

Of the study's models it measures how much of writing code is forgotten: they complete the function, and the benchmark's
own tests judge it.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from domains.unit_tests.data.problems import is_problem, problem_of, unfenced
from suite.errors import InputError

Language = Literal["python", "java"]

_IMPORTS = """import math
import re
import sys
import copy
import datetime
import itertools
import collections
import heapq
import statistics
import functools
import hashlib
import numpy
import numpy as np
import string
from typing import *
from collections import *
"""


@dataclass(frozen=True)
class Problem:
    """A function to be completed.

    Attributes:
        task: its id, `Python/0`.
        prompt: imports, signature and docstring. test: code that runs the function and fails where it is wrong.
        solution: a right completion.
        entry: the function's name, where the file tells it.
    """

    task: str
    prompt: str
    test: str
    solution: str = ""
    entry: str = ""

    @property
    def language(self) -> Language:
        return "java" if self.task.startswith("Java/") else "python"

    def program(self, completion: str) -> str:
        """A program that runs the benchmark's tests on a completion.

        Of Python it is cut at the first line that begins in the first column: what a model writes after its function.
        """
        if self.language == "java":
            return f"{self.prompt}{completion}\n{self.test}"
        if is_problem(self.prompt):
            return f"{_IMPORTS}{unfenced(completion)}\n{self.test}\n"
        call = f"check({self.entry})" if self.entry and "\ncheck(" not in self.test else ""
        return f"{_IMPORTS}{self.prompt}{_function(completion)}{self.test}\n{call}"


def read(path: str | Path) -> list[Problem]:
    """The problems of a file, `.jsonl` or `.jsonl.gz`; OpenAI's HumanEval and MBPP are read, too.

    Raises:
        InputError: a line is no JSON, or lacks a key; names file, line and key.
    """
    path = Path(path)
    problems = []
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = raw.decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            task = str(row["task_id"]).replace("HumanEval/", "Python/")
            if "test_list" in row:
                problems.append(_of_mbpp(row, f"{path}:{number}"))
                continue
            known = row["canonical_solution"], row.get("entry_point", "")
            problems.append(Problem(task, row["prompt"], row["test"], *known))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: no JSON: {error.msg}") from error
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}:{number}: {error} is missing: is it a file of HumanEval-X?") from error
    return problems


def _of_mbpp(row: dict[str, Any], where: str) -> Problem:
    """MBPP, whose problems are in words: the answer is a whole program in a fenced block."""
    found = problem_of(row, where)
    if found is None:
        raise InputError(f"{where}: has no text and code beside its tests: is it a file of MBPP?")
    test = "\n".join(filter(None, [row.get("test_setup_code", ""), *row["test_list"]]))
    return Problem(f"MBPP/{row['task_id']}", found[0], test, found[1])


def _function(completion: str) -> str:
    lines = completion.split("\n")
    end = next((n for n, line in enumerate(lines) if line.strip() and line[0] not in " \t"), len(lines))
    return "".join(f"{line}\n" for line in lines[:end])
