"""GitLab's answers about a merge request's files: objects with `old_path`, `new_path` and `diff`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from domains.code_review.data.readers.paths import quoted
from domains.code_review.data.readers.pull_request import shown, tab_behind
from suite.errors import InputError

_LISTS = ("changes", "diffs")
"""Where the objects are, in answers that hold more than them."""


def is_saved_changes(raw: bytes) -> bool:
    """Whether bytes are JSON of GitLab's that names files, and so no diff."""
    if raw.lstrip()[:1] not in (b"[", b"{") or b'"new_path"' not in raw:
        return False
    try:
        return bool(_files(json.loads(raw)))
    except (ValueError, RecursionError):
        return False


def diff_of_saved(raw: bytes) -> tuple[bytes, dict[str, str]]:
    """What `diff_of_changes` makes of a saved answer: of `/diffs`, `/changes`, `/versions/{id}`, or of a comparison.

    Raises:
        InputError: an object is of a form that is not known; says which.
    """
    return diff_of_changes(_files(json.loads(raw)), "the saved answer")


def diff_of_changes(files: Sequence[dict[str, Any]], where: str) -> tuple[bytes, dict[str, str]]:
    """The diff of files, put together from its parts; and the files that GitLab shows nothing of, with the reason.

    Args:
        where: they come from, for messages.

    Raises:
        InputError: an object lacks its file's names, or is of a form that is not known; says which.
    """
    parts: list[str] = []
    unseen: dict[str, str] = {}
    for number, one in enumerate(files, 1):
        old, new, diff = (one.get(name) for name in ("old_path", "new_path", "diff"))
        if not (isinstance(old, str) and isinstance(new, str) and isinstance(diff, str | None)):
            raise InputError(f"file {number} of {where}: expected old_path, new_path and diff, found {shown(one)}")
        if not diff and (one.get("too_large") or one.get("collapsed")):
            unseen[new] = "GitLab does not show its diff, it is too large"
        else:
            parts.append(_part(one, old, new, diff or ""))
    return "".join(parts).encode("utf-8", "surrogateescape"), unseen


def _part(one: dict[str, Any], old: str, new: str, diff: str) -> str:
    made, gone = bool(one.get("new_file")), bool(one.get("deleted_file"))
    if made:
        old = new
    modes = [str(one.get(name) or "100644") for name in ("a_mode", "b_mode")]
    lines = [f"diff --git {quoted(f'a/{old}')} {quoted(f'b/{new}')}"]
    if made:
        lines.append(f"new file mode {modes[1]}")
    elif gone:
        lines.append(f"deleted file mode {modes[0]}")
    elif modes[0] != modes[1]:
        lines += [f"old mode {modes[0]}", f"new mode {modes[1]}"]
    if old != new:
        lines += [f"rename from {quoted(old)}", f"rename to {quoted(new)}"]
    # Older versions put the two names before the first hunk.
    start = 0 if diff.startswith("@@") else diff.find("\n@@") + 1
    if diff.startswith("@@") or start:
        lines.append("--- /dev/null" if made else f"--- {quoted(f'a/{old}')}{tab_behind(old)}")
        lines.append("+++ /dev/null" if gone else f"+++ {quoted(f'b/{new}')}{tab_behind(new)}")
        return "\n".join([*lines, diff[start:].rstrip("\n"), ""])
    return "\n".join([*lines, *([diff.rstrip("\n")] if diff.startswith("Binary files") else []), ""])


def _files(told: Any) -> list[dict[str, Any]]:
    if isinstance(told, dict):
        told = next((told[name] for name in _LISTS if isinstance(told.get(name), list)), None)
    return told if isinstance(told, list) and all(isinstance(one, dict) and "new_path" in one for one in told) else []
