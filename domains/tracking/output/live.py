"""Frames shown while they are tracked: a page for a browser on this machine (Motion JPEG over HTTP)."""

from __future__ import annotations

import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from PIL import Image

from domains.tracking.output.boxes import Pixels
from suite.errors import InputError

_BOUNDARY = "frame"


class LivePage:
    """The newest frame, for every browser that asks.

    Args:
        port: of this machine; 0 for any that is free. Nobody else's machine can reach it.

    Raises:
        InputError: the port is taken.
    """

    def __init__(self, port: int) -> None:
        self._frame, self._number = b"", 0
        self._changed = threading.Condition()
        self._open = True
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise InputError(f"--mjpeg {port}: the port cannot be had ({error.strerror}); give another") from error
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def show(self, picture: Pixels) -> None:
        """Make this the newest frame."""
        encoded = io.BytesIO()
        Image.fromarray(picture).save(encoded, "JPEG", quality=85)
        with self._changed:
            self._frame, self._number = encoded.getvalue(), self._number + 1
            self._changed.notify_all()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        handler.send_header("Cache-Control", "no-store")
        handler.end_headers()
        seen = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._number > seen or not self._open)  # noqa: B023
                if not self._open:
                    return
                frame, seen = self._frame, self._number
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame)}\r\n\r\n"
            try:
                handler.wfile.write(head.encode() + frame + b"\r\n")
            except OSError:  # the browser went away
                return
