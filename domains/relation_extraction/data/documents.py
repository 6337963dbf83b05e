"""The document that every reader makes and every part works on.

All offsets are Unicode code points of `Document.text`, the text that the model reads. `Document.raw`, where there is
one, leads back to the user's own text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from domains.relation_extraction.data.align import Alignment, docred_tokens
from domains.relation_extraction.data.sentences import split_sentences
from domains.relation_extraction.types import Span
from suite.errors import InputError

# A line break within a paragraph, with the blanks around it: one line end after a character, another one after it.
_WRAP = re.compile(r"(?<=\S)[^\S\n\r]*(?:\r\n|\n|\r)[^\S\n\r]*(?=\S)")

PRETOKENIZERS = ("docred", "none")


@dataclass(frozen=True)
class Mention:
    """One place where an entity is named.

    Attributes:
        start, end: where it stands in `Document.text`.
        text: its name as the source has it; in (Re-)DocRED it may differ from the words at its place (see
            `refinement`).
        sentence: index of the sentence it stands in.
    """

    start: int
    end: int
    text: str
    sentence: int | None = None


@dataclass(frozen=True)
class Entity:
    """A thing that the document speaks of, with all its mentions."""

    id: str
    type: str | None
    mentions: tuple[Mention, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The distinct mention texts, by first occurrence."""
        return tuple(dict.fromkeys(mention.text for mention in sorted(self.mentions, key=lambda m: (m.start, m.end))))


@dataclass(frozen=True)
class Fact:
    """A labelled relation between two entities of a document.

    Attributes:
        head, tail: indices into `Document.entities`.
        relation: name of the relation; `pid`: its Wikidata property where known.
        evidence: indices of the sentences that support it.
    """

    head: int
    tail: int
    relation: str
    pid: str | None = None
    evidence: tuple[int, ...] = ()


@dataclass(frozen=True)
class Document:
    """A text with what is known about it.

    Attributes:
        id: unique within its source.
        text: what the model reads.
        sentences: `(start, end)` of each sentence in `text`.
        raw: how `text` maps to the user's text; None: `text` is the user's text.
        tokenized: whether `text` already is tokens joined by single spaces.
        metadata: what else the source says of it; passed through, never read.
    """

    id: str
    text: str
    sentences: tuple[tuple[int, int], ...]
    entities: tuple[Entity, ...] = ()
    facts: tuple[Fact, ...] = ()
    raw: Alignment | None = None
    tokenized: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source_text(self) -> str:
        """The user's text, in which every reported span counts."""
        return self.text if self.raw is None else self.raw.raw

    def to_source(self, start: int, end: int) -> Span:
        """Return the span of `source_text` that `text[start:end]` comes from.

        Raises:
            ValueError: the offsets are not within `text`, or only white space lies between them.
        """
        if self.raw is not None:
            return self.raw.to_raw(start, end)
        if not 0 <= start < end <= len(self.text):
            raise ValueError(f"span [{start}, {end}) is not within the text of {len(self.text)} characters")
        return Span(start, end)

    def sentence_at(self, offset: int) -> int | None:
        """Return the index of the sentence that holds the character at `offset` of `text`; None between sentences."""
        index = bisect_right(self.sentences, offset, key=lambda span: span[0]) - 1
        return index if index >= 0 and offset < self.sentences[index][1] else None


def plain_document(text: str, id: str = "document", *, where: str = "") -> Document:
    """Return `text` as an unlabelled document, split into sentences.

    Args:
        where: what error messages call it, a file and line for example.

    Raises:
        InputError: the text is empty, has no letter, or holds a lone surrogate.
    """
    check_text(text, where or f"document {id}")
    return Document(id, text, tuple(split_sentences(text)))


def check_text(text: str, where: str) -> None:
    """Raise `InputError` where `text` is nothing that relations can be read from."""
    if not isinstance(text, str):
        raise InputError(f"{where}: a document is a string, not {type(text).__name__}")
    if not text.strip():
        raise InputError(f"{where}: the document is empty; give a text")
    if not any(character.isalpha() for character in text):
        raise InputError(f"{where}: the document has no letters; give a text in words")
    if "\0" in text:
        raise InputError(f"{where}: character {text.index(chr(0))} is NUL; give a text file, or its --encoding")
    if (bad := next((i for i, character in enumerate(text) if "\ud800" <= character <= "\udfff"), None)) is not None:
        raise InputError(f"{where}: character {bad} is half of a surrogate pair; write the whole character")


def pretokenize(source: str | Document, how: str = "docred", id: str = "document") -> Document:
    """Bring a text into the shape that an adapter was tuned on, with the way back to the text itself.

    Args:
        source: a text, or a document whose entities and facts are carried over.
        how: `docred`: tokens joined by single spaces; `none`: the text as it is, but for line breaks within a
            paragraph, which become blanks: answers are lines, and a name across a break could not be written.
        id: id of the document made of a text.

    Returns:
        the document with `raw` set; a document that already is tokens is returned as it is, whatever `how`.

    Raises:
        InputError: `how` is neither, or the text is empty or without letters.
    """
    if how not in PRETOKENIZERS:
        raise InputError(f"pretokenize: unknown way `{how}`; choose one of {', '.join(PRETOKENIZERS)}")
    document = plain_document(source, id) if isinstance(source, str) else source
    if document.tokenized or document.raw is not None:
        return document
    if how == "none" and not _WRAP.search(document.text):
        return replace(document, raw=Alignment.identity(document.text))
    if how == "none":
        aligned = Alignment.join(document.text, _unwrapped(document.text))
    else:
        tokens = [docred_tokens(document.text, *sentence) for sentence in document.sentences]
        aligned = Alignment.join(document.text, (token for sentence in tokens for token in sentence))
    mapped = [aligned.to_model(*sentence) for sentence in document.sentences]
    return replace(
        document,
        text=aligned.model,
        sentences=tuple((span.start, span.end) for span in mapped),
        entities=tuple(_moved(entity, aligned) for entity in document.entities),
        raw=aligned,
        tokenized=how == "docred",
    )


def _unwrapped(text: str) -> Iterator[tuple[int, int]]:
    """The runs between line breaks within paragraphs."""
    start = 0
    for wrap in _WRAP.finditer(text):
        yield start, wrap.start()
        start = wrap.end()
    yield start, len(text)


def _moved(entity: Entity, aligned: Alignment) -> Entity:
    mentions = []
    for mention in entity.mentions:
        span = aligned.to_model(mention.start, mention.end)
        mentions.append(replace(mention, start=span.start, end=span.end, text=aligned.model[span.start : span.end]))
    return replace(entity, mentions=tuple(mentions))


def occurrences(text: str, name: str) -> list[tuple[int, int]]:
    """Return `(start, end)` of every place where `name` stands in `text`, overlaps left out."""
    places, start = [], text.find(name) if name else -1
    while start >= 0:
        places.append((start, start + len(name)))
        start = text.find(name, start + len(name))
    return places


def joined(sentences: Sequence[Sequence[str]]) -> tuple[str, list[list[int]]]:
    """Join the tokens of all sentences by single spaces.

    Returns:
        the text, and for each sentence the start of each of its tokens and one past the end of its last token plus one,
        so that tokens `[i, j)` of sentence `s` stand at `text[starts[s][i] : starts[s][j] - 1]`.
    """
    starts, position = [], 0
    for sentence in sentences:
        row = [position]
        for token in sentence:
            position += len(token) + 1
            row.append(position)
        starts.append(row)
    return " ".join(token for sentence in sentences for token in sentence), starts
