"""A table with a recording a row: `path,text`, Dunya's metadata, or Hugging Face's `metadata.csv`."""

from __future__ import annotations

from pathlib import Path

from domains.music.data.readers import rows
from domains.music.data.readers.texts import rows_of
from domains.music.data.recordings import Collection, Files
from suite.errors import InputError

NAMES = ("clips.csv", "metadata.csv", "captions.csv")
SUFFIXES = (".csv", ".tsv")


def fits(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES or _inside(path) is not None


def read(path: Path, files: Files) -> Collection:
    """The rows of the table.

    Raises:
        InputError: it cannot be read, names no recordings, or a row is broken; with its line.
    """
    table = _inside(path) or path
    if table.is_dir():
        raise InputError(f"{path}: the folder holds no table (clips.csv, metadata.csv, captions.csv); name the file")
    columns, given = rows_of(table)
    if not rows.knows(columns):
        held = ", ".join(columns) or "nothing"
        raise InputError(f"{table}: line 1 names {held}; a column path (or audio_path, file_name) is needed")
    name = table.name if table == path else f"{path.name}/{table.name}"  # many folders hold a table of one name
    return rows.collection(name, ((f"{table}: line {line}", row) for line, row in given), files)


def _inside(path: Path) -> Path | None:
    """The table in a folder."""
    return next((path / name for name in NAMES if (path / name).is_file()), None)
