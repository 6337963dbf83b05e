"""Made repositories: packages of the made world's functions with their tests, and changes of them under review.

A repository holds functions of one share of kinds (`world.yaml`) and its changes carry faults of that share:

- `seen`: what the shared base is pretrained on, and nothing else.
- `held out`: what adapters learn and are measured on. Pretraining shows neither these kinds of functions nor these
  kinds of faults.

Within a share, functions fall into three splits by a hash of their name, whatever the seed: no name, and so no text,
that stands in a repository of one split stands in one of another. All splits have all kinds.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from functools import cached_property
from typing import Literal, get_args

from suite.code import changes, world
from suite.code.world import Function, Share

Split = Literal["train", "validation", "test"]

_SPLITS: tuple[Split, ...] = ("train",) * 6 + ("validation", "test", "test", "test")


@dataclass(frozen=True)
class Module:
    """A file of a repository's package, and the file of its tests.

    Attributes:
        path, tests_path: relative to the repository, as in `shop/prices.py` and `tests/test_prices.py`.
        functions: in the order of the file.
    """

    path: str
    functions: tuple[Function, ...]
    head: str = ""

    @property
    def name(self) -> str:
        """As it is imported: `shop.prices`."""
        return self.path.removesuffix(".py").replace("/", ".")

    @property
    def tests_path(self) -> str:
        return f"tests/test_{self.path.rpartition('/')[2]}"

    @property
    def source(self) -> str:
        return self.with_text()

    @property
    def tests(self) -> str:
        """The text of its test file."""
        names = ", ".join(sorted(function.name for function in self.functions))
        found = [test for function in self.functions for test in function.tests()]
        return "\n\n".join([f"import pytest\n\nfrom {self.name} import {names}\n", *found])

    def with_text(self, function: Function | None = None, text: str | None = None) -> str:
        """The file with another text in place of one of its functions; an empty one leaves the function out."""
        texts = [text if one is function and text is not None else one.source for one in self.functions]
        return "\n\n".join([self.head, *filter(None, texts)] if self.head else list(filter(None, texts)))


@dataclass(frozen=True)
class Change:
    """A change of one function in a repository, as a reviewer gets it.

    Attributes:
        path: of the file that it changes.
        function: as it is right.
        before, after, right: the file's text before the change, after it, and as it should be after it: the same as
            `after` for a good change.
        fault: its kind (`faults.FAULTS`); empty for a good change.
        comment: what a reviewer says; empty for a good change.
    """

    path: str
    function: Function
    before: str
    after: str
    right: str
    fault: str = ""
    comment: str = ""

    @property
    def diff(self) -> str:
        """As `git diff` prints it, with three lines of context and the function's heading behind each hunk's `@@`."""
        return git_diff(self.path, self.before, self.after)


@dataclass(frozen=True)
class Repository:
    """A package of modules with tests.

    Attributes:
        name: of the package too.
        seed: of its changes.
    """

    name: str
    modules: tuple[Module, ...]
    share: Share
    seed: int

    @cached_property
    def files(self) -> Mapping[str, str]:
        """Every file's text by its path; all its tests pass."""
        files = {f"{self.name}/__init__.py": ""}
        for module in self.modules:
            files[module.path] = module.source
            files[module.tests_path] = module.tests
        return files

    @property
    def functions(self) -> Mapping[str, tuple[Function, ...]]:
        """By the path of their module."""
        return {module.path: module.functions for module in self.modules}

    def changes(self) -> Iterator[Change]:
        """Changes, each of the repository as it is: one of every function, by turns good and with a fault."""
        rng = random.Random(f"changes {self.seed} {self.name}")
        order = [(module, function) for module in self.modules for function in module.functions]
        rng.shuffle(order)
        faulty = rng.random() < 0.5
        for module, function in order:
            made = changes.change(function, rng, self.share, faulty)
            if made is None:
                continue
            faulty = not faulty
            before, after, right = (
                module.with_text(function, text) for text in (made.before, made.after, made.function.source)
            )
            yield Change(module.path, made.function, before, after, right, made.fault, made.comment)


def repositories(seed: int, split: Split = "train", share: Share = "held out") -> Iterator[Repository]:
    """Repositories without end in sight, no function twice: of three modules with four functions each."""
    assert split in get_args(Split)
    rng = random.Random(f"repositories {seed} {split} {share}")
    words = world.stated("packages")
    source = (one for one in world.functions(rng.randrange(2**32), share) if split_of(one) == split)
    while True:
        name = rng.choice(words)
        modules = []
        for topic in rng.sample(world.stated("modules"), 3):
            functions = _distinct(source, rng.choice((3, 4, 5)))
            if not functions:
                return
            modules.append(Module(f"{name}/{topic}.py", functions, f'"""{topic.capitalize()} of the {name}."""\n'))
        yield Repository(name, tuple(modules), share, rng.randrange(2**32))


def split_of(function: Function) -> Split:
    """The split that a function belongs to."""
    return _SPLITS[hashlib.sha256(function.name.encode()).digest()[0] % len(_SPLITS)]


def git_diff(path: str, before: str, after: str, context: int = 3) -> str:
    """The change of one file as `git diff` prints it, with so many lines of context."""
    texts = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = list(unified_diff(*texts, f"a/{path}", f"b/{path}", n=context))
    for number, line in enumerate(lines):
        if line.startswith("@@ "):
            start = int(line.split()[1][1:].split(",")[0])
            heads = [old for old in texts[0][: max(0, start - 1)] if old[:1].isalpha() or old[:1] == "_"]
            lines[number] = line.rstrip("\n") + (f" {heads[-1].rstrip()[:80]}" if heads else "") + "\n"
    return f"diff --git a/{path} b/{path}\n" + "".join(lines)


def _distinct(source: Iterator[Function], count: int) -> tuple[Function, ...]:
    """The next functions with names of their own; fewer where there are no more."""
    found: dict[str, Function] = {}
    for function in source:
        found.setdefault(function.name, function)
        if len(found) == count:
            return tuple(found.values())
    return ()
