"""Constrained decoding: automata over the bytes of an answer that accept exactly the well-formed answers.

An answer is lines of the same elements, none twice (`AnswerLines`): fixed text (`FixedText`), one of a list of names
(`OneOf`) or a span of a passage, aligned to word boundaries (`PassageSpan`), plain or as Python's `repr` writes it.

An automaton knows bytes, never tokens: `vocabulary.Vocabulary.allowed` turns its moves into token masks. It is
deterministic, and a state from which no well-formed answer can be reached is not entered (the one exception: a first
element that the model chose itself and whose every last element is used up, which only a passage of a few words can
cause).
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol
from unicodedata import combining

State = Hashable
_NEWLINE = 0x0A
_QUOTES = {"'": 0x27, '"': 0x22}
_CACHED_STATES = 50_000


class Constraint(Protocol):
    """A deterministic automaton over the bytes of an answer."""

    start: State

    def moves(self, state: State) -> Mapping[int, State]:
        """The bytes that may follow in `state`, and the state each leads to."""
        ...

    def accepts(self, state: State) -> bool:
        """Whether the answer may end in `state`."""
        ...


def advance(constraint: Constraint, state: State, data: bytes) -> State | None:
    """Return the state after `data`, or None where the constraint forbids it."""
    for byte in data:
        following = constraint.moves(state)
        if byte not in following:
            return None
        state = following[byte]
    return state


class Element(Protocol):
    """A part of a line. `excluded` are the values that this part may not take."""

    varying: bool

    def start(self, excluded: frozenset[str]) -> State | None: ...
    def moves(self, state: State, excluded: frozenset[str]) -> dict[int, State]: ...
    def value(self, state: State, excluded: frozenset[str]) -> str | None:
        """What was written, when the part may end in `state`."""
        ...


class FixedText:
    """Fixed text; its state is the number of bytes written."""

    varying = False

    def __init__(self, text: str) -> None:
        self.text, self.data = text, text.encode()

    def start(self, excluded: frozenset[str]) -> State | None:
        return 0

    def moves(self, state: Any, excluded: frozenset[str]) -> dict[int, State]:
        return {self.data[state]: state + 1} if state < len(self.data) else {}

    def value(self, state: Any, excluded: frozenset[str]) -> str | None:
        return self.text if state == len(self.data) else None


class OneOf:
    """One of a list of names; its state is the bytes written."""

    varying = True

    def __init__(self, names: Iterable[str], quoted: bool) -> None:
        self.names = {(repr(name) if quoted else name).encode(): name for name in names}

    def start(self, excluded: frozenset[str]) -> State | None:
        return b"" if any(name not in excluded for name in self.names.values()) else None

    def moves(self, state: Any, excluded: frozenset[str]) -> dict[int, State]:
        place = len(state)
        return {
            data[place]: data[: place + 1]
            for data, name in self.names.items()
            if len(data) > place and data.startswith(state) and name not in excluded
        }

    def value(self, state: Any, excluded: frozenset[str]) -> str | None:
        name = self.names.get(state)
        return None if name in excluded else name


class SpanIndex:
    """The spans of a passage that an answer may name: aligned to word boundaries, on one line, of at most `max_words`.

    A boundary lies between two characters unless both belong to one word; a character of a script written without
    spaces is a word of its own.
    """

    def __init__(self, text: str, max_words: int) -> None:
        self.text, self.max_words = text, max_words
        self._boundary = [_is_boundary(text, place) for place in range(len(text) + 1)]
        self.starts = tuple(i for i, c in enumerate(text) if self._boundary[i] and not c.isspace())
        self._quotes = any(quote in text for quote in _QUOTES)
        self._lengths: dict[tuple[int, str], tuple[int, ...]] = {}

    def lengths(self, start: int, quote: str) -> tuple[int, ...]:
        """The lengths, longest first, of the spans at `start` that Python writes in `quote`s (empty: written plain)."""
        key = (start, quote)
        if key not in self._lengths:
            if quote == "":
                found = tuple(self._all_lengths(start))[::-1]
            elif self._quotes:
                found = tuple(length for length in self.lengths(start, "") if self._quote(start, length) == quote)
            else:
                found = self.lengths(start, "") if quote == "'" else ()
            self._lengths[key] = found
        return self._lengths[key]

    def _all_lengths(self, start: int) -> Iterable[int]:
        words = 1
        for end in range(start + 1, len(self.text) + 1):
            last = self.text[end - 1]
            if last == "\n" or words > self.max_words:
                return
            if last.isspace():
                words += not self.text[end - 2].isspace()
            elif self._boundary[end]:
                yield end - start

    def _quote(self, start: int, length: int) -> str:
        end = start + length
        single, double = self.text.find("'", start, end) >= 0, self.text.find('"', start, end) >= 0
        return '"' if single and not double else "'"


@lru_cache(maxsize=64)
def span_index(text: str, max_words: int) -> SpanIndex:
    """The index of a passage, shared by all calls on it."""
    return SpanIndex(text, max_words)


def _is_boundary(text: str, place: int) -> bool:
    if place in (0, len(text)):
        return True
    return not (_in_word(text[place - 1]) and _in_word(text[place]))


def _in_word(character: str) -> bool:
    # Kana, CJK ideographs, and Thai to Khmer are written without spaces between words.
    unspaced = (
        "\u0e00" <= character <= "\u0eff" or "\u1780" <= character <= "\u17ff" or "\u3040" <= character <= "\u9fff"
    )
    return (character.isalnum() or character == "_" or bool(combining(character))) and not unspaced


@dataclass(frozen=True)
class _Writing:
    """Inside a span: the places it may have started at, the characters done, the bytes done of the next one."""

    quote: str
    starts: tuple[int, ...]
    characters: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class _Written:
    """Behind the closing quote."""

    text: str


class PassageSpan:
    """A span of the passage, plain or as `repr` writes it. The state before an opening quote is None's stand-in ()."""

    varying = True

    def __init__(self, index: SpanIndex, quoted: bool) -> None:
        self.index, self.quoted = index, quoted

    def start(self, excluded: frozenset[str]) -> State | None:
        if not self.quoted:
            return self._enter("", excluded)
        return () if any(self._enter(quote, excluded) for quote in _QUOTES) else None

    def moves(self, state: Any, excluded: frozenset[str]) -> dict[int, State]:
        if state == ():
            opened = {byte: self._enter(quote, excluded) for quote, byte in _QUOTES.items()}
            return {byte: target for byte, target in opened.items() if target is not None}
        if isinstance(state, _Written):
            return {}
        found = self._inside(state, excluded)
        if state.quote and (text := self._text(state, excluded)) is not None:
            found[_QUOTES[state.quote]] = _Written(text)
        return found

    def value(self, state: Any, excluded: frozenset[str]) -> str | None:
        if self.quoted:
            return state.text if isinstance(state, _Written) else None
        return self._text(state, excluded)

    def _enter(self, quote: str, excluded: frozenset[str]) -> _Writing | None:
        return self._alive(_Writing(quote, self.index.starts), excluded)

    def _inside(self, state: _Writing, excluded: frozenset[str]) -> dict[int, State]:
        # The codes of characters are prefix-free, so starts that share all bytes so far share whole characters.
        groups: dict[int, list[int]] = {}
        ended: dict[int, bool] = {}
        for start in state.starts:
            place = start + state.characters
            if place < len(self.index.text):
                code = _code(self.index.text[place], state.quote)
                groups.setdefault(code[state.bytes], []).append(start)
                ended[code[state.bytes]] = state.bytes + 1 == len(code)
        found: dict[int, State] = {}
        for byte, starts in groups.items():
            if ended[byte]:
                target = _Writing(state.quote, tuple(starts), state.characters + 1)
            else:
                target = replace(state, starts=tuple(starts), bytes=state.bytes + 1)
            if (alive := self._alive(target, excluded)) is not None:
                found[byte] = alive
        return found

    def _alive(self, state: _Writing, excluded: frozenset[str]) -> _Writing | None:
        """Drop the starts from which no allowed span can be completed; None when none is left."""
        text, least = self.index.text, state.characters + (state.bytes > 0)
        starts = tuple(
            start
            for start in state.starts
            if any(
                length >= least and text[start : start + length] not in excluded
                for length in self.index.lengths(start, state.quote)
            )
        )
        return replace(state, starts=starts) if starts else None

    def _text(self, state: _Writing, excluded: frozenset[str]) -> str | None:
        length = state.characters
        if state.bytes or not any(length in self.index.lengths(start, state.quote) for start in state.starts):
            return None
        text = self.index.text[state.starts[0] : state.starts[0] + length]
        return None if text in excluded else text


