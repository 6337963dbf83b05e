"""`python -m tests.domains.listening RECORD WORD ... [+ WORD ...]`: calls of the command, and who wrote what.

Whatever reaches standard output or standard error is passed on. What was written by other hands than the suite's, from
Python or past it, is listed in RECORD as it comes, so that a killed call has left its list too.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(str(ROOT / name) + os.sep for name in ("suite", "domains", "tests"))
# They write on behalf of whoever calls them.
HANDS = (sysconfig.get_path("stdlib") + os.sep, str(Path(sysconfig.get_path("purelib"), "rich")) + os.sep)


class Listener(TextIOWrapper):
    """A stream that notes what others write to it, from Python or below, until it is closed."""

    def __init__(self, descriptor: int, record: TextIO) -> None:
        self.record, self.descriptor, self.real = record, descriptor, os.dup(descriptor)
        self.reader, writer = os.pipe()
        os.dup2(writer, descriptor)
        os.close(writer)
        self.thread = threading.Thread(target=self._pass_on, daemon=True)
        self.thread.start()
        super().__init__(os.fdopen(os.dup(self.real), "wb"), encoding="utf-8", line_buffering=True)

    def _pass_on(self) -> None:
        while piece := os.read(self.reader, 65536):
            os.write(self.real, piece)
            if piece.strip():
                print(f"{piece!r} past Python", file=self.record, flush=True)

    def write(self, text: str) -> int:
        writer = _writer(sys._getframe(1))
        if text.strip() and not writer.startswith(OURS):
            print(f"{text!r} by {writer}", file=self.record, flush=True)
        return super().write(text)

    def fileno(self) -> int:
        return self.descriptor

    def stop(self) -> None:
        """Give the descriptor back, which ends the pipe."""
        self.flush()
        os.dup2(self.real, self.descriptor)
        self.thread.join()


def _writer(frame: FrameType | None) -> str:
    while frame is not None:
        name = frame.f_code.co_filename
        if "site-packages" in name.removeprefix(HANDS[0]) and not name.startswith(HANDS[1]):
            return name
        if not name.startswith(HANDS) and not name.startswith("<"):
            return name
        frame = frame.f_back
    return "?"


def main(argv: list[str]) -> int:
    path, *words = argv
    code = 0
    with open(path, "w", encoding="utf-8") as record:
        sys.stdout, sys.stderr = streams = Listener(1, record), Listener(2, record)
        from suite.cli.main import main as suite

        while words and not code:
            end = words.index("+") if "+" in words else len(words)
            code = suite(words[:end])
            words = words[end + 1 :]
        for stream in streams:
            stream.stop()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
