"""A web server on the loopback that serves bytes, badly on demand, and speaks enough of the Hugging Face hub's API."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Served:
    """One file and how it is served.

    Attributes:
        cut: bytes after which each of the first `cuts` transfers breaks off.
        pause: seconds between pieces of 64 KiB.
        status: answered instead of the file by the first `failures` requests.
        etag: validator; empty for a server that has none.
        ranges: whether ranges are honoured.
        headers: in place of those that would be right.
    """

    data: bytes
    cut: int = 0
    cuts: int = 0
    pause: float = 0.0
    status: int = 200
    failures: int = 10**9
    location: str = ""
    etag: str = '"1"'
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Site:
    """What the server holds, and what it was asked."""

    address: str = ""
    files: dict[str, Served] = field(default_factory=dict)
    repositories: dict[str, dict[str, Served]] = field(default_factory=dict)
    commits: dict[str, list[dict]] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    strange: dict[str, bytes | list[object] | int] = field(default_factory=dict)  # answers of the API, by repository
    altered: bytes = b""  # put in place of the beginning of every repository's files
    hits: Counter[str] = field(default_factory=Counter)

    def ranges(self, path: str) -> list[str]:
        """The Range header of each GET of a path, empty where there was none."""
        return [asked for method, where, asked in self.requests if (method, where) == ("GET", path)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        site = self.server.site
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        site.requests.append(("POST", path, ""))
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            site.repositories.setdefault(name, {})
            return self._json({"url": f"{site.address}/{name}", "id": name})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", path):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            lines = [json.loads(line) for line in body.splitlines() if line.strip()]
            site.commits.setdefault(found[1], []).extend(lines)
            for line in lines:
                if line["key"] == "file":
                    site.repositories[found[1]][line["value"]["path"]] = Served(
                        base64.b64decode(line["value"]["content"])
                    )
            return self._json(
                {"commitOid": COMMIT, "commitUrl": f"{site.address}/{found[1]}/commit/{COMMIT}", "success": True}
            )
        return self._status(404)

    def _answer(self, body: bool) -> None:
        site = self.server.site
        path = unquote(urlsplit(self.path).path)
        site.requests.append((self.command, path, self.headers.get("Range", "")))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/.*)?", path):
            return self._api(found[1], found[2] or "")
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            served = site.repositories.get(found[1], {}).get(found[3])
            if served:
                served.etag = f'"{_digest(served, found[3])}"'
                sent = served
                if site.altered:
                    sent = replace(served, data=site.altered + served.data[len(site.altered) :])
                return self._file(sent, path, body, {"X-Repo-Commit": COMMIT})
        if served := site.files.get(path):
            return self._file(served, path, body, {})
        return self._status(404)

    def _api(self, name: str, rest: str) -> None:
        files = self.server.site.repositories.get(name)
        strange = self.server.site.strange.get(name)
        if isinstance(strange, int):
            return self._status(strange, {"Location": "/elsewhere"} if strange == 302 else {})
        if isinstance(strange, bytes):
            return self._file(Served(strange, headers={"Content-Type": "text/html"}), "", True, {})
        if strange is not None:
            return self._json({"id": name, "sha": COMMIT, "siblings": strange, "private": False, "tags": []})
        if name.startswith("gated/"):
            return self._status(403, {"X-Error-Code": "GatedRepo"})
        if files is None:
            return self._status(404, {"X-Error-Code": "RepoNotFound"})
        if "/nowhere" in rest:
            return self._status(404, {"X-Error-Code": "RevisionNotFound"})
        if rest.startswith("/tree/"):
            return self._json([{"type": "file", "path": path, **_listing(file, path)} for path, file in files.items()])
        siblings = [
            {"rfilename": path, **_listing(file, path), "blobId": _listing(file, path)["oid"]}
            for path, file in files.items()
        ]
        return self._json(
            {"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "downloads": 0, "tags": []}
        )

    def _file(self, served: Served, path: str, body: bool, extra: dict[str, str]) -> None:
        site = self.server.site
        site.hits[path] += body
        if served.status != 200 and site.hits[path] <= served.failures:
            return self._status(served.status, {"Location": served.location} if served.location else {})
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and served.ranges and self.headers.get("If-Range", served.etag) == served.etag:
            start = int(asked[1])
        if start >= len(served.data) > 0:
            return self._status(416)
        self.send_response(206 if start or "Content-Range" in served.headers else 200)
        headers = {"Content-Length": str(len(served.data) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(served.data) - 1}/{len(served.data)}"
        if served.etag:
            headers["ETag"] = served.etag
        for name, value in (headers | extra | served.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self._send(served, start)

    def _send(self, served: Served, start: int) -> None:
        end = len(served.data)
        if served.cuts:
            served.cuts -= 1
            end = min(end, start + served.cut)
        for at in range(start, end, 2**16):
            self.wfile.write(served.data[at : min(at + 2**16, end)])
            time.sleep(served.pause)
        if end < len(served.data):
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()

    def _json(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _status(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.site = Site(f"http://127.0.0.1:{self.server_address[1]}")

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that go away are part of the tests


def _large(path: str) -> bool:
    return path.endswith((".safetensors", ".bin", ".ckpt"))


def _digest(served: Served, path: str) -> str:
    if _large(path):
        return hashlib.sha256(served.data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(served.data) + served.data).hexdigest()


def _listing(served: Served, path: str) -> dict[str, object]:
    listing: dict[str, object] = {"oid": hashlib.sha1(served.data).hexdigest(), "size": len(served.data)}
    if _large(path):
        listing["lfs"] = {
            "oid": _digest(served, path),
            "sha256": _digest(served, path),
            "size": len(served.data),
            "pointerSize": 134,
        }
    else:
        listing["oid"] = _digest(served, path)
    return listing


@contextmanager
def serving() -> Iterator[Site]:
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