@lru_cache(maxsize=4096)
def _code(character: str, quote: str) -> bytes:
    """How `character` is written inside `quote`s; the bytes of a lone surrogate stand for themselves."""
    if quote == "" or character in _QUOTES:
        escaped = f"\\{character}" if quote and character == quote else character
        return escaped.encode("utf-8", "surrogatepass")
    return repr(character)[1:-1].encode()


@dataclass(frozen=True)
class _Place:
    """Where in the answer: the element of the line and its state, the values of this line, the lines before it."""

    element: int
    inner: State
    values: tuple[str, ...] = ()
    used: frozenset[tuple[str, ...]] = frozenset()


class AnswerLines:
    """Lines of the same elements, none twice; or the one line `empty`.

    Args:
        distinct: the last varying element must differ from the first one, as a tail from its head.
        first: the value of that first one, where it is fixed text.
    """

    def __init__(
        self, elements: Sequence[Element], *, empty: str | None = None, distinct: bool = False, first: str | None = None
    ) -> None:
        self.elements, self.distinct, self.first = elements, distinct, first
        self.empty = empty.encode() if empty else None
        self._last_varying = max(place for place, element in enumerate(elements) if element.varying)
        self._moves: dict[State, dict[int, State]] = {}
        # A state is (place in the lines or None, bytes written of the empty answer or None).
        self.start: State = (self._enter(0, (), frozenset()), 0 if self.empty else None)

    def moves(self, state: Any) -> Mapping[int, State]:
        if state not in self._moves:
            if len(self._moves) >= _CACHED_STATES:
                self._moves.clear()
            self._moves[state] = self._find_moves(*state)
        return self._moves[state]

    def accepts(self, state: Any) -> bool:
        place, written = state
        if written is not None and self.empty is not None and written == len(self.empty):
            return True
        return place is not None and place.element == len(self.elements) - 1 and self._value(place) is not None

    def _find_moves(self, place: _Place | None, written: int | None) -> dict[int, State]:
        found: dict[int, State] = {}
        if place is not None:
            found = {byte: (target, None) for byte, target in self._line_moves(place).items()}
        if written is not None and self.empty is not None and written < len(self.empty):
            byte = self.empty[written]
            in_lines = self._line_moves(place).get(byte) if place is not None else None
            found[byte] = (in_lines, written + 1)
        return found

    def _line_moves(self, place: _Place) -> dict[int, _Place]:
        element = self.elements[place.element]
        excluded = self._excluded(place.element, place.values, place.used)
        found = {byte: replace(place, inner=inner) for byte, inner in element.moves(place.inner, excluded).items()}
        value = self._value(place)
        if value is None:
            return found
        values = (*place.values, value) if element.varying else place.values
        if place.element + 1 < len(self.elements):
            following = self._enter(place.element + 1, values, place.used)
            return found | (self._line_moves(following) if following else {})
        if next_line := self._enter(0, (), place.used | {values}):
            found[_NEWLINE] = next_line
        return found

    def _enter(self, element: int, values: tuple[str, ...], used: frozenset[tuple[str, ...]]) -> _Place | None:
        inner = self.elements[element].start(self._excluded(element, values, used))
        return None if inner is None else _Place(element, inner, values, used)

    def _value(self, place: _Place) -> str | None:
        excluded = self._excluded(place.element, place.values, place.used)
        return self.elements[place.element].value(place.inner, excluded)

    def _excluded(self, element: int, values: tuple[str, ...], used: frozenset[tuple[str, ...]]) -> frozenset[str]:
        if element != self._last_varying:
            return frozenset()
        excluded = frozenset(line[-1] for line in used if line[:-1] == values)
        if self.distinct:
            excluded |= {self.first if self.first is not None else values[0]}
        return excluded
