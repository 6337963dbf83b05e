"""Names as people write them: glob patterns over a model's dotted names, and the nearest name when nothing matches."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from suite.errors import InputError


def matches(name: str, pattern: str) -> bool:
    """Whether the glob `pattern` names `name`, one of its parents, or either of them by its last segments.

    `"head"` matches `head.weight` and `model.head.bias`; `"encoder.*bn*"` matches `encoder.2.bn1.running_mean`.
    """
    return any(fnmatchcase(name, form) for form in (pattern, f"{pattern}.*", f"*.{pattern}", f"*.{pattern}.*"))


def select(patterns: Sequence[str], names: Iterable[str], what: str) -> list[str]:
    """The `names` that any of `patterns` matches, in their own order.

    Raises:
        InputError: a pattern matches nothing; the message names the nearest existing names.
    """
    names = list(names)
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            raise InputError(f"{what}: {pattern!r} matches nothing in the model{suggest(pattern, names)}")
    return [name for name in names if any(matches(name, pattern) for pattern in patterns)]


def suggest(word: str, names: Iterable[str]) -> str:
    """`"; did you mean 'a' or 'b'?"` with up to three existing names near `word`, or an empty string."""
    candidates: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        candidates.update(dict.fromkeys((parts[-1], ".".join(parts[-2:]), name)))
        candidates.update(dict.fromkeys(part for part in parts if not part.isdigit()))
    near = difflib.get_close_matches(word, list(candidates), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
