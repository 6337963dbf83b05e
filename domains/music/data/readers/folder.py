"""A folder of recordings: the caption of each from the text or the JSON of the same name, else from its tags."""

from __future__ import annotations

from pathlib import Path

from domains.music.data.readers import rows, sidecar
from domains.music.data.recordings import Collection, Files, Recording, id_of
from suite.errors import InputError
from suite.media import audio


def fits(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in audio.SUFFIXES


def read(path: Path, files: Files) -> Collection:
    """Every recording of the folder, or the one that is named.

    Raises:
        InputError: there is none, or what lies beside one is broken.
    """
    paths = files.all() if path.is_dir() else [path]
    if not paths:
        raise InputError(f"{path}: the folder holds no recording ({', '.join(audio.SUFFIXES[:7])}, ...)")
    found: list[Recording] = []
    unread: dict[str, str] = {}
    for one in paths:
        try:
            info = audio.probe(one)
        except InputError as error:
            if not path.is_dir():
                raise
            unread[str(one.relative_to(path))] = str(error).removeprefix(f"{one}: ")
            continue
        found.append(_recording(one, info))
    if not found:
        raise InputError(next(iter(unread.values())))
    return Collection(str(path), tuple(found), unread=unread)


def _recording(path: Path, info: audio.AudioInfo) -> Recording:
    row = sidecar.row_of(path.with_suffix(".json"))
    fields = rows.fields_of(row)
    said = sidecar.text_of(path) or str(row.get("text", "")) or ("" if fields else sidecar.from_tags(info))
    licence = str(row.get("licence") or row.get("license") or sidecar.licence_in(info))
    return Recording(str(row.get("mbid") or id_of(path)), path, said, fields, licence=licence)
