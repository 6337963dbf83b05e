"""A server on this machine that answers as GitHub or GitLab does, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from suite.cli.main import main

HEAD, BASE, START = "a" * 40, "b" * 40, "c" * 40
SECRET = "ghp_thisIsNoRealTokenButLooksLikeOne1234"
DIFF = (
    b"diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,4 @@\n x = 1\n+breakpoint()\n y = 2\n z = 3\n"
    b"@@ -20,3 +21,4 @@ def f():\n a = 1\n+eval(a)\n b = 2\n c = 3\n"
)
MERGE = "/api/v4/projects/g%2Fs%2Fp/merge_requests/7"


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

    def merge_request(self, *files: dict[str, Any]) -> None:
        """Have merge request 7 of g/s/p."""
        version = {"id": 3, "base_commit_sha": BASE, "start_commit_sha": START, "head_commit_sha": HEAD}
        self.says(f"GET {MERGE}/versions?per_page=100", [version, {**version, "id": 2, "head_commit_sha": "d" * 40}])
        self.says(f"GET {MERGE}/versions/3", {**version, "diffs": list(files)})
        self.says(f"GET {MERGE}/discussions?per_page=100", [])
        self.says(f"POST {MERGE}/discussions", Answer({"id": "6a9c", "notes": [{"id": 1}]}, 201))


def asked(capsys: Any, *words: str) -> tuple[int, str, str]:
    """What `review` answers; the token never stands in it."""
    code = main(["code_review", "review", *words])
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    return code, said.out, said.err


def only_line(err: str) -> str:
    [line] = err.strip().split("\n")
    assert "Traceback" not in line
    return line


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
