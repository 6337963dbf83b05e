"""Changes of functions of the made world, good ones and such as carry a fault.

Good and faulty changes look alike but for the fault. Both are, in the same shares, a change of one line (of the good
ones: a fault mended, or another way to write the same), such a line beside another edit (a name, a docstring, a remark,
one line more or less), or a new function.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import unified_diff

from suite.code import world
from suite.code.faults import Rule, fault_in, rewritten
from suite.code.world import Function, Share, functions

_SHARES = {"line": 0.5, "beside": 0.35, "new": 0.15}

Edit = tuple[str, str]
"""A text before and after."""


@dataclass(frozen=True)
class Change:
    """A change of one function.

    Attributes:
        function: as it is right, after the change.
        before, after: the function's text before (empty for a new one) and after; `after` has the fault, where there is
            one.
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


def changes(seed: int, share: Share = "seen", of: Share | None = None) -> Iterator[Change]:
    """Changes of functions, one of them each, by turns good and with a fault.

    Args:
        share: of the kinds of faults. of: of the kinds of functions; the same where it is left out.
    """
    rng = random.Random(f"changes {seed} {share}")
    faulty = False
    for function in functions(rng.randrange(2**32), of or share):
        made = change(function, rng, share, faulty)
        if made is not None:
            faulty = not faulty
            yield made


def change(function: Function, rng: random.Random, share: Share, faulty: bool) -> Change | None:
    """A change of a function, with a fault of a share or a good one; None where there is no place for a fault.

    That holds for good changes too, so that no kind of function tells which they are.
    """
    fault = fault_in(function, share, rng)
    if fault is None:
        return None
    form = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    if form == "new":
        return _carrying(Change(function, "", function.source), rng, share, faulty)
    if form == "beside" and (edit := _beside(function, rng)) is not None:
        before, after = edit
        whole = Change(replace(function, source=after), before, after)
        return whole if not faulty and rng.random() < 0.3 else _carrying(whole, rng, share, faulty)
    return _carrying(Change(function, function.source, function.source), rng, share, faulty)


def _carrying(good: Change, rng: random.Random, share: Share, faulty: bool) -> Change | None:
    """A change with a fault put into it, or, of a good one, a fault mended or a line written in another way."""
    if faulty:
        fault = fault_in(good.function, share, rng)
        if fault is None:
            return None
        return replace(good, after=fault.text, fault=fault.kind, comment=fault.comment)
    if not good.before:
        return good
    texts = list(_same(good.function, _ALIKE)) if rng.random() < 0.5 else []
    if texts:
        text = rng.choice(texts)
        return replace(good, function=replace(good.function, source=text), after=text)
    fault = fault_in(replace(good.function, source=good.before), share, rng)
    return replace(good, before=fault.text) if fault is not None else None


# Other ways to write the same line; which of them are the same for a function, its calls tell.
_ALIKE: tuple[Rule, ...] = (
    (r"(\w+) < (\w+)(?=:)", r"\2 > \1"),
    (r"(\w+) > (\w+)(?=:)", r"\2 < \1"),
    (r"(\w+) <= (\w+)(?=:)", r"\2 >= \1"),
    (r"(\w+) >= (\w+)(?=:)", r"\2 <= \1"),
    (r"(?<=if )(\w+) == (\w+)(?=:)", r"\2 == \1"),
    (r"(\w+) \+= (.*)\n", r"\1 = \1 + \2\n"),
    (r"(\w+) \* (\w+)", r"\2 * \1"),
    (r"range\(len\((\w+)\)\)", r"range(0, len(\1))"),
    (r"if not (\w+s):", r"if len(\1) == 0:"),
    (r"(\w+)\.append\((.*)\)\n", r"\1 += [\2]\n"),
    (r"len\((\w+)\) < 2", r"len(\1) <= 1"),
    (r"\w+\[len\((\w+)\) - 2\]", r"\1[-2]"),
    (r"return \[\]\n", "return list()\n"),
    (r" = ''\n", " = str()\n"),
    (r" = \[\]\n", " = list()\n"),
    (r" = 0\n", " = int()\n"),
    (r"\.get\((\w+), 0\)", r".get(\1) or 0"),
)


def _same(function: Function, rules: tuple[Rule, ...]) -> Iterator[str]:
    for text in rewritten(function.source, rules):
        if text != function.source and not function.notices(text):
            yield text


# Edits beside: of a function, two texts that do the same.


def _beside(function: Function, rng: random.Random) -> Edit | None:
    makers: tuple[Callable[[Function, random.Random], Edit | None], ...] = (
        *(_renamed, _documented, _noted, _shortened, _guarded),
    )
    for make in rng.sample(makers, len(makers)):
        if (edit := make(function, rng)) is not None and not any(map(function.notices, edit)):
            return edit if rng.random() < 0.5 else (edit[1], edit[0])
    return None


def _renamed(function: Function, rng: random.Random) -> Edit | None:
    """A local name that says less."""
    stored = (node for node in ast.walk(ast.parse(function.source)) if isinstance(node, ast.Name))
    names = sorted({node.id for node in stored if isinstance(node.ctx, ast.Store)} - {"_"})
    if not names:
        return None
    other = rng.choice([one for one in world.stated("locals") if one not in names])
    return re.sub(rf"\b{rng.choice(names)}\b", other, function.source), function.source


def _documented(function: Function, rng: random.Random) -> Edit | None:
    head, _, rest = function.source.partition(":\n")
    words = function.name.replace("_", " ")
    said = rng.choice(world.stated("docstrings")).format(words=words, Words=words.capitalize())
    return function.source, f'{head}:\n    """{said}"""\n{rest}'


def _noted(function: Function, rng: random.Random) -> Edit | None:
    lines = function.source.splitlines(keepends=True)
    place = rng.randrange(1, len(lines))
    indent = re.match(" *", lines[place])
    noted = f"{indent[0] if indent else ''}# {rng.choice(world.stated('remarks'))}\n"
    return function.source, "".join([*lines[:place], noted, *lines[place:]])


def _shortened(function: Function, rng: random.Random) -> Edit | None:
    """What is returned has one more name."""
    match = re.search(r"    return ([^()\n]+)\n$", function.source)
    if match is None:
        return None
    return function.source[: match.start()] + f"    given = {match[1]}\n    return given\n", function.source


def _guarded(function: Function, rng: random.Random) -> Edit | None:
    """A guard that nobody needs: what is given for nothing is given without it."""
    given = re.match(r"def \w+\((\w+)\):\n", function.source)
    if given is None or "[]" not in function.calls or "    if not " in function.source:
        return None
    _, value = world.outcome(function.source, function.name, "[]")
    guard = f"    if not {given[1]}:\n        return {value!r}\n"
    return given[0] + guard + function.source[given.end() :], function.source
