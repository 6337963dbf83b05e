"""Generation that ends where the braces close.

Models of the study are trained without an end token; a method is complete when its brace closes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class BraceStop:
    """Counts the braces of a batch as it is generated, a token a step.

    Attributes:
        values: by token id, opening less closing braces of its text; tokens without any are left out.
        level: braces that the prompt has left open.
        exact: stop at a level of 0 only, as the study does: a token `}}` may then jump over it, and nothing stops.
            Otherwise also below.
    """

    values: Mapping[int, int]
    level: int = 1
    exact: bool = False
    counts: list[int] = field(default_factory=list)
    highest: list[int] = field(default_factory=list)
    stopped: list[bool] = field(default_factory=list)

    def step(self, tokens: Sequence[int], pad: int) -> tuple[list[int], bool]:
        """Take one new token of every sequence.

        Args:
            tokens: (batch,).
            pad: what takes the place of tokens of sequences that have stopped.

        Returns:
            The tokens as they are kept, and whether all sequences have stopped.
        """
        if not self.counts:
            self.counts = [self.level] * len(tokens)
            self.highest = list(self.counts)
            self.stopped = [False] * len(tokens)
        kept = []
        for row, token in enumerate(tokens):
            if self.stopped[row]:
                kept.append(pad)
                continue
            kept.append(token)
            self.counts[row] += self.values.get(token, 0)
            self.highest[row] = max(self.highest[row], self.counts[row])
            closed = self.counts[row] == 0 if self.exact else self.counts[row] <= 0
            self.stopped[row] = closed and self.highest[row] > 0
        return kept, all(self.stopped)


def brace_values(vocabulary: Iterable[tuple[str, int]]) -> dict[int, int]:
    """Opening less closing braces of every token that has any."""
    return {index: text.count("{") - text.count("}") for text, index in vocabulary if "{" in text or "}" in text}


def closed_at(text: str, level: int = 1) -> int | None:
    """Where the braces of Java code close: the position behind that brace; None where they stay open.

    Braces in strings, characters and comments are none.

    Args:
        level: braces that stand open before the text.
    """
    at, end = 0, len(text)
    while at < end:
        two = text[at : at + 2]
        if two == "//":
            at = _after(text, "\n", at)
        elif two == "/*":
            at = _after(text, "*/", at + 2)
        elif text[at : at + 3] == '"""':
            at = _quoted(text, '"""', at + 3)
        elif text[at] in "\"'":
            at = _quoted(text, text[at], at + 1)
        else:
            level += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
            if level <= 0 and text[at - 1] == "}":
                return at
    return None


def _after(text: str, mark: str, start: int) -> int:
    found = text.find(mark, start)
    return len(text) if found < 0 else found + len(mark)


def _quoted(text: str, quote: str, at: int) -> int:
    """The position behind a literal; one that is not closed on its line ends there."""
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text.startswith(quote, at):
            return at + len(quote)
        elif text[at] == "\n" and len(quote) == 1:
            return at
        else:
            at += 1
    return len(text)
