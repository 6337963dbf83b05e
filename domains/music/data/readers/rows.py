"""A row of a table, whatever its columns are called, to a recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from domains.music.data.captions import Fields, names_of, numbered
from domains.music.data.recordings import Collection, Files, Recording, id_of
from domains.music.data.vocabulary import normalised
from domains.music.data.world import Split
from suite.errors import InputError

PATHS = ("path", "audio_path", "file_name", "filename", "file", "location", "audio")
TEXTS = ("text", "caption", "main_caption", "description", "captions", "prompt")
IDS = ("mbid", "recording", "recording_id")
KINDS: Mapping[str, Sequence[str]] = {
    "instruments": ("instruments", "instrument"),
    "raga": ("raga", "ragas", "raag", "raags"),
    "taal": ("taal", "taals"),
    "laya": ("laya", "layas", "laaya"),
    "makam": ("makam", "makams"),
    "usul": ("usul", "usuls"),
}
"""Columns by what they hold, in the words of this project, of Dunya's tables, audiocraft, Mustango and Hugging Face."""


def knows(columns: Iterable[str]) -> bool:
    """Whether a table with these columns names recordings."""
    return any(name in PATHS for name in columns)


def collection(name: str, rows: Iterable[tuple[str, Mapping[str, Any]]], files: Files) -> Collection:
    """The recordings of rows; files that are not there are counted and named.

    Args:
        rows: each with where it stands (`table.csv: line 3`).

    Raises:
        InputError: a row names no file, a time is no number, or no recording is there.
    """
    found, missing = [], []
    for where, row in rows:
        path = _first(row, PATHS)
        if path is None:
            raise InputError(f"{where}: names no recording; one of the columns {', '.join(PATHS[:4])} is needed")
        file = files.find(path)
        if file is None:
            missing.append(path)
            continue
        found.append(_recording(where, row, file))
    if not found:
        wanted = f", e.g. {missing[0]}" if missing else ""
        raise InputError(f"{files.root}: holds none of the {len(missing)} recordings of {name}{wanted}")
    notices = []
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        lost, left = numbered(len(missing), "recordings are missing"), numbered(len(found), "rows are left")
        notices.append(f"{name}: {lost} ({shown}); {left}")
    return Collection(name, tuple(found), tuple(missing), tuple(notices))


def fields_of(row: Mapping[str, Any]) -> Fields:
    """What a row says of instruments, ragas and the like."""
    said = {kind: names_of(_first(row, columns)) for kind, columns in KINDS.items()}
    return {kind: names for kind, names in said.items() if names}


def _recording(where: str, row: Mapping[str, Any], file: Path) -> Recording:
    split = _first(row, ("split",)) or None
    if split is not None and split not in get_args(Split):
        split = {"valid": "val", "validation": "val", "dev": "val"}.get(split)
        if split is None:
            raise InputError(f"{where}: the split {row['split']!r} is none of {', '.join(get_args(Split))}")
    return Recording(
        id=_first(row, IDS) or id_of(file),
        source=file,
        caption=normalised(_first(row, TEXTS) or ""),
        fields=fields_of(row),
        start=_seconds(where, row, "start"),
        end=_seconds(where, row, "end"),
        split=split,  # type: ignore[arg-type]
        licence=normalised(_first(row, ("licence", "license")) or ""),
    )


def _first(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    for name in names:
        value = row.get(name)
        if isinstance(value, list | tuple):
            value = ",".join(str(one) for one in value)
        if value is not None and str(value).strip():
            return str(value).strip()
    return None


def _seconds(where: str, row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value in (None, ""):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{where}: {name} is {value!r}; give seconds, e.g. 12.5")
    return seconds
