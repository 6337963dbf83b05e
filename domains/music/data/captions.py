"""Captions: from what is known of a recording to a sentence, and back; published ones whose slots are swapped."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from domains.music.data import vocabulary
from domains.music.data.vocabulary import KINDS, is_known, normalised

Fields = Mapping[str, tuple[str, ...]]
"""What is known of a recording: names by kind (`instruments`, `raga`, `makam`, ...)."""

Tradition = Literal["hindustani", "makam"]

NAMES: dict[Tradition, str] = {"hindustani": "Hindustani Classical", "makam": "Turkish Makam"}

TEMPLATES = (
    "Compose a soulful {name} piece that blends the rich timbre of {said}.",
    "Design a captivating {name} composition where the soothing tones of {said} explore new depths.",
    "Imagine a traditional {name} performance that brings together {said}, flowing effortlessly.",
    "Craft a mesmerizing {name} melody that intertwines the essence of {said}.",
    "Envision a timeless {name} recital where the harmonious blend of {said} stands out.",
)
"""The frames of the published captions; where the published ones lack a verb, these have it."""

_WORDS = {"laya": "laaya"}
_OF_ONE = {"are": "is", "have": "has", "were": "was", "name": "names"}
_SLOTS = re.compile(r"(?P<head>.*?) makam,\s*(?P<usul>[^ ].*?) usul\b")


def names_of(cell: str | Iterable[str] | None) -> tuple[str, ...]:
    """The names in a comma-joined cell, composed, each once, in the order of their first appearance."""
    if cell is None:
        return ()
    parts = re.split(r"[,;|]", cell) if isinstance(cell, str) else [str(one) for one in cell]
    cleaned = (normalised(part) for part in parts)
    return tuple(dict.fromkeys(name for name in cleaned if name and name.lower() != "nan"))


def described(fields: Fields) -> str:
    """`Tabla, Voice instruments, Yaman raga, Tīntāl taal`: what is known, what is missing left out."""
    return ", ".join(f"{', '.join(fields[kind])} {_WORDS.get(kind, kind)}" for kind in KINDS if fields.get(kind))


def caption(fields: Fields, *, seed: int = 0, key: str = "") -> str:
    """A sentence of a recording, the same for a seed and a key; empty where nothing is known of it.

    Args:
        key: what tells one clip from another, so that their sentences differ.
    """
    said = described(fields)
    if not said:
        return ""
    tradition: Tradition = "makam" if fields.get("makam") or fields.get("usul") else "hindustani"
    frame = random.Random(f"{seed}/{key}").choice(TEMPLATES)
    return frame.format(name=NAMES[tradition], said=said)


@dataclass(frozen=True)
class Slots:
    """The makam and the usul that a caption names, as they are written."""

    makam: str
    usul: str

    @property
    def swapped(self) -> bool:
        """Whether the makam stands where the usul belongs and the other way round."""
        makams, usuls = names_of(self.makam), names_of(self.usul)
        return (
            any(is_known("usul", name) for name in makams)
            and any(is_known("makam", name) for name in usuls)
            and not any(is_known("makam", name) for name in makams)
        )


def slots(text: str) -> Slots | None:
    """The slots of a makam caption; None where one is missing."""
    found = _SLOTS.match(text)
    if found is None:
        return None
    head = found["head"]
    for before in ("instruments, ", ", ", " of ", " together "):  # what the frames put before the first name
        if before in head:
            return Slots(head.rpartition(before)[2].strip(), found["usul"].strip())
    return None


def unswapped(text: str) -> str:
    """The caption with its makam and usul in their places; as it is where they are."""
    found = slots(text)
    if found is None or not found.swapped:
        return text
    return text.replace(f"{found.makam} makam", f"{found.usul} makam", 1).replace(
        f"{found.usul} usul", f"{found.makam} usul", 1
    )


def swapped_fields(fields: Fields) -> bool:
    """Whether the makams of a recording are usuls and its usuls makams."""
    return Slots(",".join(fields.get("makam", ())), ",".join(fields.get("usul", ()))).swapped


def unswapped_fields(fields: Fields) -> Fields:
    """The fields with both in their places."""
    if not swapped_fields(fields):
        return fields
    return {**fields, "makam": fields["usul"], "usul": fields["makam"]}


def unknown_names(every: Iterable[Fields]) -> list[str]:
    """A line for each kind with names that no list has, the names each once."""
    found: dict[str, dict[str, None]] = {}
    for fields in every:
        for kind, names in fields.items():
            for name in vocabulary.unknown(kind, names):
                found.setdefault(kind, {})[name] = None
    return [f"unknown {kind}: {shortened(list(names))}" for kind, names in found.items()]


def numbered(count: int, said: str) -> str:
    """`3 clips are short`, and of one `1 clip is short`.

    Args:
        said: of several: its first noun and its first verb are put into the singular.
    """
    if count == 1:
        said = re.sub(r"\b(clip|recording|row|vote)s\b", r"\1", said, count=1)
        said = re.sub(r"\b(are|have|were|name)\b", lambda verb: _OF_ONE[verb[0]], said, count=1)
    return f"{count} {said}"


def shortened(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
