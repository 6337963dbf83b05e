"""A made world of code: small functions over numbers, words, lists and dicts, with tests that state what they give.

Everything follows from a seed and `world.yaml`. Kinds of functions come in two shares: `seen`, which a base may learn
from, and `held out`, for what is measured. `faults.py` and `changes.py` make changes of these functions,
`repositories.py` packages of them.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

Share = Literal["seen", "held out"]

MOST_REPEATS = 1000
"""Functions in a row that were made before: there are no others then."""


@dataclass(frozen=True)
class Function:
    """A made function.

    Attributes:
        name, kind: what it is called, and what it does.
        source: its text, ending in a line feed.
        calls: arguments that it is tested with, each as text between the brackets of a call.
        constant: the number in its source, where its kind has one.
    """

    name: str
    kind: str
    source: str
    calls: tuple[str, ...]
    constant: str = ""

    def values(self) -> list[Any]:
        """What it gives on each of its calls."""
        return [value for _, value in outcomes(self.source, self.name, self.calls)]

    def tests(self) -> list[str]:
        """A test for every call, which states what the function gives."""
        found = []
        for number, (call, value) in enumerate(zip(self.calls, self.values(), strict=True)):
            head = f"def test_{self.name}{f'_{number + 1}' if number else ''}():\n"
            found.append(f"{head}    assert {self.name}({call}){comparison(value)}\n")
        return found

    def notices(self, source: str) -> bool:
        """Whether another text of the function gives anything else on one of its calls."""
        return outcomes(source, self.name, self.calls) != outcomes(self.source, self.name, self.calls)


def functions(seed: int, share: Share = "seen") -> Iterator[Function]:
    """Functions, no text twice, as many as there are: some thousands of either share."""
    rng = random.Random(f"functions {seed} {share}")
    known = set[str]()
    kinds = list(_world()[share])
    again = 0
    while again < MOST_REPEATS:
        function = _function(rng, rng.choice(kinds), share)
        again += 1
        if function.source not in known:
            known.add(function.source)
            again = 0
            yield function


def stated(of: str) -> Any:
    """One of the world's lists of words, or what it says by kind."""
    return _world()[of]


def more_calls(function: Function, share: Share, rng: random.Random) -> tuple[str, ...]:
    """Other calls of a function, with arguments drawn anew."""
    parts = {"k": function.constant}
    calls = (filled(call, arguments(rng) | parts) for call in _world()[share][function.kind]["calls"])
    return tuple(dict.fromkeys(calls))


def comparison(value: Any) -> str:
    """How an assertion goes on behind the call: ` == 3`, ` is None`."""
    return f" is {value}" if value is None or isinstance(value, bool) else f" == {value!r}"


def arguments(rng: random.Random) -> dict[str, str]:
    """What calls and expressions are filled with: words and numbers as texts."""
    words = rng.sample(_world()["words"], 3)
    numbers = sorted(rng.sample(range(1, 10), 4))
    named = zip(("one", "two", "three"), map(repr, words), strict=True)
    others = {"k": str(rng.randint(2, 5))}
    return others | dict(named) | dict(zip("abcd", map(str, numbers), strict=True))


def filled(text: str, parts: Mapping[str, str]) -> str:
    """A text with its parts in place; other braces are the code's own."""
    return re.sub(r"\{(\w+)\}", lambda match: parts.get(match[1], match[0]), text)


def outcome(source: str, name: str, call: str) -> tuple[str, Any]:
    """What a function of a text gives or raises on a call.

    The texts are this package's own; nothing that a model or a user wrote is run here.
    """
    return outcomes(source, name, (call,))[0]


def outcomes(source: str, name: str, calls: Sequence[str]) -> list[tuple[str, Any]]:
    """What a function of a text gives or raises on each of several calls."""
    scope: dict[str, Any] = {}
    try:
        exec(compile(source, "world", "exec"), scope)
    except Exception as error:
        return [("raises", type(error).__name__)] * len(calls)
    return [_outcome(scope, name, call) for call in calls]


def _outcome(scope: Mapping[str, Any], name: str, call: str) -> tuple[str, Any]:
    try:
        return "gives", scope[name](*(ast.literal_eval(f"({call},)") if call else ()))
    except Exception as error:
        return "raises", type(error).__name__


@cache
def _world() -> Mapping[str, Any]:
    text = resources.files("suite.code").joinpath("world.yaml").read_text(encoding="utf-8")
    world: Mapping[str, Any] = yaml.safe_load(text)
    return world


def _function(rng: random.Random, kind: str, share: Share) -> Function:
    world = _world()
    said = world[share][kind]
    parts = {
        "noun": _qualified(rng, world["nouns"]),
        "thing": _qualified(rng, world["things"]),
        "mark": rng.choice(world["marks"]),
        "k": str(rng.randint(2, 5)),
        **{slot: rng.choice(names) for slot, names in world["slots"].items()},
    }
    parts["name"] = filled(rng.choice(said["names"]), parts)
    bare = Function(parts["name"], kind, filled(said["source"], parts), (), parts["k"])
    return replace(bare, calls=more_calls(bare, share, rng))


def _qualified(rng: random.Random, words: list[str]) -> str:
    word = rng.choice(words)
    return f"{rng.choice(_world()['adjectives'])}_{word}" if rng.random() < 0.5 else word
