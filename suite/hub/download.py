"""Download one file from the web: pooch checks and places it, the transfer itself resumes where it broke off."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from suite.errors import InputError
from suite.hub import checksums, paths, trouble
from suite.hub.references import Url

if TYPE_CHECKING:
    from requests import Response

# Seconds to connect, and to wait for the next bytes of a transfer under way.
TIMEOUT = (10.0, 30.0)
# How often a transfer that got nothing new is tried again, and the seconds before the first retry (doubled each time).
RETRIES = 4
PAUSE = 1.0
_BLOCK = 2**16
_DIGITS = 15  # of a length: a petabyte less one
_BUSY = (408, 425, 429, 500, 502, 503, 504)


def fetch(url: Url) -> Path:
    """The file that an address names, in the cache and of the expected sha256 where one is given.

    Raises:
        InputError: it cannot be reached (with the command to run when online), does not exist, has another sha256, or
            does not fit on the disk. What arrived of a broken transfer is kept to go on from; nothing else is.
    """
    import filelock

    folder = paths.cache() / "downloads" / hashlib.sha256(url.address.encode()).hexdigest()[:20]
    target = folder / _file_name(url.address)
    with trouble.disk_full_as_input_error(str(url), folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Of several processes that want the file, one downloads it and the others wait.
        with filelock.FileLock(folder / ".lock"):
            if not _cached(url, target):
                _download(url, target)
    return target


def cached(url: Url) -> Path | None:
    """Where the file is if it was downloaded before; looks at no network."""
    folder = paths.cache() / "downloads" / hashlib.sha256(url.address.encode()).hexdigest()[:20]
    target = folder / _file_name(url.address)
    return target if target.is_file() else None


def _cached(url: Url, target: Path) -> bool:
    if not target.is_file():
        return False
    if url.sha256:
        try:
            checksums.check(target.parent, {target.name: url.sha256}, name="", remedy="")
        except InputError:
            target.unlink()
            return False
    return True


def _download(url: Url, target: Path) -> None:
    import pooch

    if trouble.declared_offline():
        raise trouble.offline(url, _host(url.address), "HF_HUB_OFFLINE is set")
    # pooch tells at INFO that it downloads, which our progress bar shows, and what the sha256 was.
    pooch.get_logger().setLevel("WARNING")
    transfer = _Transfer(url, target.with_name(f".{target.name}.part"))
    for again in (False, True):
        try:
            pooch.retrieve(
                url.address,
                known_hash=f"sha256:{url.sha256}" if url.sha256 else None,
                fname=target.name,
                path=target.parent,
                downloader=transfer,
            )
            return
        except ValueError as error:
            if isinstance(error, InputError) or not transfer.sha256:
                raise
            # pooch found another hash and deleted the file. A resumed one may have joined two versions: one more try.
            if again or not transfer.resumed:
                raise InputError(
                    f"{url.address} has sha256 {transfer.sha256}, not the expected {url.sha256}; nothing was kept: "
                    "ask whoever gave you the address or the sha256 which of them is wrong"
                ) from error


class _Transfer:
    """A pooch downloader that keeps what has arrived in a part file and asks the server for the rest."""

    def __init__(self, url: Url, part: Path) -> None:
        self.url = url
        self.part = part
        self.notes = part.with_name(part.name + ".json")
        self.resumed = False
        self.sha256 = ""

    def __call__(self, address: str, output: str | os.PathLike[str], _pooch: object) -> None:
        import requests

        broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, _BusyError)
        self.resumed = self._have() > 0
        idle = 0
        while True:
            before = self._have()
            try:
                self._receive(address)
                break
            except requests.exceptions.SSLError as error:
                raise InputError(f"{address} cannot be trusted: {_first_line(error)}") from error
            except broken as error:
                idle = 0 if self._have() > before else idle + 1
                if idle > RETRIES:
                    raise self._gave_up(error) from error
                time.sleep(PAUSE * 2 ** max(idle - 1, 0))
                self.resumed = self.resumed or self._have() > 0
            except requests.RequestException as error:
                raise InputError(f"{address} cannot be fetched: {_first_line(error)}") from error
            except OSError:
                # A full disk: what has arrived would keep it full.
                self._forget()
                raise
        self.sha256 = checksums.sha256(self.part)
        os.replace(self.part, output)
        self._forget()

    def _receive(self, address: str) -> None:
        """Bring the part file from what it has to the whole."""
        import requests
        from tqdm import tqdm

        have = self._have()
        headers = {"Accept-Encoding": "identity", **self._range(have)}
        with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as response:
            self._check(response, address)
            if response.status_code == 416:  # what we have is not a beginning of what the server has now
                self._forget()
                raise _BusyError("the file has changed on the server")
            if response.status_code == 206 and not (have and _starts_at(response, have)):
                self._forget()
                if not have:
                    raise InputError(f"{address}: the server sends a part of the file, unasked; fetch it by hand")
                raise _BusyError("it sends another part of the file than was asked for")
            start = have if response.status_code == 206 else 0
            rest = _length(response, address)
            total = None if rest is None else start + rest
            trouble.need_space(self.part.parent, (total or 0) - start, str(self.url))
            self._remember(response)
            bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=_file_name(address), disable=None)
            with self.part.open("r+b" if start else "wb") as out, bar:
                out.seek(start)
                out.truncate()
                for block in response.iter_content(_BLOCK):
                    out.write(block)
                    bar.update(len(block))
            if total is not None and self._have() != total:
                raise _BusyError(f"{self._have()} of {total} bytes arrived")

    def _check(self, response: Response, address: str) -> None:
        insecure = [step.url for step in (*response.history, response) if not step.url.startswith("https:")]
        if address.startswith("https:") and insecure and not self.url.sha256:
            raise InputError(f"{address} leads to {insecure[0]}, which is not encrypted; add #sha256=… to accept that")
        if response.status_code in _BUSY:
            raise _BusyError(f"it answers {response.status_code} {response.reason}")
        if response.status_code in (401, 403):
            raise InputError(
                f"{address} answers {response.status_code} {response.reason}: it is not public; fetch it by hand"
            )
        if response.status_code >= 400 and response.status_code != 416:
            raise InputError(f"{address} answers {response.status_code} {response.reason}; check the address")

    def _range(self, have: int) -> dict[str, str]:
        """Ask for the rest if the server's validator or our sha256 can tell that it is the rest of the same file."""
        validator = self._noted().get("validator")
        if not have or not (validator or self.url.sha256):
            return {}
        return {"Range": f"bytes={have}-", **({"If-Range": validator} if validator else {})}

    def _remember(self, response: Response) -> None:
        tag = response.headers.get("ETag", "")
        # A weak tag promises the same meaning, not the same bytes.
        validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        self.notes.write_text(json.dumps({"address": self.url.address, "validator": validator}), encoding="utf-8")

    def _noted(self) -> dict[str, Any]:
        try:
            noted = json.loads(self.notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _forget(self) -> None:
        for path in (self.part, self.notes):
            with suppress(FileNotFoundError):
                path.unlink()

    def _gave_up(self, error: Exception) -> InputError:
        host = _host(self.url.address)
        if not self._have():
            self._forget()
            return trouble.offline(self.url, host, str(error) if isinstance(error, _BusyError) else "")
        return InputError(
            f"the connection to {host} broke after {trouble.megabytes(self._have())} of {self.url}; "
            f"what arrived is kept, go on with: suite adapters pull {self.url}"
        )


class _BusyError(Exception):
    """The server answers, but not with what was asked: worth another try."""


def _length(response: Response, address: str) -> int | None:
    """How many bytes follow; None where the server does not say.

    Raises:
        InputError: it says what no length can be. Waiting for it would take for ever.
    """
    said: str | None = response.headers.get("Content-Length")
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and len(said) <= _DIGITS):
        raise InputError(f"{address}: the server gives the file's length as {said[:60]!r}; ask whoever runs it")
    return int(said)


def _starts_at(response: Response, offset: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _file_name(address: str) -> str:
    """The last part of the address's path as a plain file name."""
    name = unquote(urlsplit(address).path.rstrip("/").rpartition("/")[2])
    return re.sub(r"[^\w.\-]", "_", name).lstrip(".")[-128:] or "file"


def _host(address: str) -> str:
    return urlsplit(address).netloc.rpartition("@")[2]


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
