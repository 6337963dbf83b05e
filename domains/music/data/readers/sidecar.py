"""What lies beside a recording and says what it is: a text, Saraga's or audiocraft's JSON, and the tags inside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domains.music.data.readers.texts import text_of as read
from suite.errors import InputError
from suite.media.audio import AudioInfo

SARAGA = "CC BY-NC 4.0 (Saraga, Music Technology Group, UPF)"

_OF_A_TOOL = re.compile(
    r"(processed|encoded|created|exported|ripped|converted|generated|recorded|made|downloaded)\b|lavf|lame|https?:|www\.",
    re.IGNORECASE,
)
"""Comments that say how the file came about, and nothing of the music."""

_LISTS = {"raags": "raga", "raaga": "raga", "taals": "taal", "taala": "taal", "layas": "laya"}


def row_of(path: Path) -> dict[str, Any]:
    """The row that a JSON of one recording makes; empty where there is none, or it is of something else.

    Raises:
        InputError: it is no JSON.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(read(path))
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error})") from None
    if not isinstance(content, dict):
        return {}
    return saraga(content) if _is_saraga(content) else audiocraft(content)


def saraga(content: Mapping[str, Any]) -> dict[str, Any]:
    """Saraga's JSON: who plays what, ragas, taals and layas by their names with diacritics."""
    row: dict[str, Any] = {"licence": SARAGA}
    if content.get("mbid"):
        row["mbid"] = str(content["mbid"])
    for key, kind in _LISTS.items():
        entries = content.get(key) or []
        names = [one.get("name") or one.get("common_name") for one in entries if isinstance(one, dict)]
        if names := [name for name in names if name]:
            row[kind] = names
    played = [one for one in content.get("artists") or [] if isinstance(one, dict)]
    played.sort(key=lambda one: not one.get("lead"))
    instruments = [(one.get("instrument") or {}).get("name") for one in played]
    row["instruments"] = list(dict.fromkeys(name for name in instruments if name))
    return row


def audiocraft(content: Mapping[str, Any]) -> dict[str, Any]:
    """audiocraft's JSON: its description, else what its other fields say, in the order in which they are merged."""
    row = {key: content[key] for key in ("mbid", "licence", "license") if content.get(key)}
    said = content.get("description")
    if not said:
        parts = {key: content.get(key) for key in ("genre", "moods", "instrument", "key", "bpm", "keywords")}
        shown = {key: ", ".join(map(str, one)) if isinstance(one, list) else one for key, one in parts.items()}
        said = ". ".join(f"{key}: {one}" for key, one in shown.items() if one)
    return {**row, "text": str(said)} if said else row


def text_of(path: Path) -> str:
    """The caption in the file of the same name that ends in `.txt`; empty where there is none."""
    beside = path.with_suffix(".txt")
    return " ".join(read(beside).split()) if beside.is_file() else ""


def from_tags(info: AudioInfo) -> str:
    """A caption from a recording's own tags: its description, else genre, title and artist, else a comment on it."""
    if info.tags.get("description"):
        return info.tags["description"]
    said = [info.tags[name] for name in ("genre", "title", "artist") if info.tags.get(name)]
    comment = info.tags.get("comment", "")
    return ", ".join(said) or ("" if _OF_A_TOOL.match(comment) else comment)


def licence_in(info: AudioInfo) -> str:
    """The licence that a recording's tags state."""
    return next((info.tags[name] for name in ("license", "licence", "copyright") if info.tags.get(name)), "")


def _is_saraga(content: Mapping[str, Any]) -> bool:
    return "artists" in content and any(key in content for key in _LISTS)
