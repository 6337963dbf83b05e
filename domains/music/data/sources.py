"""From a source, `world:train:200:raga` or `./my-recordings:train`, to its recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

from domains.music.data import world
from domains.music.data.captions import slots as slots_of
from domains.music.data.captions import swapped_fields, unknown_names, unswapped, unswapped_fields
from domains.music.data.readers.formats import FORMATS
from domains.music.data.recordings import Collection, Files, Recording, licensed, split_of
from domains.music.data.world import Split
from suite.errors import InputError
from suite.tables import counted

WORLD, OLD = "world", "old"
COUNTS: dict[Split, int] = {"train": 240, "val": 24, "test": 48}


def open_recordings(
    source: str,
    *,
    split: Split = "train",
    recordings: str | Path | None = None,
    format: str = "auto",
    licence: str | None = None,
    fix_swapped: bool = False,
    seed: int = 0,
) -> Collection:
    """The recordings of one side of a source.

    Args:
        source: `world:SPLIT[:COUNT[:GENRE]]`, several of them with `+` between, or `PATH[:SPLIT]` of a folder, a table
            or JSON lines.
        split: the side, where the source does not say; a source without a split of its own is split by recording.
        recordings: folder of the recordings that a table names; the table's own where left out.
        format: a key of `FORMATS`, or `auto`.
        licence: of recordings that state none.
        fix_swapped: put makams and usuls that are swapped back.
        seed: of a split that is drawn.

    Raises:
        InputError: the source does not exist, is in no known format, or is broken.
    """
    if source == WORLD or source.startswith(f"{WORLD}:"):
        return _joined([_made(part.strip(), split) for part in source.split("+")])
    where, named = split_named(source)
    whole = read_all(where, recordings=recordings, format=format, licence=licence, fix_swapped=fix_swapped)
    if named is None and all(one.split is None for one in whole.recordings):
        return whole  # all of it: nobody asked for a side
    try:
        return replace(whole, recordings=split_of(whole.recordings, named or split, seed))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def read_all(
    where: str | Path,
    *,
    recordings: str | Path | None = None,
    format: str = "auto",
    licence: str | None = None,
    fix_swapped: bool = False,
) -> Collection:
    """Every recording of a folder, a table or JSON lines, whatever its side; what is odd about them in `notices`.

    Raises:
        InputError: see `open_recordings`.
    """
    path = Path(where).expanduser()
    if not path.exists():
        raise InputError(f"{where}: no such file or folder (made music is called {WORLD}:train)")
    if format != "auto" and format not in FORMATS:
        raise InputError(f"unknown data format {format!r}; choose auto, {', '.join(FORMATS)}")
    home = path if path.is_dir() else path.parent
    files = Files(Path(recordings) if recordings is not None else home)
    for fits, read in ((one.fits, one.read) for name, one in FORMATS.items() if format in ("auto", name)):
        if format != "auto" or fits(path):
            return _checked(licensed(read(path, files), licence, files.root), fix=fix_swapped)
    raise InputError(f"{path}: is none of {', '.join(FORMATS)}; give a folder of recordings, or a table with path,text")


def split_named(source: str) -> tuple[str, Split | None]:
    """A source without its split, and the split."""
    where, _, last = source.rpartition(":")
    return (where, cast(Split, last)) if where and last in get_args(Split) else (source, None)


def _checked(collection: Collection, *, fix: bool) -> Collection:
    """Say which names no vocabulary has and which slots are swapped, and put these back where it is wanted."""
    notices = [*collection.notices, *unknown_names(one.fields for one in collection.recordings)]
    swapped = [one for one in collection.recordings if _is_swapped(one)]
    named = list(collection.recordings)
    if swapped and fix:
        named = [_mended(one) for one in named]
        notices.append(f"makam and usul were swapped in {counted(len(swapped), 'caption')}, and are put back")
    elif swapped:
        notices.append(
            f"makam and usul are swapped in {counted(len(swapped), 'caption')}, e.g. {_said(swapped[0])!r}; put "
            "them back with --fix-swapped"
        )
    return replace(collection, recordings=tuple(named), notices=tuple(notices))


def _is_swapped(one: Recording) -> bool:
    found = slots_of(one.caption)
    return swapped_fields(one.fields) or (found is not None and found.swapped)


def _mended(one: Recording) -> Recording:
    return replace(one, caption=unswapped(one.caption), fields=unswapped_fields(one.fields))


def _said(one: Recording) -> str:
    return one.caption or f"{', '.join(one.fields['makam'])} makam, {', '.join(one.fields['usul'])} usul"


def _made(source: str, split: Split) -> Collection:
    _, *rest = source.split(":")
    asked = cast(Split, rest[0]) if rest and rest[0] else split
    count = rest[1] if len(rest) > 1 else str(COUNTS.get(asked, 0))
    genre = rest[2] if len(rest) > 2 else None
    if asked not in get_args(Split) or len(rest) > 3 or not count.isdecimal() or int(count) < 1:
        raise InputError(f"{source}: made music is {WORLD}:SPLIT[:COUNT[:GENRE]], e.g. {WORLD}:train:200:raga")
    if genre is not None and genre not in (*world.GENRES, OLD):
        raise InputError(f"{source}: the made genres are {', '.join(world.GENRES)}, and {OLD} for all but the last")
    chosen = None if genre == OLD else genre or world.HELD_OUT
    pieces = [world.piece(asked, number, chosen) for number in range(int(count))]
    front = asked if chosen == world.HELD_OUT else f"{asked}-{genre}"
    named = tuple(Recording(f"{front}{place}", piece, licence="made, free") for place, piece in enumerate(pieces))
    return Collection(f"made {genre or world.HELD_OUT}, {asked}", named)


def _joined(parts: Sequence[Collection]) -> Collection:
    if len(parts) == 1:
        return parts[0]
    every = tuple(one for part in parts for one in part.recordings)
    return Collection(" + ".join(part.name for part in parts), every)
