"""Calling a typed function with the words of a command line, and what becomes of what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from suite.cli import options
from suite.cli.output import Answer


def run(prog: str, function: Callable[..., Any], argv: Sequence[str]) -> Answer:
    """Call `function` with the options in `argv`, and make an answer of what it returns."""
    wanted = options.of_function(function)
    parser = options.Parser(prog, wanted, options.description(function))
    return Answer.of(function(**options.parse(parser, wanted, argv)))


def help_answer(text: str) -> Answer:
    return Answer({"help": text}, text)
