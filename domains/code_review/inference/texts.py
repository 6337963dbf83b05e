"""What a model wrote, brought into shape, or refused. Imports no torch."""

from __future__ import annotations

MOST_PERIOD = 40
"""Words, or lines, of what is taken for one turn of a loop."""

_TURNS = 3


def tidy(text: str) -> str:
    """A comment without what a model adds behind it: the next section of the frame, blanks around it."""
    return text.split("###")[0].strip()


def flaw(text: str) -> str:
    """Why a text is not shown, in words: it is empty, or it goes round in circles; empty where it is fine."""
    if not any(character.isalnum() for character in text):
        return "empty"
    return "looping" if _loops(text.split()) or _loops(list(text)) else ""


def code_flaw(text: str) -> str:
    """The same of code, which may repeat words and short lines, but not the same lines over and over."""
    if not text.strip():
        return "empty"
    return "looping" if _loops([line.strip() for line in text.split("\n") if line.strip()]) else ""


def _loops(pieces: list[str]) -> bool:
    """Whether a sequence ends in the same pieces several times over; single ones must come more often."""
    for period in range(1, min(MOST_PERIOD, len(pieces) // _TURNS) + 1):
        turns = _TURNS if period > 3 else 12 // period + _TURNS
        if period * turns > len(pieces):
            continue
        last = pieces[-period:]
        if all(pieces[-(turn + 1) * period : len(pieces) - turn * period] == last for turn in range(turns)):
            return True
    return False
