"""A run of untrusted code: what it may use, what is held off from it, and how it is watched until it ends."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

MEGABYTE = 2**20
BROKEN = 125
"""Exit code where the place of a run could not be made; no program in it ends with that."""
LATE = 124
"""Exit code where a container's own clock ended the program; no program ends with that, either."""


@dataclass(frozen=True)
class Limits:
    """What a run may use.

    Attributes:
        seconds: by the clock; after that everything that it started is killed.
        processor: seconds of processor time of one process.
        memory: bytes of address space of one process.
        file: bytes of a file. disk: bytes of all files, which lie in memory.
        processes: that are alive at once. files: that are open in one process.
        output: bytes of each of the two streams; more ends the run.
    """

    seconds: float = 20.0
    processor: int = 20
    memory: int = 1024 * MEGABYTE
    file: int = 16 * MEGABYTE
    disk: int = 64 * MEGABYTE
    processes: int = 64
    files: int = 256
    output: int = MEGABYTE


@dataclass(frozen=True)
class Isolation:
    """What is held off on this machine.

    Attributes:
        namespaces: processes, files and network are its own.
        network: no network is there. memory: address space is limited. processes: their number is.
        reason: why the namespaces are not there; empty where they are.
    """

    namespaces: bool
    network: bool
    memory: bool
    processes: bool
    reason: str = ""

    def rows(self) -> dict[str, str]:
        """What `doctor` shows."""
        states = {True: "enforced", False: "not enforced"}
        shown = {
            "files": states[self.namespaces],
            "process tree": states[self.namespaces],
            "network": states[self.network],
            "memory": states[self.memory],
            "number of processes": states[self.processes],
        }
        return shown | ({"why not": self.reason} if self.reason else {})


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: exit code; negative: the signal that ended it.
        reason: empty, `timeout`, or `output` where it printed more than it may.
        stdout, stderr: as far as they were kept.
        seconds: by the clock.
    """

    code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    reason: str = ""

    @property
    def last_line(self) -> str:
        """Of the errors that it told."""
        return self.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]


def rlimits(limits: Limits, own_users: bool) -> dict[str, int]:
    """What the kernel holds every process to, by the names of `RLIMIT_...`.

    Args:
        own_users: nobody else's processes run under the user.
    """
    found = {
        "CPU": limits.processor,
        "AS": limits.memory,
        "FSIZE": limits.file,
        "NOFILE": limits.files,
        "CORE": 0,
    }
    # Of a user that others' processes run under, too, this would count those.
    return found | ({"NPROC": limits.processes} if own_users else {})


def watched(argv: Sequence[str], limits: Limits, cwd: str, env: Mapping[str, str]) -> Ended:
    """Run, read both streams up to their limits, and kill the whole group when the time is over."""
    started = time.monotonic()
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err, reason = _read(process, limits, started + limits.seconds)
    finally:
        _kill(process)
    return Ended(process.returncode, out, err, time.monotonic() - started, reason)


def _read(process: subprocess.Popen[bytes], limits: Limits, deadline: float) -> tuple[bytes, bytes, str]:
    """Both streams of a process that ends by itself, or as far as they came before the reason to end it."""
    assert process.stdout is not None and process.stderr is not None
    taken: dict[int, bytearray] = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    reason = ""
    with process.stdout, process.stderr, selectors.DefaultSelector() as waiting:
        for stream in (process.stdout, process.stderr):
            os.set_blocking(stream.fileno(), False)
            waiting.register(stream, selectors.EVENT_READ)
        while waiting.get_map() and not reason:
            if (left := deadline - time.monotonic()) <= 0:
                reason = "timeout"
                break
            for key, _ in waiting.select(timeout=left):
                piece = os.read(key.fd, 65536)
                if not piece:
                    waiting.unregister(key.fileobj)
                    continue
                kept = taken[key.fd]
                kept += piece[: limits.output - len(kept)]
                if len(kept) >= limits.output:
                    reason = "output"
        if not reason:
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                reason = "timeout"
    out, err = map(bytes, taken.values())
    return out, err, reason


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the group; with a process namespace everything in it ends with its first process."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
