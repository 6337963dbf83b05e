"""A made world of code: small functions with tests, changes of them, and what a reviewer says of each change.

Everything follows from a seed and `world.yaml`. A test of a function states what the function itself gives. A change is
a good one (a name, a docstring, one line less) or carries a fault of a kind that its comment names, and that at least
one of the function's tests notices. Kinds of functions and of faults come in two shares: those that a base may see, and
those that are held out for what is measured.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import unified_diff
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
    """

    name: str
    kind: str
    source: str
    calls: tuple[str, ...]

    def tests(self) -> list[str]:
        """A test for every call, which states what the function gives."""
        found = []
        for number, call in enumerate(self.calls):
            _, value = outcome(self.source, self.name, call)
            body = f"    assert {self.name}({call}) == {value!r}\n"
            found.append(f"def test_{self.name}{f'_{number + 1}' if number else ''}():\n{body}")
        return found

    def notices(self, source: str) -> bool:
        """Whether another text of the function gives anything else on one of its calls."""
        return any(outcome(source, self.name, call) != outcome(self.source, self.name, call) for call in self.calls)


@dataclass(frozen=True)
class Change:
    """A change of one function.

    Attributes:
        function: as it is right, after the change.
        before, after: the function's text before and after; `after` has the fault, where there is one.
        fault: its kind; empty for a good change.
        comment: what a reviewer says of it; empty for a good change.
    """

    function: Function
    before: str
    after: str
    fault: str = ""
    comment: str = ""

    def diff(self, path: str) -> str:
        """The change as a unified diff of a file that holds the function alone."""
        texts = (self.before.splitlines(keepends=True), self.after.splitlines(keepends=True))
        return "".join(unified_diff(*texts, f"a/{path}", f"b/{path}"))


def functions(seed: int, share: Share = "seen") -> Iterator[Function]:
    """Functions, no text twice, as many as there are: some thousands of either share."""
    rng = random.Random(f"functions {seed} {share}")
    world, known = _world(), set[str]()
    kinds = list(world[share])
    again = 0
    while again < MOST_REPEATS:
        function = _function(rng, rng.choice(kinds), share)
        again += 1
        if function.source not in known:
            known.add(function.source)
            again = 0
            yield function


def changes(seed: int, share: Share = "seen", of: Share | None = None) -> Iterator[Change]:
    """Changes of functions, one of them each, by turns good and with a fault where there is place for one.

    Args:
        share: of the kinds of faults. of: of the kinds of functions; the same where it is left out.
    """
    rng = random.Random(f"changes {seed} {share}")
    faulty = False
    for function in functions(rng.randrange(2**32), of or share):
        good = _good_change(function, rng)
        if good is None:
            continue
        change = _with_fault(good, FAULTS[share], rng) if faulty else good
        if change is not None:
            faulty = not faulty
            yield change


def change(function: Function, rng: random.Random, faults: Share | None) -> Change | None:
    """A change of a function, with a fault of a share or, for None, a good one; None where there is no place for it."""
    good = _good_change(function, rng)
    return good and (_with_fault(good, FAULTS[faults], rng) if faults else good)


def words(of: str) -> list[str]:
    """One of the world's lists of words."""
    found: list[str] = _world()[of]
    return found


def outcome(source: str, name: str, call: str) -> tuple[str, Any]:
    """What a function of a text gives or raises on a call.

    The texts are this module's own; nothing that a model or a user wrote is run here.
    """
    scope: dict[str, Any] = {}
    try:
        exec(compile(source, "world", "exec"), scope)
        return "gives", scope[name](*ast.literal_eval(f"({call},)"))
    except Exception as error:
        return "raises", type(error).__name__


@cache
def _world() -> Mapping[str, Any]:
    text = resources.files("suite.code").joinpath("world.yaml").read_text(encoding="utf-8")
    world: Mapping[str, Any] = yaml.safe_load(text)
    return world


def _function(rng: random.Random, kind: str, share: Share) -> Function:
    world = _world()
    stated = world[share][kind]
    one, two = rng.sample(world["words"], 2)
    a, b, c = sorted(rng.sample(range(1, 10), 3))
    parts = {
        "noun": _qualified(rng, world["nouns"]),
        "thing": _qualified(rng, world["things"]),
        "mark": rng.choice(world["marks"]),
        **{"one": repr(one), "two": repr(two), "a": str(a), "b": str(b), "c": str(c)},
    }
    parts["name"] = _filled(rng.choice(stated["names"]), parts)
    calls = tuple(_filled(call, parts) for call in stated["calls"])
    return Function(parts["name"], kind, _filled(stated["source"], parts), calls)


def _qualified(rng: random.Random, words: list[str]) -> str:
    word = rng.choice(words)
    return f"{rng.choice(_world()['adjectives'])}_{word}" if rng.random() < 0.5 else word


def _filled(text: str, parts: Mapping[str, str]) -> str:
    """A text with its parts in place; other braces are the code's own."""
    return re.sub(r"\{(\w+)\}", lambda match: parts.get(match[1], match[0]), text)


# Kinds of faults: a text with the fault and the comment on it, or None where there is no place for it.

Fault = Callable[[str, random.Random], tuple[str, str] | None]
_OTHER = {"<": "<=", ">": ">=", "<=": "<", ">=": ">"}


