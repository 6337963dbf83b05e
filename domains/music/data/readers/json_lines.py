"""JSON lines with a recording each: audiocraft's manifests, Mustango's files, Hugging Face's `metadata.jsonl`."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domains.music.data.readers import rows, sidecar
from domains.music.data.readers.texts import MOST_BYTES, text_of
from domains.music.data.recordings import Collection, Files
from suite.errors import InputError

NAMES = ("data.jsonl", "data.jsonl.gz", "metadata.jsonl")


def fits(path: Path) -> bool:
    named = path.name.lower().endswith((".jsonl", ".jsonl.gz"))
    return named or _inside(path) is not None or (path.suffix.lower() == ".json" and _is_lines(path))


def read(path: Path, files: Files) -> Collection:
    """The lines of the file; audiocraft's descriptions are taken from the JSON beside each recording.

    Raises:
        InputError: it cannot be read, or a line is broken; with its number.
    """
    manifest = _inside(path) or path
    if manifest.is_dir():
        raise InputError(f"{path}: the folder holds no JSON lines (data.jsonl, metadata.jsonl); name the file")
    found = []
    # JSON's strings hold other ends of lines as they are, such as U+2028.
    for number, line in enumerate(_text(manifest).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{manifest}: line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is no JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{where} is no JSON object with a path")
        found.append((where, {**_beside(row, files), **row}))
    return rows.collection(manifest.name, found, files)


def _beside(row: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """What audiocraft's JSON of a recording says: the one of its `info_path`, or of the recording's own name."""
    named = row.get("path")
    if not isinstance(named, str) or "sample_rate" not in row:
        return {}
    file = files.find(named)
    return sidecar.row_of(file.with_suffix(".json")) if file is not None else {}


def _text(path: Path) -> str:
    if path.suffix.lower() != ".gz":
        return text_of(path)
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(f"{path}: unpacks to more than {MOST_BYTES / 1e6:.0f} MB; unpack it yourself")
        return content.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path}: cannot be unpacked ({error}); get it anew") from None


def _is_lines(path: Path) -> bool:
    """Whether a `.json` holds a record a line, as Mustango's files do."""
    try:
        with path.open(encoding="utf-8") as file:
            first = json.loads(file.readline(1_000_000))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and rows.knows(first)


def _inside(path: Path) -> Path | None:
    return next((path / name for name in NAMES if (path / name).is_file()), None)
