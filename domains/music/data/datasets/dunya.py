"""The verb `dunya`: recordings of CompMusic's Dunya and what it knows of them, by their MusicBrainz ids.

Dunya gives them to holders of a token, which is read from the environment and written nowhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

TOKEN = "DUNYA_TOKEN"
"""Environment variable that holds the token."""
SITE = "https://dunya.compmusic.upf.edu"
TABLE = "metadata.csv"
LICENCE = "CompMusic Dunya: for research, not to be passed on; see its terms"

_MBID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LISTS: Mapping[str, Mapping[str, str]] = {
    "hindustani": {"raags": "raga", "taals": "taal", "layas": "laya"},
    "makam": {"makamlist": "makam", "makams": "makam", "usullist": "usul", "usuls": "usul"},
}
_SECONDS = 60


def dunya(
    ids: Path,
    *,
    out: Path,
    tradition: Literal["hindustani", "makam"] = "hindustani",
    site: str = SITE,
) -> dict[str, Any]:
    """Fetch recordings of Dunya and their metadata, for `prepare`.

    Run again, it goes on with what is missing. The token is read from the environment variable DUNYA_TOKEN.

    Args:
        ids: file with a MusicBrainz id a line, or a table with a column mbid.
        out: folder for `<mbid>.mp3` and `metadata.csv`.
        tradition: whose recordings they are.
        site: address of Dunya.

    Raises:
        InputError: there is no token, no id, or Dunya gives nothing at all.
    """
    from suite.errors import InputError
    from suite.files import write_text
    from suite.tables import records_csv

    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise InputError(f"set the environment variable {TOKEN} to your token of Dunya ({SITE}/user/profile)")
    wanted = read_ids(ids)
    rows, failed = [], {}
    for mbid in wanted:
        try:
            rows.append(_fetched(mbid, out, tradition, site.rstrip("/"), token))
        except InputError as error:
            failed[mbid] = str(error)
            if not rows and len(failed) == min(3, len(wanted)):  # a wrong token fails every one
                raise InputError(f"{next(iter(failed.values()))}; nothing was fetched") from None
    table = write_text(out / TABLE, records_csv(rows))
    lines = [f"{len(rows)} recordings in {out}", *(f"note: {why}" for why in failed.values())]
    lines.append(f"next: suite music prepare {table} --out PREPARED --edges 0.2 0.1")
    return {"out": str(out), "recordings": len(rows), "failed": failed, "message": "\n".join(lines)}


def read_ids(path: Path) -> list[str]:
    """The MusicBrainz ids in a file, each once, in its order.

    Raises:
        InputError: it holds none.
    """
    from domains.music.data.readers.texts import text_of
    from suite.errors import InputError

    found = dict.fromkeys(match[0].lower() for match in _MBID.finditer(text_of(path)))
    if not found:
        raise InputError(f"{path}: holds no MusicBrainz id; write one a line")
    return list(found)


def _fetched(mbid: str, out: Path, tradition: str, site: str, token: str) -> dict[str, Any]:
    """The row of a recording, whose file is there when it returns."""
    import json

    from suite.errors import InputError
    from suite.files import atomic_file

    answer = b"".join(_get(f"{site}/api/{tradition}/recording/{mbid}", token, mbid))
    try:
        content = json.loads(answer)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{mbid}: Dunya's answer is no JSON object; try again later")
    file = out / f"{mbid}.mp3"
    if not file.is_file():
        with atomic_file(file) as temporary, temporary.open("wb") as target:
            for block in _get(f"{site}/document/by-id/{mbid}/mp3", token, mbid):
                target.write(block)
    return _row(mbid, content, tradition) | {"audio_path": file.name}


def _row(mbid: str, content: Mapping[str, Any], tradition: str) -> dict[str, Any]:
    row: dict[str, Any] = {"title": str(content.get("title", "")), "mbid": mbid}
    for kind in dict.fromkeys(_LISTS[tradition].values()):
        row[kind] = ""
    for key, kind in _LISTS[tradition].items():
        names = [one.get("name") for one in content.get(key) or [] if isinstance(one, dict)]
        if names := [str(name) for name in names if name]:
            row[kind] = ",".join(names)
    played = [one.get("instrument") for one in content.get("artists") or [] if isinstance(one, dict)]
    instruments = [str(one["name"]) for one in played if isinstance(one, dict) and one.get("name")]
    return row | {"instrument": ",".join(dict.fromkeys(instruments)), "licence": LICENCE}


def _get(address: str, token: str, mbid: str) -> Iterator[bytes]:
    """What an address holds, block by block; the token goes into the header of the request alone."""
    import requests

    from suite.errors import InputError

    try:
        # Requests takes the header off where Dunya sends us elsewhere, so that no other host sees the token.
        with requests.get(
            address, headers={"Authorization": f"Token {token}"}, stream=True, timeout=_SECONDS
        ) as response:
            if response.status_code in (401, 403):
                raise InputError(f"{mbid}: Dunya refuses the token in {TOKEN} (status {response.status_code})")
            if response.status_code != 200:
                raise InputError(f"{mbid}: Dunya answers with status {response.status_code}")
            yield from response.iter_content(2**18)
    except requests.RequestException as error:
        raise InputError(f"{mbid}: Dunya cannot be reached ({type(error).__name__})") from None
