"""The formats in which recordings and their captions lie: how one is told, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from domains.music.data.readers import folder, json_lines, table
from domains.music.data.recordings import Collection, Files


@dataclass(frozen=True)
class Format:
    """`fits`: whether a path is in it. `read`: its recordings, found below a folder."""

    fits: Callable[[Path], bool]
    read: Callable[[Path, Files], Collection]


FORMATS: Mapping[str, Format] = {
    "table": Format(table.fits, table.read),
    "jsonl": Format(json_lines.fits, json_lines.read),
    "folder": Format(folder.fits, folder.read),
}
"""By name; the first that fits is taken."""
