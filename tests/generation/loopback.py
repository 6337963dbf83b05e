"""A server on this machine that speaks OpenAI's protocol as a test wants it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]


@dataclass
class Loopback:
    """Where it is, and what it was asked: (path, body, headers) of each request."""

    address: str
    asked: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for path, body, _ in self.asked if path != "/v1/models"]


def models(*names: str, room: int | None = 2048) -> dict[str, Any]:
    """What vLLM says of a base and of the adapters on it."""
    rows = [{"id": name, "parent": names[0] if number else None} for number, name in enumerate(names)]
    return {"data": [row | ({"max_model_len": room} if room else {}) for row in rows]}


@contextmanager
def serving(reply: Callable[[str, dict[str, Any]], Reply]) -> Iterator[Loopback]:
    """Answer with what `reply` makes of path and body: a status and what becomes JSON, or bytes as they are."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            loopback.asked.append((self.path, body, dict(self.headers)))
            status, content = reply(self.path, body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            with suppress(ConnectionError):  # whoever asked may have gone
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    loopback = Loopback(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield loopback
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
