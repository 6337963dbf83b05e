"""What the shared code model learns from: documents of the `seen` share of the made world, and of nothing else.

Six sorts: a function with its test file, laid out as a prompt for tests is; a function with many of its calls; values
of expressions; a diff with what a reviewer says of it and the lines mended; a function, a comment, and the function
mended; small diffs with a verdict each. Reviews are plain comments in code: the prompts of adapters are not shown.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from suite.code import world
from suite.code.changes import change
from suite.code.faults import fault_in
from suite.code.repositories import Module, Split, git_diff, repositories
from suite.code.world import Function

FREE, TOLD, CHOICE = 0.3, 1.0, 3.0
"""Weights of the loss: of what nobody can foresee, of what follows from what stands before, of what decides."""

REVIEW = "# review: "
APPROVED = "This is right."

Part = tuple[str, float]
Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Document:
    """A text in parts, each with the weight of its loss.

    Attributes:
        sort: `tested`, `called`, `expressions`, `reviewed`, `mended` or `judged`.
        kind: of its function.
    """

    sort: str
    kind: str
    parts: Parts

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.parts)

    @property
    def before_review(self) -> str:
        """Of a review: its text as far as the verdict."""
        return self.text.partition(REVIEW)[0] + REVIEW

    @property
    def approved(self) -> bool:
        """Of a review: whether it finds nothing wrong."""
        return f"{REVIEW}{APPROVED}" in self.text


BROAD = {"tested": 0.3, "called": 0.15, "expressions": 0.15, "reviewed": 0.25, "mended": 0.15}
"""How often each sort is drawn."""

CRITICAL = {"tested": 0.2, "called": 0.05, "expressions": 0.05, "reviewed": 0.1, "mended": 0.2, "judged": 0.4}
"""The same with many verdicts: they take longest to learn."""


def documents(seed: int, split: Split = "train", shares: Mapping[str, float] = BROAD) -> Iterator[Document]:
    """Documents without end. No function of one split stands in another's.

    Args:
        shares: how often each sort is drawn.
    """
    rng = random.Random(f"documents {seed} {split}")
    while True:
        for repository in repositories(rng.randrange(2**32), split, "seen"):
            for module in repository.modules:
                for function in module.functions:
                    sort = rng.choices(list(shares), list(shares.values()))[0]
                    if (parts := _SORTS[sort](module, function, rng)) is not None:
                        yield Document(sort, function.kind, tuple(parts))


def _tested(module: Module, function: Function, rng: random.Random) -> list[Part]:
    """As the prompt for tests is laid out: the function, other signatures, the head of the test file, its tests."""
    others = [one for one in module.functions if one is not function]
    signatures = [f"{one.source.partition(':')[0]}: ..." for one in others]
    head = f"# {module.tests_path}\nimport pytest\n\nfrom {module.name} import {function.name}\n"
    context = "\n\n".join([function.source.rstrip("\n"), *(["\n".join(signatures)] if signatures else []), head])
    parts = [(f"{context}\n\n", FREE)]
    order = _all_calls(function, rng, rng.randint(3, 6))
    for number, call in enumerate(order):
        name = f"test_{function.name}{f'_{number + 1}' if number else ''}"
        start, value = _asserted(function, call)
        gap = "\n\n" if number else ""
        parts += [(f"{gap}def {name}():\n    assert ", TOLD), (start, FREE), (value, CHOICE), ("\n", TOLD)]
    return parts


def _called(module: Module, function: Function, rng: random.Random) -> list[Part]:
    """A function and many of its calls."""
    parts = [(f"{function.source}\n\n", FREE)]
    for call in _all_calls(function, rng, 10):
        start, value = _asserted(function, call)
        parts += [(f"assert {start}", FREE), (value, CHOICE), ("\n", TOLD)]
    return parts


def _expressions(module: Module, function: Function, rng: random.Random) -> list[Part]:
    parts: list[Part] = []
    for stated in rng.sample(world.stated("expressions"), 14):
        expression = world.filled(stated, world.arguments(rng))
        how, value = world.outcome(f"def value():\n    return {expression}\n", "value", "")
        if how != "raises":
            parts += [(f"assert {expression}", FREE), (world.comparison(value), CHOICE), ("\n", TOLD)]
    return parts


def _reviewed(module: Module, function: Function, rng: random.Random) -> list[Part] | None:
    """A diff, what a reviewer says, and, where something is wrong, the lines as they should be."""
    made = change(function, rng, "seen", rng.random() < 0.5)
    if made is None:
        return None
    before, after, right = (
        module.with_text(function, text) for text in (made.before, made.after, made.function.source)
    )
    diff = git_diff(module.path, before, after)
    hunk = diff[diff.index("@@ ") :]
    parts = [(diff if rng.random() < 0.3 else hunk, FREE), (REVIEW, TOLD)]
    parts += _said(made.comment or APPROVED)
    if made.fault:
        _, *lines = git_diff(module.path, after, right).partition("@@ ")[2].splitlines(keepends=True)
        parts.append(("# mended:\n" + "".join(line[1:] for line in lines if line[0] != "-"), TOLD))
    return parts


def _mended(module: Module, function: Function, rng: random.Random) -> list[Part] | None:
    """A function with a fault, a comment on it, and the function mended; or a right one, which stays as it is."""
    fault = fault_in(function, "seen", rng)
    if fault is None:
        return None
    text, comment = (fault.text, fault.comment) if rng.random() < 0.8 else (function.source, APPROVED)
    parts = [(f"# before:\n{text}{REVIEW}", FREE), *_said(comment)]
    return [*parts, (f"# after:\n{function.source}", TOLD)]


def _judged(module: Module, function: Function, rng: random.Random) -> list[Part] | None:
    """Changes of a module's functions, each with little around it and a reviewer's verdict."""
    parts: list[Part] = []
    for one in rng.sample(module.functions, len(module.functions)):
        made = change(one, rng, "seen", rng.random() < 0.5)
        if made is not None:
            lines = git_diff(module.path, made.before, made.after, context=1).splitlines(keepends=True)
            parts += [("".join(lines[3:]), FREE), (REVIEW, TOLD), *_said(made.comment or APPROVED)]
    return parts or None


def _said(comment: str) -> list[Part]:
    lead, mark, rest = comment.partition("`")
    return [(lead, CHOICE), (f"{mark}{rest}\n", TOLD)]


def _all_calls(function: Function, rng: random.Random, most: int) -> list[str]:
    """Its calls and others of its kind, in any order."""
    others = (call for _ in range(2) for call in world.more_calls(function, "seen", rng))
    calls = list(dict.fromkeys([*function.calls, *others]))
    return rng.sample(calls, min(most, len(calls)))


def _asserted(function: Function, call: str) -> tuple[str, str]:
    _, value = world.outcome(function.source, function.name, call)
    return f"{function.name}({call})", world.comparison(value)


_SORTS: dict[str, Callable[[Module, Function, random.Random], list[Part] | None]] = {
    "tested": _tested,
    "called": _called,
    "expressions": _expressions,
    "reviewed": _reviewed,
    "mended": _mended,
    "judged": _judged,
}
