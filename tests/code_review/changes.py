"""Made changes of made files, as git would show them."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

WORDS = (
    "alpha",
    "beta",
    "if x:",
    "return y",
    "    deep = 1",
    "\tTab",
    "",
    "-- dash",
    "++ plus",
    "@@ -1 +1 @@",
    "ü",
    "@me",
)


def content(rng: random.Random, lines: int | None = None) -> bytes:
    """A file with blanks, tabs, text that looks like a diff's own, and any kind of line ends."""
    count = rng.randint(1, 40) if lines is None else lines
    ending = rng.choice(["\n", "\n", "\r\n"])
    text = ending.join(f"{rng.choice(WORDS)} {rng.randint(0, 9)}" if rng.random() < 0.9 else "" for _ in range(count))
    raw = text.encode() + (ending.encode() if rng.random() < 0.8 else b"")
    return raw.replace("ü".encode(), b"\xfc") if rng.random() < 0.2 else raw


def changed(rng: random.Random, raw: bytes) -> bytes:
    """The same file with some lines replaced, added and taken away."""
    lines = raw.split(b"\n")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        kind = rng.random()
        if kind < 0.5:
            lines[at] = f"new {rng.random()}".encode() + (b"\r" if lines[at].endswith(b"\r") else b"")
        elif kind < 0.8:
            lines.insert(at, b"added")
        elif len(lines) > 1:
            del lines[at]
    return b"\n".join(lines)


def git(
    folder: Path, *words: str, given: bytes | None = None, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """A git command that nobody's configuration changes."""
    settings = (
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "-c",
        "core.autocrlf=false",
        "-c",
        "commit.gpgsign=false",
    )
    done = subprocess.run(["git", *settings, *words], cwd=folder, input=given, capture_output=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def repository(folder: Path, files: dict[str, bytes]) -> Path:
    """A work tree with one commit of these files."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    write(folder, files)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, raw in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(raw)
