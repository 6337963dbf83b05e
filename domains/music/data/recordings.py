"""Recordings with what is known of them, found inside one folder, and split so that none is on two sides."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from domains.music.data.captions import Fields, shortened
from domains.music.data.world import Piece, Split
from suite.errors import InputError
from suite.media.audio import SUFFIXES
from suite.tables import counted

SHARES: Mapping[Split, float] = {"train": 0.7, "val": 0.1, "test": 0.2}
"""Of the recordings, as published."""

_MBID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Recording:
    """A recording, or a part of one.

    Attributes:
        id: the same for all parts of one recording: its MusicBrainz id where that is known.
        source: its file, or a piece of the made world.
        caption: as somebody wrote it; empty where nobody did. fields: what is known of it.
        start, end: seconds of the part; all of it where they are None.
        split: the side that its table puts it on. licence: one line.
    """

    id: str
    source: Path | Piece
    caption: str = ""
    fields: Fields = field(default_factory=dict)
    start: float | None = None
    end: float | None = None
    split: Split | None = None
    licence: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return self.source.name if isinstance(self.source, Path) else self.source.caption


@dataclass(frozen=True)
class Collection:
    """Recordings of one source.

    Attributes:
        missing: files that are named and not there. notices: what the user should know, one line each.
        unread: why, by the name of each file that cannot be read.
    """

    name: str
    recordings: tuple[Recording, ...]
    missing: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notices, and what cannot be read."""
        return (*self.notices, *unreadable(self.unread))

    @property
    def licences(self) -> tuple[str, ...]:
        """The licences that its recordings name, each once."""
        return tuple(dict.fromkeys(one.licence for one in self.recordings if one.licence))


def unreadable(unread: Mapping[str, str]) -> list[str]:
    """A line that names the recordings that cannot be read, the first with its reason; none where all can."""
    if not unread:
        return []
    first, *others = unread
    also = f"; nor {shortened(others)}" if others else ""
    return [f"{counted(len(unread), 'recording')} cannot be read: {first}: {unread[first]}{also}"]


def id_of(path: str | Path) -> str:
    """The MusicBrainz id in a file's name, else the name without its suffix."""
    found = _MBID.findall(Path(path).name)
    return found[-1].lower() if found else Path(path).stem


def split_of(recordings: Sequence[Recording], split: Split, seed: int = 0) -> tuple[Recording, ...]:
    """The recordings of one side: as their table says, else drawn by whole recordings, 70, 10 and 20 in a hundred.

    Raises:
        InputError: a recording stands on two sides, or the side has none.
    """
    sides = check_sides(recordings)
    if not sides:
        sides = drawn(dict.fromkeys(one.id for one in recordings), seed)
    chosen = tuple(one for one in recordings if sides.get(one.id) == split)
    if not chosen:
        held = [f"{side} ({list(sides.values()).count(side)})" for side in SHARES if side in sides.values()]
        count = counted(len(sides), "recording")
        raise InputError(f"none of {count} is in the split {split}; there are {', '.join(held)}")
    return chosen


def check_sides(recordings: Sequence[Recording]) -> dict[str, Split]:
    """The side of every recording whose table says one.

    Raises:
        InputError: a recording stands on two sides.
    """
    sides: dict[str, Split] = {}
    for one in recordings:
        if one.split is not None and sides.setdefault(one.id, one.split) != one.split:
            raise InputError(
                f"recording {one.id} is in the splits {sides[one.id]} and {one.split}; what is tested must not be "
                "trained on, put all its parts on one side"
            )
    return sides


def drawn(ids: Iterable[str], seed: int = 0) -> dict[str, Split]:
    """A side for every recording, the same for a seed whatever the order they come in.

    Of three or more, each side has one; of two, the second is validated.
    """
    order = sorted(ids, key=lambda one: hashlib.sha256(f"{seed}/{one}".encode()).hexdigest())
    train = max(1, min(len(order) - 2, round(SHARES["train"] * len(order))))
    val = max(1, round(SHARES["val"] * len(order)))
    return {
        one: "train" if place < train else "val" if place < train + val else "test" for place, one in enumerate(order)
    }


class Files:
    """The recordings below a folder, by path and by name; nothing outside it is ever opened."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser()
        if not self.root.is_dir():
            raise InputError(f"{self.root}: is no folder; name the one that holds the recordings")

    def find(self, named: str) -> Path | None:
        """The file of a path in a table: below the folder, or of the same name somewhere in it.

        Raises:
            InputError: the path leads out of the folder, and no file in it has that name.
        """
        written = named.replace("\\", "/")
        home = Path(os.path.realpath(self.root))
        target = Path(os.path.realpath(self.root / written))
        inside = target.is_relative_to(home)
        if inside and target.is_file():
            return self.root / written
        by_name = self.names.get(Path(written).name)
        if by_name is None and not inside:
            raise InputError(
                f"{named}: leads out of {self.root}; name the folder of the recordings that the table means"
            )
        return by_name

    @cached_property
    def names(self) -> dict[str, Path]:
        """Files by name; of two of one name the first."""
        found: dict[str, Path] = {}
        for path in self.all():
            found.setdefault(path.name, path)
        return found

    def all(self) -> list[Path]:
        """Every recording below the folder, sorted; hidden ones left out."""
        return [
            path
            for path in sorted(self.root.rglob("*"))
            if path.suffix.lower() in SUFFIXES
            and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(self.root).parts)
        ]


def licensed(collection: Collection, licence: str | None, root: Path) -> Collection:
    """The collection with a licence on every recording that names none.

    Args:
        licence: as the user says it; where left out, the file about licences that lies beside the recordings.
    """
    if not licence:
        notes = sorted(path.name for path in root.glob("LICEN[SC]E*")) if root.is_dir() else []
        licence = f"see {notes[0]} beside the recordings" if notes else ""
    named = tuple(one if one.licence else replace(one, licence=licence) for one in collection.recordings)
    return replace(collection, recordings=named)
