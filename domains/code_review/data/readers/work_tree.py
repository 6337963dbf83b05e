"""Changes of a git work tree, read by git itself with nothing of the user's configuration in the way."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from domains.code_review.types import leaves_tree
from suite.errors import InputError, one_line

SECONDS = 120
LARGEST = 4 * 2**20
"""Bytes of a file that is read to see whether a suggestion fits."""
# What a user may have set changes a diff's form: prefixes, colours, programs that draw it.
_PLAIN = ("-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false", "-c", "core.quotePath=true")
_DIFF = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short", "--full-index", "-M")


def is_work_tree(folder: Path) -> bool:
    """Whether git says that a folder is in a work tree, and at its top."""
    return (folder / ".git").exists()


def diff_of(folder: Path, commits: str | None = None, context: int | None = None) -> tuple[bytes, str]:
    """The diff of a work tree and the revision of its new files; that is empty where they are not committed.

    Args:
        folder: of a work tree, or below one: then only what is in the folder.
        commits: a range as `git diff` takes it; None: everything that is not committed.
        context: unchanged lines around a change; None: as many as git shows.

    Raises:
        InputError: git is not there, or says that the range is none.
    """
    if commits is not None and commits.startswith("-"):
        raise InputError(f"{commits!r} is no range of commits; write e.g. main...HEAD")
    lines = () if context is None else (f"--unified={context}",)
    wanted = _last_commit(folder) if commits is None else commits
    try:
        raw = git(folder, *_DIFF, *lines, wanted, "--", ".")
    except InputError as error:
        if commits is None:
            raise
        raise InputError(
            f"{folder}: git knows no {commits}; give --range as `git diff` takes it, e.g. main...HEAD"
        ) from error
    head = ""
    if commits is not None and ".." in commits:
        last = commits.rpartition("..")[2].lstrip(".") or "HEAD"
        head = _commit(folder, last)
    return raw, head


@dataclass(frozen=True)
class Revisions:
    """The revisions that a diff lies between; empty where nothing tells.

    Attributes:
        base: that its old files are of. start: of the branch that it is to go into. head: that its new files are of.
    """

    base: str = ""
    start: str = ""
    head: str = ""

    def over(self, stated: Revisions) -> Revisions:
        """The same with those that a user states in their place."""
        return Revisions(stated.base or self.base, stated.start or self.start, stated.head or self.head)


def revisions_of(folder: Path, commits: str | None, head: str) -> Revisions:
    """The revisions that a range lies between.

    Args:
        head: that its new files are of.
    """
    if not head or commits is None:
        return Revisions(head=head)
    first, between, _ = commits.partition("..")
    start = _commit(folder, first or "HEAD")
    meets = commits.startswith("...", len(first))
    base = git(folder, "merge-base", start, head).decode().strip() if between and meets else start
    return Revisions(base, start, head)


def diff_since(folder: Path, commit: str, head: str = "") -> bytes:
    """What changed from a commit to the new files of a diff.

    Args:
        head: the revision that those are of; empty: they are not committed.

    Raises:
        InputError: there is no such commit.
    """
    try:
        start = _commit(folder, commit)
    except InputError as error:
        if commit.startswith("-"):
            raise
        raise InputError(f"{folder}: git knows no commit {commit}; give --since e.g. HEAD~1") from error
    return diff_of(folder, f"{start}..{head}" if head else start)[0]


def moment(folder: Path, date: str) -> str:
    """The beginning of a day, as ISO time, of a date as git takes it: `2024-05-01`, `2 weeks ago`.

    Raises:
        InputError: it is no date.
    """
    try:
        day = datetime.fromisoformat(date)
    except ValueError:
        told = git(folder, "rev-parse", f"--since={date}").decode().strip().removeprefix("--max-age=")
        # What git does not understand it takes for now.
        if not told.isdecimal() or not (any(map(str.isdigit, date)) or "yesterday" in date):
            raise InputError(f"{date!r} is no date; write e.g. 2024-05-01 or '2 weeks ago'") from None
        day = datetime.fromtimestamp(int(told), UTC)
    return day.strftime("%Y-%m-%dT00:00:00Z")


def untracked(folder: Path) -> list[str]:
    """Files below a folder that no diff shows: git was not told of them, nor to ignore them."""
    listed = git(folder, "ls-files", "--others", "--exclude-standard", "--full-name", "-z")
    return sorted(name for name in listed.decode("utf-8", "surrogateescape").split("\0") if name)


def _last_commit(folder: Path) -> str:
    """The last commit; the empty tree where there is none yet."""
    try:
        return _commit(folder, "HEAD")
    except InputError:
        return git(folder, "hash-object", "-t", "tree", os.devnull).decode().strip()


def _commit(folder: Path, name: str) -> str:
    """The sha of a revision."""
    if name.startswith("-"):
        raise InputError(f"{name!r} is no revision; write e.g. HEAD~1")
    return git(folder, "rev-parse", "--verify", f"{name}^{{commit}}").decode().strip()


def top_of(folder: Path) -> Path:
    """The top of the work tree that a folder is in.

    Raises:
        InputError: it is in none, or git is not there.
    """
    return Path(git(folder, "rev-parse", "--show-toplevel").decode("utf-8", "surrogateescape").rstrip("\n"))


@dataclass(frozen=True)
class NewFiles:
    """The files that a diff leads to.

    Attributes:
        root: of their work tree. commit: that has them; empty: they are not committed.
    """

    root: Path
    commit: str = ""

    def read(self, path: str) -> bytes | None:
        """A file's content; None where it is not there, is no plain file of the tree, or is very large."""
        if leaves_tree(path):
            return None
        if self.commit:
            try:
                return git(self.root, "show", f"{self.commit}:{path}")
            except InputError:
                return None
        file = self.root / path
        try:
            inside = file.resolve().is_relative_to(self.root.resolve()) and not file.is_symlink() and file.is_file()
            return file.read_bytes() if inside and file.stat().st_size <= LARGEST else None
        except (OSError, ValueError, RuntimeError):
            return None


def git(folder: Path, *words: str) -> bytes:
    """What a git command prints in a folder.

    Raises:
        InputError: git is missing, fails or takes too long; says what it said.
    """
    try:
        done = subprocess.run(["git", *_PLAIN, *words], cwd=folder, capture_output=True, timeout=SECONDS, check=False)
    except FileNotFoundError:
        raise InputError("git is not installed; save the diff to a file and give that") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{folder}: git took more than {SECONDS} s; give a smaller range") from None
    if done.returncode:
        said = one_line(ValueError(done.stderr.decode("utf-8", "replace")))
        raise InputError(f"{folder}: git {words[0]}: {said[:300]}")
    return done.stdout