def _comparison(source: str, rng: random.Random) -> tuple[str, str] | None:
    match = _place(source, rng, r"(?<=\s)(<=|>=|<|>)(?=\s)")
    said = "The comparison treats the bound itself wrongly: use `{right}` instead of `{wrong}`."
    return match and _put(source, match, _OTHER[match[0]], said.format(right=match[0], wrong=_OTHER[match[0]]))


def _inverted(source: str, rng: random.Random) -> tuple[str, str] | None:
    match = _place(source, rng, r"if (not )?(\w+):")
    other = match and (f"if {match[2]}:" if match[1] else f"if not {match[2]}:")
    return match and _put(source, match, other or "", f"The condition is the wrong way round: `{match[0]}` was right.")


def _start(source: str, rng: random.Random) -> tuple[str, str] | None:
    match = _place(source, rng, r"(\w+) = 0(?=\n)")
    return match and _put(
        source, match, f"{match[1]} = 1", f"`{match[1]}` starts at the wrong value: it must start at 0."
    )


def _swapped(source: str, rng: random.Random) -> tuple[str, str] | None:
    match = _place(source, rng, r"(\w+) (-|%) (\w+)(?=\n| ==)")
    other = match and f"{match[3]} {match[2]} {match[1]}"
    return match and _put(source, match, other or "", f"The operands are swapped: it should be `{match[0]}`.")


def _no_update(source: str, rng: random.Random) -> tuple[str, str] | None:
    match = _place(source, rng, r"(\w+) \+= ")
    return match and _put(
        source, match, f"{match[1]} = ", f"This overwrites `{match[1]}` instead of adding to it: use `+=`."
    )


def _off_by_one(source: str, rng: random.Random) -> tuple[str, str] | None:
    if match := _place(source, rng, r"range\(len\((\w+)\)\)"):
        said = f"Off by one: the last element of `{match[1]}` is never looked at."
        return _put(source, match, f"range(len({match[1]}) - 1)", said)
    match = _place(source, rng, r"\[len\((\w+)\) - 2\]")
    return match and _put(
        source, match, f"[len({match[1]}) - 1]", f"Off by one: the index into `{match[1]}` is one too high."
    )


def _no_guard(source: str, rng: random.Random) -> tuple[str, str] | None:
    match = _place(source, rng, r" +if (not \w+|len\(\w+\) < \d|\w+):\n +return \w+\n")
    return match and _put(source, match, "", f"A case is no longer handled: nothing checks `{match[1]}` any more.")


def _early_return(source: str, rng: random.Random) -> tuple[str, str] | None:
    match = re.search(r"(?<=\n)    (return \w+)\n$", source)
    if match is None or "    for " not in source:
        return None
    said = f"`{match[1]}` stands inside the loop: it ends after the first element."
    return _put(source, match, f"        {match[1]}\n", said)


def _place(source: str, rng: random.Random, pattern: str) -> re.Match[str] | None:
    places = list(re.finditer(pattern, source))
    return rng.choice(places) if places else None


def _put(source: str, match: re.Match[str], text: str, said: str) -> tuple[str, str]:
    return source[: match.start()] + text + source[match.end() :], said


FAULTS: Mapping[Share, Mapping[str, Fault]] = {
    "seen": {
        **{"comparison": _comparison, "inverted condition": _inverted, "wrong start": _start},
        **{"swapped operands": _swapped, "missing update": _no_update},
    },
    "held out": {"off by one": _off_by_one, "missing guard": _no_guard, "early return": _early_return},
}


def _with_fault(good: Change, faults: Mapping[str, Fault], rng: random.Random) -> Change | None:
    """A good change with a fault in it; None where there is no place for one that the function's tests notice."""
    for kind in rng.sample(list(faults), len(faults)):
        found = faults[kind](good.after, rng)
        if found is not None and found[0] != good.before and good.function.notices(found[0]):
            return replace(good, after=found[0], fault=kind, comment=found[1])
    return None


# Good changes: of a function as it is after the change, what it was before.


def _good_change(function: Function, rng: random.Random) -> Change | None:
    for make in rng.sample((_renamed, _documented, _shortened), 3):
        if (change := make(function, rng)) is not None:
            return change
    return None


def _renamed(function: Function, rng: random.Random) -> Change | None:
    """A local name said less before."""
    stored = (node for node in ast.walk(ast.parse(function.source)) if isinstance(node, ast.Name))
    names = sorted({node.id for node in stored if isinstance(node.ctx, ast.Store)})
    if not names:
        return None
    old = rng.choice([one for one in _world()["locals"] if one not in names])
    return Change(function, re.sub(rf"\b{rng.choice(names)}\b", old, function.source), function.source)


def _documented(function: Function, rng: random.Random) -> Change | None:
    """A docstring is new."""
    head, _, rest = function.source.partition(":\n")
    words = function.name.replace("_", " ")
    text = rng.choice([f"Return the {words}.", f"{words.capitalize()} of what is given."])
    after = f'{head}:\n    """{text}"""\n{rest}'
    return Change(replace(function, source=after), function.source, after)


def _shortened(function: Function, rng: random.Random) -> Change | None:
    """What is returned had one more name before."""
    match = re.search(r"    return (\w+)\n$", function.source)
    if match is None:
        return None
    before = function.source[: match.start()] + f"    result = {match[1]}\n    return result\n"
    return Change(function, before, function.source)
