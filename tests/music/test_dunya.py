"""Fetching from Dunya: what is asked of it, and that the token goes nowhere else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from domains.music.data.datasets.dunya import dunya
from domains.music.data.sources import read_all
from suite.errors import InputError
from tests.music.made import MBIDS, tone

TOKEN = "secret0token0that0nobody0sees"


class Dunya(BaseHTTPRequestHandler):
    """Answers like Dunya, to the right token alone."""

    mp3 = b""
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.headers.get("Authorization") != f"Token {TOKEN}":
            return self._answer(401, b"{}")
        mbid = self.path.split("/")[-2 if self.path.endswith("/mp3") else -1]
        if mbid == MBIDS[1]:
            return self._answer(404, b"")
        if self.path.endswith("/mp3"):
            return self._answer(200, self.mp3)
        content = {
            "title": "Kar",
            "artists": [{"instrument": {"name": "Oud"}}, {"instrument": {"name": "Oud"}}, {}],
            "makamlist": [{"name": "Nihavent"}],
            "usullist": [{"name": "D\u00fcyek"}],
        }
        return self._answer(200, json.dumps(content).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Dunya, "mp3", tone(tmp_path / "source.mp3", 1.0, rate=16000).read_bytes())
    monkeypatch.setattr(Dunya, "asked", [])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dunya)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def listed(path: Path, *mbids: str) -> Path:
    path.write_text("\n".join(mbids), encoding="utf-8")
    return path


def test_recordings_come_with_what_dunya_knows(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUNYA_TOKEN", TOKEN)
    ids = listed(tmp_path / "ids.txt", MBIDS[0], MBIDS[1], MBIDS[2], MBIDS[0].upper())
    said = dunya(ids, out=tmp_path / "out", tradition="makam", site=site)
    assert said["recordings"] == 2
    assert "status 404" in said["failed"][MBIDS[1]]
    held = read_all(tmp_path / "out")
    assert {one.id for one in held.recordings} == {MBIDS[0], MBIDS[2]}
    assert held.recordings[0].fields == {"instruments": ("Oud",), "makam": ("Nihavent",), "usul": ("Düyek",)}
    assert "CompMusic Dunya" in held.licences[0]
    # The token is in no file and in nothing that is said.
    assert TOKEN not in str(said)
    for path in (tmp_path / "out").iterdir():
        assert TOKEN.encode() not in path.read_bytes()
    # Run again, it fetches no recording twice.
    before = sum(path.endswith("/mp3") for path in Dunya.asked)
    dunya(ids, out=tmp_path / "out", tradition="makam", site=site)
    assert sum(path.endswith("/mp3") for path in Dunya.asked) == before


@pytest.mark.parametrize("token", ["", "wrong1token"])
def test_a_missing_and_a_wrong_token(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("DUNYA_TOKEN", token)
    ids = listed(tmp_path / "ids.txt", *MBIDS[:5])
    with pytest.raises(InputError, match="DUNYA_TOKEN") as refusal:
        dunya(ids, out=tmp_path / "out", site=site)
    assert not token or token not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_no_id_and_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUNYA_TOKEN", TOKEN)
    with pytest.raises(InputError, match="holds no MusicBrainz id"):
        dunya(listed(tmp_path / "ids.txt", "nothing"), out=tmp_path / "out")
    with pytest.raises(InputError, match="cannot be reached") as refusal:
        dunya(listed(tmp_path / "ids.txt", MBIDS[0]), out=tmp_path / "out", site="http://127.0.0.1:9")
    assert TOKEN not in str(refusal.value)
    assert not (tmp_path / "out").exists()
