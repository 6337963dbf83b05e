"""Keep copies of the golden cases that may be kept: tensors and number-only JSON of built kinds, 15 MB in all.

    python -m tests.golden.copy_cases

Text in the cases is other people's, under their own licences; it stays out of the project.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.golden.registry import COPIES, Case, discover, golden_folder, not_built

LIMIT = 15 * 10**6

_NAME = re.compile(r"[\w.,:/+-]{0,80}")


def copyable(path: Path) -> bool:
    """Whether a file holds tensors, or JSON whose values are numbers, under keys that are names and no text."""
    if path.suffix == ".safetensors":
        return True
    return path.suffix == ".json" and _numbers_only(json.loads(path.read_text(encoding="utf-8")))


def chosen(root: Path) -> Iterator[tuple[Case, Path]]:
    """The cases below `root` that may be copied, with the file that each stands for, the smallest first.

    A companion goes only where the case it belongs to goes.
    """
    unbuilt = set(not_built())
    files = {path: case for name, case in discover(root) if (path := root / name).is_file()}
    for path in sorted(files, key=lambda path: (path.stat().st_size, path)):
        case = files[path]
        if case.kind not in unbuilt and copyable(path) and copyable(case.path):
            yield case, path


def main() -> None:
    """Replace the copies."""
    root = golden_folder()
    if root == COPIES:
        sys.exit("no golden cases but our copies: name their folder in GOLDEN_DIR")
    shutil.rmtree(COPIES, ignore_errors=True)
    total = 0
    for _, path in chosen(root):
        total += path.stat().st_size
        if total > LIMIT:
            sys.exit(f"{path.relative_to(root)} and larger cases are left out: the copies would pass {LIMIT:,} bytes")
        target = COPIES / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    print(f"{total:,} bytes in {COPIES}")


def _numbers_only(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_NAME.fullmatch(key) for key in value) and all(map(_numbers_only, value.values()))
    if isinstance(value, list):
        return all(map(_numbers_only, value))
    return value is None or isinstance(value, int | float)


if __name__ == "__main__":
    main()
