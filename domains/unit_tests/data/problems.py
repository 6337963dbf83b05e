"""Problems in words with code that solves them, as the sibling study on code generation asks them (arXiv 2308.10462).

CoNaLa, CodeAlpaca, APPS and MBPP in their own columns. The model reads an instruction and the problem in a fenced
block, and answers in a block that is opened for it; the next fence ends its answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from suite.errors import InputError

INSTRUCTION = "Generate a Python code that solves the given problem.\n"
"""Also what the study's prompt tuning begins with."""
OPENING = "```python\n"
FENCE = "```"


def asked(problem: str) -> str:
    """What the model reads."""
    return f"{INSTRUCTION}{FENCE}\n{problem.strip()}\n{FENCE}\n{OPENING}"


def is_problem(source: str) -> bool:
    """Whether a source asks for code in a fenced block."""
    return source.endswith(OPENING)


def unfenced(answer: str) -> str:
    """The code of an answer."""
    return answer.partition(FENCE)[0]


def problem_of(record: Mapping[str, Any], where: str) -> tuple[str, str] | None:
    """Source and target of a record in the columns of one of the four; None where it is of none.

    Raises:
        InputError: a column holds something else than it should; names it.
    """
    if {"instruction", "output"} <= set(record):  # CodeAlpaca
        more = str(record.get("input") or "")
        problem, code = (f"{record['instruction']}\n{more}" if more else record["instruction"]), record["output"]
    elif {"intent", "snippet"} <= set(record):  # CoNaLa
        problem, code = record.get("rewritten_intent") or record["intent"], record["snippet"]
    elif {"text", "code", "test_list"} <= set(record):  # MBPP: what is to be defined is told by its tests alone
        problem, code = "\n".join([str(record["text"]), "", *map(str, record["test_list"])]), record["code"]
    elif {"question", "solutions"} <= set(record):  # APPS
        problem, code = record["question"], _first(record["solutions"], where)
    else:
        return None
    if not isinstance(problem, str) or not isinstance(code, str):
        raise InputError(f"{where}: problem and code must be texts")
    return asked(problem), f"{unfenced(code).rstrip()}\n{FENCE}"


def _first(solutions: Any, where: str) -> Any:
    """The first solution of APPS, which keeps them as a list in JSON in a text."""
    try:
        found = json.loads(solutions) if isinstance(solutions, str) else solutions
        return found[0]
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise InputError(f"{where}: solutions is no list of programs in JSON, or is empty") from error
