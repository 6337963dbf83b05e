"""The made world: short documents with known facts, made from a seed and a grammar (`world.yaml`).

Names are invented words; a word belongs by its hash either to the documents one trains on or to the held-out ones, so
that no held-out document has a name that was seen in training. The same goes for sentence frames, which the grammar
marks `train` or `test`. The phrases that state a relation are shared.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from domains.relation_extraction.data.documents import Document, Entity, Fact, Mention
from suite.errors import InputError

Split = Literal["pretraining", "pretraining-test", "train", "val", "test"]
"""`pretraining*` state the relations that the base learns; the others those of the schema `tiny`. `*test` have names
and frames of their own; `val` has names and frames of `train` in other documents."""

SPLITS: tuple[Split, ...] = ("pretraining", "pretraining-test", "train", "val", "test")

_ONSETS = tuple("b br c d dr f g h j k kl l m n p r s sh st t th tr v w y z".split())  # noqa: SIM905
_WAYS = ("forward", "backward")
_FACTS = {"train": (1, 1, 1, 2, 2, 3, 4), "val": (1, 2, 2, 3), "test": (1, 2, 2, 3)}
_VOWELS = "aeiou"
_CODAS = ("", "", "", "", "l", "n", "r", "s", "m")


@dataclass(frozen=True)
class WorldRelation:
    """A relation of the world and the phrases that state it.

    Attributes:
        head, tail: kinds of entities. `single`: a head has at most one tail.
        forward: phrases between head and tail; backward: between tail and head, where there are any.
    """

    name: str
    head: str
    tail: str
    forward: tuple[str, ...]
    backward: tuple[str, ...] = ()
    single: bool = False
    description: str = ""

    def directions(self, kind: str) -> list[str]:
        """How the relation can be told of a subject of this kind."""
        told = [("forward", self.head, self.forward), ("backward", self.tail, self.backward)]
        return [direction for direction, subject, phrases in told if phrases and subject == kind]


@cache
def grammar() -> dict[str, Any]:
    """The parsed `world.yaml`."""
    return yaml.safe_load(Path(__file__).with_name("world.yaml").read_text(encoding="utf-8"))


@cache
def ordinary_words() -> tuple[str, ...]:
    """English words that no phrase of a relation has."""
    english = Path(__file__).with_name("english.txt").read_text(encoding="utf-8")
    phrases = [
        entry.get(way, ()) for part in ("pretraining", "downstream") for entry in grammar()[part] for way in _WAYS
    ]
    stating = {word for several in phrases for phrase in several for word in phrase.split()}
    return tuple(sorted({word for word in english.split() if word.isalpha() and word.islower()} - stating))


def relations(part: Literal["pretraining", "downstream"]) -> tuple[WorldRelation, ...]:
    """The relations that the base is pretrained on, or the ones held out for the adapters."""
    return tuple(
        WorldRelation(**{**entry, **{way: tuple(entry.get(way, ())) for way in _WAYS}}) for entry in grammar()[part]
    )


def documents(
    split: str,
    seed: int = 0,
    count: int | None = None,
    facts: Sequence[int] | None = None,
    filler: float | None = None,
) -> list[Document]:
    """Make the documents of a split; equal arguments give equal documents.

    Args:
        count: how many; by default 400 (`train`), 60 (`val`) or 120 (the others).
        facts: numbers of facts, one of which is drawn for each document; by default 1 to 3 or 4, more of them short in
            `train`, where short documents teach most for the time they take, and 2 to 5 for pretraining.
        filler: share of frames that say nothing, ordinary words in random order, which teach reading past any frame;
            by default 0.4 for `train`, none for the others.

    Returns:
        documents whose facts are in the order of the text, with ids `<split>-<seed>-<n>`.

    Raises:
        InputError: there is no such split.
    """
    if split not in SPLITS:
        raise InputError(f"the made world has no split {split!r}; it has {', '.join(SPLITS)}")
    if count is None:
        count = {"train": 400, "val": 60}.get(split, 120)
    if facts is None:
        facts = _FACTS.get(split, (2, 3, 3, 4, 5))
    if filler is None:
        filler = 0.4 if split == "train" else 0.0
    # A string seeds `random.Random` through SHA-512: the same on every machine and Python.
    return [
        _Writer(random.Random(f"{split}/{seed}/{number}"), split, filler).document(f"{split}-{seed}-{number}", facts)
        for number in range(count)
    ]


def held_out(word: str) -> bool:
    """Whether an invented word may occur in held-out documents only (one word in four)."""
    return zlib.crc32(word.encode()) % 4 == 0


def invent(rng: random.Random, unseen: bool) -> str:
    """A pronounceable word of two or three syllables, from the held-out words if `unseen`."""
    while True:
        syllables = [
            rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.choice((2, 2, 2, 2, 3)))
        ]
        word = "".join(syllables).capitalize()
        if held_out(word) == unseen:
            return word


@dataclass
class _Name:
    text: str
    kind: str
    pronoun: str
    mentions: list[tuple[int, int]] = field(default_factory=list)


class _Writer:
    """Writes one document: threads of facts about one entity each, with distractors between them."""

    def __init__(self, rng: random.Random, split: str, filler: float) -> None:
        self.rng, self.filler = rng, filler
        self.unseen = split in ("pretraining-test", "test")
        self.frames = {key: value["test" if self.unseen else "train"] for key, value in grammar()["frames"].items()}
        pretraining = split.startswith("pretraining")
        self.labelled = relations("pretraining" if pretraining else "downstream")
        self.others = () if pretraining else relations("pretraining")
        self.words: set[str] = set()
        self.names: list[_Name] = []
        self.facts: list[tuple[_Name, str, _Name]] = []
        self.text = ""
        self.sentences: list[tuple[int, int]] = []

    def document(self, identifier: str, facts: Sequence[int]) -> Document:
        labelled = self.rng.choice(facts)
        while len(self.facts) < labelled:
            if self.rng.random() < 0.25:
                self._distract()
            self._thread(min(self.rng.choice((1, 2, 2, 3)), labelled - len(self.facts)), self.labelled)
            if self.others and self.rng.random() < 0.25:
                self._thread(1, self.others)
        if self.rng.random() < 0.4:
            self._distract()
        return self._finish(identifier)

    def _finish(self, identifier: str) -> Document:
        names = [name for name in self.names if name.mentions]
        entities = tuple(
            Entity(
                id=f"e{index}",
                type=name.kind,
                mentions=tuple(
                    Mention(start, end, self.text[start:end], self._sentence_of(start)) for start, end in name.mentions
                ),
            )
            for index, name in enumerate(names)
        )
        place = {id(name): index for index, name in enumerate(names)}
        facts = tuple(Fact(place[id(head)], place[id(tail)], relation) for head, relation, tail in self.facts)
        return Document(id=identifier, text=self.text, sentences=tuple(self.sentences), entities=entities, facts=facts)

    def _sentence_of(self, position: int) -> int:
        return next(number for number, (_, end) in enumerate(self.sentences) if position < end)

    def _new_name(self, kind: str) -> _Name:
        pattern = self.rng.choice(grammar()["kinds"][kind])
        while "{w}" in pattern:
            word = invent(self.rng, self.unseen)
            if word not in self.words:
                self.words.add(word)
                pattern = pattern.replace("{w}", word, 1)
        pronoun = self.rng.choice(("he", "she")) if kind == "person" else "it"
        name = _Name(pattern, kind, pronoun)
        self.names.append(name)
        return name

    def _pick(self, kind: str, exclude: Sequence[_Name]) -> _Name:
        known = [name for name in self.names if name.kind == kind and name not in exclude and name.mentions]
        return self.rng.choice(known) if known and self.rng.random() < 0.25 else self._new_name(kind)

    def _thread(self, count: int, table: Sequence[WorldRelation]) -> None:
        """Tell up to `count` facts with one subject: by name, then by pronoun, by name or in the same sentence."""
        relation = self.rng.choice(table)
        subject = self._pick(self.rng.choice([k for k in (relation.head, relation.tail) if relation.directions(k)]), ())
        clauses: list[tuple[str, list[_Name]]] = []
        told: list[WorldRelation] = []
        for number in range(count):
            if number:
                able = [r for r in table if r.directions(subject.kind) and r not in told]
                if not able:
                    break
                relation = self.rng.choice(able)
            told.append(relation)
            clause = self._clause(subject, relation, table is self.labelled, count - number)
            if clause:
                clauses.append(clause)
            if sum(len(objects) for _, objects in clauses) >= count:
                break
        self._tell(subject, clauses)

    def _clause(
        self, subject: _Name, relation: WorldRelation, labelled: bool, room: int
    ) -> tuple[str, list[_Name]] | None:
        """Choose the direction and the objects of a fact about `subject`, and note the fact if it is labelled."""
        direction = self.rng.choice(relation.directions(subject.kind))
        kind = relation.tail if direction == "forward" else relation.head
        taken = {(id(head), name) for head, name, _ in self.facts}
        if direction == "forward" and relation.single and (id(subject), relation.name) in taken:
            return None
        many = 2 if room > 1 and self.rng.random() < 0.12 and not (relation.single and direction == "forward") else 1
        objects: list[_Name] = []
        for _ in range(many):
            candidate = self._pick(kind, [subject, *objects])
            if self._stated(subject, candidate) or (
                direction == "backward" and relation.single and (id(candidate), relation.name) in taken
            ):
                candidate = self._new_name(kind)
            objects.append(candidate)
        if labelled:
            for other in objects:
                pair = (subject, other) if direction == "forward" else (other, subject)
                self.facts.append((pair[0], relation.name, pair[1]))
        return self.rng.choice(relation.forward if direction == "forward" else relation.backward), objects

    def _stated(self, one: _Name, other: _Name) -> bool:
        return any({id(head), id(tail)} == {id(one), id(other)} for head, _, tail in self.facts)

    def _tell(self, subject: _Name, clauses: Sequence[tuple[str, list[_Name]]]) -> None:
        named = False
        position = 0
        while position < len(clauses):
            joined = position + 1 < len(clauses) and self.rng.random() < 0.3
            self._sentence(
                subject, clauses[position : position + 1 + joined], pronoun=named and self.rng.random() < 0.6
            )
            named = True
            position += 1 + joined

    def _sentence(self, subject: _Name, clauses: Sequence[tuple[str, list[_Name]]], pronoun: bool) -> None:
        parts: list[str | _Name] = []
        if self.rng.random() < 0.45:
            parts += self._fill(self._frame("openings"))
        for number, (phrase, objects) in enumerate(clauses):
            if number:
                parts += self._fill(self._frame("joins").replace("{it}", subject.pronoun))
                core = "{p} {O}"
            else:
                core = self._frame("pronouns" if pronoun else "cores")
            core = core.replace("{a}", self._frame("asides")).replace("{p}", phrase)
            listed: list[str | _Name] = [objects[0]]
            for other in objects[1:]:
                listed += [self._frame("lists"), other]
            for piece in _split(core):
                if piece == "{S}":
                    parts.append(subject.pronoun if pronoun else subject)
                elif piece == "{O}":
                    parts += listed
                else:
                    parts.append(piece)
        parts += self._fill(self._frame("closings").replace(" ,", ","))
        self._write([*parts, "."])

    def _distract(self) -> None:
        self._write(self._fill(self._frame("distractors")))

    def _frame(self, part: str) -> str:
        frames = self.frames[part]
        if self.filler and self.rng.random() < self.filler:
            frames = grammar()["filler"][part]
        frame = self.rng.choice(frames) if len(frames) > 1 else frames[0]
        while "{f}" in frame:
            frame = frame.replace("{f}", self.rng.choice(ordinary_words()), 1)
        return frame

    def _fill(self, frame: str) -> list[str | _Name]:
        """Put years and bystanders into a frame."""
        parts: list[str | _Name] = []
        for piece in _split(frame):
            if piece == "{year}":
                parts.append(str(self.rng.randint(1500, 1999)))
            elif piece == "{E}":
                parts.append(
                    self._pick(self.rng.choice(list(grammar()["kinds"])), [p for p in parts if isinstance(p, _Name)])
                )
            else:
                parts.append(piece)
        return parts

    def _write(self, parts: Sequence[str | _Name]) -> None:
        """Append one sentence and note where its names stand; its first letter becomes a capital."""
        if self.text:
            self.text += " "
        start = len(self.text)
        for part in parts:
            if isinstance(part, _Name):
                part.mentions.append((len(self.text), len(self.text) + len(part.text)))
                self.text += part.text
            else:
                self.text += part[:1].upper() + part[1:] if len(self.text) == start else part
        self.sentences.append((start, len(self.text)))


def _split(frame: str) -> list[str]:
    """Cut a frame into slots (`{S}`) and the text between them."""
    pieces: list[str] = []
    for part in frame.split("{"):
        slot, closed, rest = part.partition("}")
        pieces += ["{" + slot + "}", rest] if closed else [slot]
    return [piece for piece in pieces if piece]
