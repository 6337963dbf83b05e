"""Lines that git says are changed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from domains.unit_tests.data.python_text import lines_of, read_python
from suite.errors import InputError, first_line

_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


def changed_lines(path: Path, commit: str) -> set[int]:
    """Numbers of a file's lines that are new or other since a commit; all of a file that git does not know yet.

    Raises:
        InputError: the file is in no repository, there is no such commit, or there is no git.
    """
    if commit.startswith("-"):
        raise InputError(f"--changed-since {commit}: is no commit")
    if not _git(path, "ls-files", "--", path.name).strip():
        return set(range(1, len(lines_of(read_python(path))) + 1))
    found: set[int] = set()
    for match in _HUNK.finditer(
        _git(path, "diff", "--unified=0", "--no-color", "--no-ext-diff", commit, "--", path.name)
    ):
        start, count = int(match[1]), int(match[2] or 1)
        # Lines that were taken away change the function that they stood in.
        found |= set(range(start, start + count)) or {start, start + 1}
    return found


def _git(path: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(path.resolve().parent), *words], capture_output=True, check=True)
    except OSError as error:
        raise InputError(f"--changed-since needs git: {error}") from error
    except subprocess.CalledProcessError as error:
        said = first_line(Exception(error.stderr.decode("utf-8", "replace")))
        raise InputError(f"{path}: --changed-since: git says: {said}") from error
    return done.stdout.decode("utf-8", "replace")
