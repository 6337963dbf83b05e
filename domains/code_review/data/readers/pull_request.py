"""A saved answer of GitHub's about a pull request's files: a list of objects with `filename`, `status` and `patch`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from domains.code_review.data.readers.paths import quoted
from suite.errors import InputError

_KNOWN = ("added", "removed", "modified", "renamed", "copied", "changed", "unchanged")


def is_saved_answer(raw: bytes) -> bool:
    """Whether bytes are a JSON list of objects that name files, and so no diff."""
    if raw.lstrip()[:1] != b"[" or b'"filename"' not in raw:
        return False
    try:
        found = json.loads(raw)
    except ValueError:
        return False
    return isinstance(found, list) and all(isinstance(one, dict) for one in found)


def diff_of_answer(raw: bytes) -> bytes:
    """The diff that `GET /repos/{owner}/{repo}/pulls/{number}/files` answers with, put together from its parts.

    Raises:
        InputError: an object lacks its file's name, or is of a form that is not known; says which.
    """
    return diff_of_files(json.loads(raw), "the saved answer")


def diff_of_files(files: Sequence[dict[str, Any]], where: str) -> bytes:
    """The same of objects that are read already.

    Args:
        where: they come from, for messages.
    """
    text = "".join(_file(one, f"file {number} of {where}") for number, one in enumerate(files, 1))
    return text.encode("utf-8", "surrogateescape")


def _file(one: dict[str, Any], where: str) -> str:
    name, status, patch = one.get("filename"), one.get("status", "modified"), one.get("patch")
    if not isinstance(name, str) or status not in _KNOWN or not isinstance(patch, str | None):
        raise InputError(f"{where}: expected filename, status and patch, found {shown(one)}")
    old = one.get("previous_filename", name)
    if not isinstance(old, str):
        raise InputError(f"{where}: previous_filename is no string")
    lines = [f"diff --git {quoted(f'a/{old}')} {quoted(f'b/{name}')}"]
    if status == "added":
        lines.append("new file mode 100644")
    if status == "removed":
        lines.append("deleted file mode 100644")
    if status in ("renamed", "copied"):
        word = "rename" if status == "renamed" else "copy"
        lines += [f"{word} from {quoted(old)}", f"{word} to {quoted(name)}"]
    if patch is None:
        # GitHub shows no patch of a binary file, nor of one that is too large.
        if status not in ("renamed", "unchanged", "changed"):
            lines.append(f"Binary files {quoted(f'a/{old}')} and {quoted(f'b/{name}')} differ")
        return "\n".join([*lines, ""])
    lines.append("--- /dev/null" if status == "added" else f"--- {quoted(f'a/{old}')}{tab_behind(old)}")
    lines.append("+++ /dev/null" if status == "removed" else f"+++ {quoted(f'b/{name}')}{tab_behind(name)}")
    return "\n".join([*lines, patch.rstrip("\n"), ""])


def tab_behind(name: str) -> str:
    """What git puts behind a name with blanks."""
    return "\t" if " " in name else ""


def shown(one: dict[str, Any]) -> str:
    """The keys of an object, for a message."""
    return ", ".join(map(str, list(one)[:8])) or "nothing"
