"""Entities that a source names by strings of its text, without saying where they stand."""

from __future__ import annotations

import re

from rapidfuzz import fuzz

from domains.relation_extraction.data.documents import Entity, Mention, occurrences
from suite.errors import InputError


class NamedEntities:
    """The entities of one text, found by their names."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._names: list[list[str]] = []
        self._index: dict[str, int] = {}

    def add(self, names: list[str], where: str) -> int:
        """Return the index of the entity that has one of `names`; all of them become its names.

        Raises:
            InputError: a name does not occur in the text.
        """
        names = [name if name in self._text else self._as_written(name) or name for name in names]
        for name in names:
            if name not in self._text:
                near = _nearest(name, self._text)
                hint = f'; nearest match is "{near}"' if near else ""
                raise InputError(f'{where} "{name}" does not occur in the text{hint}; write it as the text does')
        known = next((self._index[name] for name in names if name in self._index), None)
        number = len(self._names) if known is None else known
        if known is None:
            self._names.append([])
        for name in names:
            if self._index.setdefault(name, number) == number and name not in self._names[number]:
                self._names[number].append(name)
        return number

    def _as_written(self, name: str) -> str | None:
        """The name as the text has it where only blanks and line breaks differ."""
        words = r"\s+".join(map(re.escape, name.split()))
        found = re.search(words, self._text) if words else None
        return found.group() if found else None

    def all(self) -> tuple[Entity, ...]:
        entities = []
        for number, names in enumerate(self._names):
            places = sorted((start, end, name) for name in names for start, end in occurrences(self._text, name))
            entities.append(Entity(str(number), None, tuple(Mention(*place) for place in places)))
        return tuple(entities)


def _nearest(name: str, text: str) -> str | None:
    """Return the words of `text` that are most like `name`, or None where nothing is."""
    found = fuzz.partial_ratio_alignment(name.lower(), text.lower(), score_cutoff=50)
    # Lower-casing can change lengths ("İ"): then offsets into the lower-cased text are no offsets into the text.
    if found is None or len(text.lower()) != len(text):
        return None
    start, end = found.dest_start, found.dest_end
    while start > 0 and text[start - 1].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum():
        end += 1
    return " ".join(text[start:end].split()) or None
