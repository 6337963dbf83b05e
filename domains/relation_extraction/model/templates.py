"""Prompt templates that a user gives, for the protocols whose wording is not ours to ship.

A JSON file of two objects: `answers` has one template a step; `analyses`, only for the protocols that ask for an
analysis first, one for the analysis that precedes each answer. Placeholders: `{s}` passage, `{r}` relation, `{d}` its
description, `{h}` head, `{a}` the analysis (in `answers` only); a literal brace is doubled.

    {"answers": {"relation": "... {s} ... {a}", "subject": "... {d} ... {s} ... {a}", "fact": "... {s} ... {h} {a}"},
     "analyses": {"relation": "... {s}", "subject": "... {d} ... {s}", "fact": "... {r} ... {s} ... {h}"}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from domains.relation_extraction.model.calls import STEPS, Step
from suite.errors import InputError
from suite.files import read_text

Templates = Mapping[str, Mapping[Step, str]]
"""`answers` and `analyses`: a template by step."""

_FIELDS = {"answers": frozenset("srdha"), "analyses": frozenset("srdh")}


def read_templates(source: str | Path | Mapping[str, Any], *, analysing: bool) -> Templates:
    """Return the templates of a file, or of the object that such a file holds, after checking them.

    Args:
        analysing: whether the protocol asks for an analysis before each answer.

    Raises:
        InputError: the file cannot be read, a step has no template, or a template has the wrong placeholders.
    """
    where = "protocol templates"
    if not isinstance(source, Mapping):
        where, source = f"protocol templates {source}", _read(Path(source))
    groups = ("answers", "analyses") if analysing else ("answers",)
    if unknown := set(source) - set(groups):
        raise InputError(f"{where}: unknown part {min(unknown)!r}; this protocol takes {' and '.join(groups)}")
    return {group: _checked(source.get(group), group, analysing, f"{where}: {group}") for group in groups}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(read_text(path.expanduser(), encoding="utf-8-sig"))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"protocol templates {path}: cannot be read ({error.strerror}); give a JSON file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"protocol templates {path}: not JSON ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"protocol templates {path}: expected a JSON object with answers, a template by step")
    return content


def _checked(given: Any, group: str, analysing: bool, where: str) -> dict[Step, str]:
    if not isinstance(given, Mapping) or set(given) != set(STEPS):
        raise InputError(f"{where}: expected an object with one template for each of {', '.join(STEPS)}")
    needed = {"s", "a"} if analysing and group == "answers" else {"s"}
    for step in STEPS:
        found = _placeholders(given[step], f"{where}.{step}")
        allowed = _FIELDS[group] if analysing else _FIELDS[group] - {"a"}
        if wrong := sorted(found - allowed):
            names = ", ".join(f"{{{name}}}" for name in sorted(allowed))
            raise InputError(f"{where}.{step}: unknown placeholder {{{wrong[0]}}}; there are {names}")
        if missing := sorted(needed - found):
            raise InputError(f"{where}.{step}: lacks the placeholder {{{missing[0]}}}; add it")
    return {step: given[step] for step in STEPS}


def _placeholders(template: Any, where: str) -> set[str]:
    """The placeholders of a template; anything but a bare name stays in its own spelling, so that it is refused."""
    if not isinstance(template, str):
        raise InputError(f"{where}: expected a string")
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"{where}: {error}; write a literal brace twice") from error
    return {
        name + (f"!{conversion}" if conversion else "") + (f":{how}" if how else "")
        for _, name, how, conversion in parts
        if name is not None
    }
