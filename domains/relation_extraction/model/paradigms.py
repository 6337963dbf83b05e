"""The protocols that there are: the wording of every call of every version. Two families:

- `autore-official/<version>`: the prompts that the released AutoRE adapters were trained with (THUDM/AutoRE,
  "AutoRE: Document-Level Relation Extraction with Large Language Models", ACL 2024 demos). Their odd punctuation is
  real: a prompt that differs by one character is another protocol.
  The wording of two of them (`D_R_H_F_desc_analysis`, `D_R_H_F_desc_chinese`) is not shipped: whoever has adapters
  for them gives the templates (see `templates`).
- `suite-v1/<version>`: ours. The passage comes first in every step, in a piece of its own, so that all calls of a step
  on one document share their longest prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domains.relation_extraction.model.calls import STEPS, Step
from domains.relation_extraction.model.protocol import OFFICIAL, OURS, STEPS_OF, Protocol
from suite.errors import InputError

ZERO_SHOT = "zero-shot"

PARADIGMS: tuple[str, ...] = (
    "D_F",
    "D_RS_F",
    "D_R_F",
    "D_R_H_F",
    "D_R_H_F_desc",
    "D_R_H_F_desc_analysis",
    "D_R_H_F_desc_chinese",
    ZERO_SHOT,
)

COMPONENTS: tuple[str, ...] = ("relation", "subject", "facts")
"""Tests of one step alone: R; H with gold relations; F with gold relations and gold heads."""


def find(identifier: str, templates: str | Path | Mapping[str, Any] | None = None) -> Protocol:
    """Return the protocol `<family>/<version>`; a version alone means ours.

    Args:
        templates: the wording of an official protocol that is not shipped: a JSON file, or what it holds.

    Raises:
        InputError: there is no such protocol (the line lists those there are), or the templates are wrong.
    """
    full = identifier if "/" in identifier else f"{OURS}/{identifier}"
    try:
        found = _PROTOCOLS[full]
    except KeyError:
        raise InputError(f"unknown protocol {identifier!r}; choose one of {', '.join(_PROTOCOLS)}") from None
    return found.worded(templates)


def protocols() -> tuple[str, ...]:
    """The ids of all protocols."""
    return tuple(_PROTOCOLS)


def check_protocol(expected: str, found: str | None, where: str) -> None:
    """Refuse an adapter that was trained with other prompts than it would be asked with.

    Args:
        expected: the protocol that the run uses.
        found: the protocol in the adapter's metadata; None when it states none, which is accepted.
        where: the adapter, for the message.

    Raises:
        InputError: the two differ.
    """
    if found is not None and found != expected:
        raise InputError(f"adapter {where} was trained with protocol {found}, not {expected}; use --paradigm {found}")


_LIST_ANY = 'Given a passage: "{s}"\nList any underlying relations.'
_LIST_ALL = 'Given a passage: "{s}"\nList all underlying relations.'

# Verbatim, stray characters included: the `n.` of D_RS_F, spaces before colons.
_OFFICIAL: Mapping[str, Mapping[Step, str]] = {
    "D_F": {"fact": 'Given a passage: "{s}"\nList all underlying facts.'},
    "D_RS_F": {
        "relation": _LIST_ALL,
        "fact": 'Given a passage: "{s}"\nList all triplet facts according to the relation list : "{rs}"n.',
    },
    "D_R_F": {
        "relation": _LIST_ALL,
        "fact": 'Given a passage: "{s}"\nList all triplet facts that take "{r}" as the relation.',
    },
    "D_R_H_F": {
        "relation": _LIST_ALL,
        "subject": 'Given a relation : "{r}" and a passage: "{s}"\n'
        "list the entities that can be serve as suitable subjects for the relation.",
        "fact": 'Provided a passage: "{s}"\n'
        'List all triplet facts that take "{r}" as the relation and "{h}" as the subject.',
    },
    "D_R_H_F_desc": {
        "relation": _LIST_ANY,
        "subject": 'Given a relation "{r}", and its description: "{d}" and a passage: "{s}", '
        "list entities that can be identified as suitable subjects for the relation.",
        "fact": 'Given relation "{r}" and relation description: "{d}".\nProvided a passage: "{s}"\n'
        'List all triplet facts that take "{r}" as the relation and "{h}" as the subject.',
    },
}

_NOT_SHIPPED = ("D_R_H_F_desc_analysis", "D_R_H_F_desc_chinese")

_OURS = ("Document:\n{s}\n", "Task: {task}\n")
_EXPLAIN = ("Document:\n{s}\n", "Explain: {task}\n")
_EXPLAINED = ("Document:\n{s}\n", "Notes:\n{a}\nTask: {task}\n")
_CHINESE = ("文档：\n{s}\n", "任务：{task}\n")
_ZERO_SHOT = (
    "Document:\n{s}\n",
    "\nExtract every fact that this document states, using only these relations: {rs}\n"
    "Write one fact a line, as a Python list of three strings: ['head', 'relation', 'tail']. "
    "Copy head and tail exactly from the document. Write nothing else; if there is no fact, write none.\n",
)


def _build() -> dict[str, Protocol]:
    official: dict[str, Mapping[Step, str]] = {**_OFFICIAL, **{version: {} for version in _NOT_SHIPPED}}
    built = [
        Protocol(f"{OFFICIAL}/{version}", {step: (prompt,) for step, prompt in prompts.items()})
        for version, prompts in official.items()
    ]
    for version in ("D_F", "D_RS_F", "D_R_F", "D_R_H_F", "D_R_H_F_desc"):
        answers = dict.fromkeys(STEPS_OF.get(version, STEPS), _OURS)
        built.append(Protocol(f"{OURS}/{version}", answers, empty="none"))
    explained, explain = dict.fromkeys(STEPS, _EXPLAINED), dict.fromkeys(STEPS, _EXPLAIN)
    built.append(Protocol(f"{OURS}/D_R_H_F_desc_analysis", explained, explain, empty="none"))
    built.append(Protocol(f"{OURS}/D_R_H_F_desc_chinese", dict.fromkeys(STEPS, _CHINESE), empty="none"))
    built.append(Protocol(f"{OURS}/{ZERO_SHOT}", {"fact": _ZERO_SHOT}, empty="none"))
    return {one.id: one for one in built}


_PROTOCOLS = _build()
