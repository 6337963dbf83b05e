"""The text a model reads and the text a user gave, character by character.

Adapters tuned on DocRED know passages as tokens joined by single spaces ("France , and"). `docred_tokens` brings
running text into that shape without changing a character, and `Alignment` maps every offset back and forth.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import regex

from domains.relation_extraction.types import Span

# As DocRED splits: hyphens between letters, brackets, quotes and clitics stand alone; numbers with their units and
# ranges ("56,000-acre", "2016-17"), acronyms and abbreviations stay whole.
_TOKEN = regex.compile(
    r"""
      (?:\p{L}\.){2,}
    | \b(?:Mr|Mrs|Ms|Dr|Prof|Rev|Gen|Col|Capt|Lt|Sgt|Sen|Gov|St|Mt|Ft|Jr|Sr|Inc|Ltd|Co|Corp|Bros|vs)\.(?=\s+\S)
    | \b\p{Lu}\.(?=\s+\p{Lu})
    | (?:n['’]t|['’](?:s|re|ve|ll|d|m))\b
    | \b\p{Lu}&\p{Lu}\b
    | [\w\p{M}]*\d[\w\p{M}]*(?:[-.,:/–][\w\p{M}]+)*
    | [\w\p{M}\u200c\u200d]+-(?=\d)[\w\p{M}]+
    | [\w\p{M}\p{No}\u200c\u200d]+(?:['’][\w\p{M}]+)*
    | \.{2,}
    | (?!\s)\X
    """,
    regex.VERBOSE,
)
_CLITIC = regex.compile(r"(?<=\p{L})(?:n['’]t|['’](?:s|re|ve|ll|d|m))$", regex.IGNORECASE)


def docred_tokens(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Return `(start, end)` of the tokens between `start` and `end` of `text`; they hold all but white space."""
    spans = []
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        left, right = match.span()
        clitic = _CLITIC.search(match.group())
        if clitic is not None and clitic.start():
            spans.append((left, left + clitic.start()))
            left += clitic.start()
        spans.append((left, right))
    return spans


@dataclass(frozen=True)
class Alignment:
    """Which characters of the raw text the characters of the model text are.

    Attributes:
        raw: the user's text.
        model: the text that the model reads.
        pieces: `(raw start, model start, length)` of the runs that both texts share, ascending in both; what lies
            between two runs (white space) has no counterpart.
    """

    raw: str
    model: str
    pieces: tuple[tuple[int, int, int], ...]

    @classmethod
    def identity(cls, text: str) -> Alignment:
        return cls(text, text, ((0, 0, len(text)),))

    @classmethod
    def join(cls, raw: str, tokens: Iterable[tuple[int, int]]) -> Alignment:
        """Make the model text of `raw`: its `tokens` (start, end) joined by single spaces."""
        words, pieces, position = [], [], 0
        for start, end in tokens:
            words.append(raw[start:end])
            pieces.append((start, position, end - start))
            position += end - start + 1
        return cls(raw, " ".join(words), tuple(pieces))

    def to_raw(self, start: int, end: int) -> Span:
        """Return the span of `raw` that `model[start:end]` comes from, white space at its ends left out.

        Raises:
            ValueError: the offsets are not within `model`, or nothing but white space lies between them.
        """
        return self._map(start, end, source=1, target=0)

    def to_model(self, start: int, end: int) -> Span:
        """Return the span of `model` that holds `raw[start:end]`.

        Raises:
            ValueError: the offsets are not within `raw`, or nothing of `model` comes from between them.
        """
        return self._map(start, end, source=0, target=1)

    def slice(self, start: int, end: int) -> Alignment:
        """Return the alignment of `model[start:end]` with the whole raw text."""
        model_starts = self._starts[1]
        first = max(bisect_right(model_starts, start) - 1, 0)
        pieces = []
        for raw_start, model_start, length in self.pieces[first : bisect_left(model_starts, end)]:
            left, right = max(start, model_start), min(end, model_start + length)
            if left < right:
                pieces.append((raw_start + left - model_start, left - start, right - left))
        return Alignment(self.raw, self.model[start:end], tuple(pieces))

    @cached_property
    def _starts(self) -> tuple[list[int], list[int]]:
        return [piece[0] for piece in self.pieces], [piece[1] for piece in self.pieces]

    def _map(self, start: int, end: int, *, source: int, target: int) -> Span:
        text = (self.raw, self.model)[source]
        if not 0 <= start < end <= len(text):
            raise ValueError(f"span [{start}, {end}) is not within the text of {len(text)} characters")
        starts = self._starts[source]
        first = max(bisect_right(starts, start) - 1, 0)
        if starts and starts[first] + self.pieces[first][2] <= start:
            first += 1
        last = bisect_left(starts, end) - 1
        if not starts or first > last:
            raise ValueError(f"span [{start}, {end}) holds no aligned character: {text[start:end]!r}")
        head, tail = self.pieces[first], self.pieces[last]
        left = head[target] + max(start - head[source], 0)
        right = tail[target] + min(end - tail[source], tail[2])
        return Span(left, right)
