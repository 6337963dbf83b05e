"""What becomes of mined pairs before they are written: secrets are masked, and some files are held out."""

from __future__ import annotations

import math
import random
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from suite.errors import InputError

_SECRET = re.compile(r"((?:key|token|secret|password|passwd)\w*\s*[=:]\s*)(['\"])[^'\"]{8,}\2", re.IGNORECASE)


def masked(value: Any) -> Any:
    """A record, or a text, with what looks like a secret in it masked."""
    if isinstance(value, str):
        return _SECRET.sub(r"\1\2***\2", value)
    if isinstance(value, Mapping):
        return {name: masked(one) for name, one in value.items()}
    return [masked(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Split:
    """Which test files are held out: whole ones, since tests of a file are alike.

    Attributes:
        share: of the files. by: `file` draws them by the seed, `time` takes those that were changed last.
    """

    project: Path
    share: float
    by: Literal["file", "time"]
    seed: int = 0

    def parts(self, records: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """The records that stay and those that are held out, in their order.

        Raises:
            InputError: the project has no history to be split by, or there is no file left on one side.
        """
        files = sorted({_file(record) for record in records})
        if not self.share:
            return list(records), []
        count = math.ceil(self.share * len(files))
        if count >= len(files):
            raise InputError(f"--held-out {self.share}: of {len(files)} test files none would stay")
        if self.by == "time":
            changed = _changed(self.project)
            files.sort(key=lambda file: (changed.get(file, math.inf), file))
        else:
            random.Random(self.seed).shuffle(files)
        held = set(files[-count:])
        return [one for one in records if _file(one) not in held], [one for one in records if _file(one) in held]


def _file(record: Mapping[str, Any]) -> str:
    """The test file of a record of either language."""
    return str(record["test_class"]["file"] if "test_class" in record else record["id"].partition("::")[0])


def _changed(project: Path) -> dict[str, float]:
    """When each file of a project was changed last (seconds); those that git does not know are not there."""
    argv = ["git", "-C", str(project), "log", "--relative", "--name-only", "--format=%x00%ct", "-z"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise InputError(f"--by time: there is no git ({error})") from error
    if done.returncode:
        raise InputError(f"--by time: git says: {done.stderr.strip().partition(chr(10))[0]}")
    found: dict[str, float] = {}
    when = 0.0
    for word in done.stdout.replace("\n", "\0").split("\0"):
        if word.isdecimal():
            when = float(word)
        elif word:
            found.setdefault(word, when)
    return found
