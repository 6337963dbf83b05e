"""A server on this machine that answers as GitHub does, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

HEAD, BASE = "a" * 40, "b" * 40


@dataclass
class Answer:
    """What the server says. seconds: it waits before it does."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Hub:
    """The server.

    Attributes:
        answers: by method and path, with the end of `Accept` behind it where that matters; the last of several
            answers is given again and again.
        asked: what was asked, in order.
    """

    address: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def says(self, what: str, *answers: Answer | Any) -> None:
        self.answers[what] = [one if isinstance(one, Answer) else Answer(one) for one in answers]

    def paths(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.asked]

    def pull_request(self, diff: bytes, **more: Any) -> None:
        """Have pull request 7 of o/r."""
        told = {"number": 7, "head": {"sha": HEAD}, "base": {"sha": BASE}, **more}
        self.says("GET /repos/o/r/pulls/7 json", told)
        self.says("GET /repos/o/r/pulls/7 diff", diff)
        self.says("GET /repos/o/r/pulls/7/comments?per_page=100", [])
        self.says("POST /repos/o/r/pulls/7/reviews", {"id": 1, "html_url": "https://github.com/o/r/pull/7#review-1"})


@contextmanager
def hub() -> Iterator[Hub]:
    """A server that runs inside the block."""
    own = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            own.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            form = self.headers.get("Accept", "").rpartition(".")[2].rpartition("+")[2]
            what = f"{self.command} {self.path}"
            waiting = own.answers.get(f"{what} {form}") or own.answers.get(what) or [_NOT_FOUND]
            found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if found.seconds:
                released.wait(found.seconds)
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.raw)))
            self.end_headers()
            self.wfile.write(found.raw)

        do_GET = do_POST = _answer

        def log_message(self, *words: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *words: object) -> None: ...  # a client that went away is no fault

    released = Event()
    server = Server(("127.0.0.1", 0), Handler)
    own.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield own
    finally:
        released.set()
        server.shutdown()
        server.server_close()


_NOT_FOUND = Answer({"message": "Not Found"}, 404)
