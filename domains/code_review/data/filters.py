"""Which review comments are worth learning from, and what of them must not be learnt. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

LEAST_WORDS, MOST_WORDS = 3, 128
FOREIGN = 0.3
"""Share of characters that are not ASCII, from which on a comment is left out."""

_LINK = re.compile(r"https?://\S+")
_WORD = re.compile(r"[^\W_]+")
_PRAISE = re.compile(
    r"(?:nit|nits|lgtm|same|ditto|done|ok|okay|thanks?|thank you|nice|great|fixed|agreed|please|see above|here too|"
    r"[:+\-1\W])+",
    re.IGNORECASE,
)
_MASKS = (
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "EMAIL"),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|sk-|xox[abp]-|AKIA)[A-Za-z0-9_-]{8,}"), "TOKEN"),
    (re.compile(r"\b(?=[A-Za-z0-9]*[0-9])(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{32,}\b"), "TOKEN"),
    (re.compile(r"(?<![\w`@])@[A-Za-z0-9][\w-]*"), "@NAME"),
)


def _bare(text: str) -> str:
    return _LINK.sub(" ", text)


FILTERS: Mapping[str, Callable[[str], bool]] = {
    "nothing but links": lambda text: not _WORD.search(_bare(text)),
    "nothing but a nit or praise": lambda text: _PRAISE.fullmatch(_bare(text).strip() or ".") is not None,
    f"fewer than {LEAST_WORDS} words": lambda text: len(_WORD.findall(_bare(text))) < LEAST_WORDS,
    f"more than {MOST_WORDS} words": lambda text: len(text.split()) > MOST_WORDS,
    "mostly not ASCII": lambda text: sum(ord(c) > 127 for c in text) > FOREIGN * max(len(text), 1),
}
"""By the reason that is told; the first that holds counts."""


def reason_against(text: str) -> str:
    """Why a comment is left out; empty where it stays."""
    return next((reason for reason, holds in FILTERS.items() if holds(text)), "")


def masked(text: str) -> str:
    """A comment without addresses, tokens and names of people."""
    for pattern, word in _MASKS:
        text = pattern.sub(word, text)
    return text.strip()
