"""Ctrl-C: stop at the next optimiser step, saved, with a word on how to go on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from suite.training.folder import is_follower

ACKNOWLEDGED = b"\nstopping as soon as the run is saved; press Ctrl-C again to stop at once, at the last save\n"


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user; the command line exits with 130.

    Attributes:
        folder: the run's folder, to resume from.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(f"stopped; {folder} holds everything saved so far")
        self.folder = folder


class StopRequested(BaseException):
    """Leaves Lightning's loops once the run is saved.

    Not a KeyboardInterrupt, which Lightning would turn into an exit with code 1; not an Exception, which a recipe
    could swallow.
    """


class StopSignal:
    """Whether the user has asked to stop. The second Ctrl-C does not wait for the next save."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if not is_follower():
            # Not by print: a signal may come in the middle of one, which cannot be begun twice.
            os.write(2, ACKNOWLEDGED)


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Catch Ctrl-C and termination requests in the block; off the main thread nothing can be caught."""
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
