"""Text files with one path of a frame a line: the splits of arXiv 2503.19683 and its successor."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from domains.deepfake.data.frame_set import FrameSet, limited, of_paths
from suite.errors import InputError, first_line
from suite.files import read_text
from suite.prediction.inputs import exists

_SHOWN = 3


def read(lists: Sequence[Path] | Mapping[str, Sequence[Path]], limit: int | None = None) -> FrameSet:
    """The frames of several lists, each once, sorted by bytes.

    Args:
        lists: files, or files by the name of the data set that they are scored as. A path in them is one of this
            machine, or relative to the list's own folder.
        limit: at most so many, by whole videos.

    Raises:
        InputError: a list cannot be read, a path leads out of its folder, or frames are missing; names the first ones.
    """
    named: Mapping[str, Sequence[Path]] = lists if isinstance(lists, Mapping) else {}
    unnamed: Sequence[Path] = () if isinstance(lists, Mapping) else lists
    files = [*unnamed, *(file for several in named.values() for file in several)]
    found = {file: _frames(Path(file)) for file in dict.fromkeys(files)}
    paths = sorted({path for several in found.values() for path in several}, key=os.fsencode)
    if limit is not None:
        paths = limited(paths, limit)
    kept = set(paths)
    groups = {name: [path for file in own for path in found[file] if path in kept] for name, own in named.items()}
    title = ", ".join(str(file) for file in files[:_SHOWN])
    return of_paths(paths, title, groups)


def _frames(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in read_text(file, encoding=None).splitlines()]
    except OSError as error:
        raise InputError(f"{file}: {first_line(error)}; give a text file with one frame a line") from error
    home = file.parent
    paths, missing = [], []
    for line in filter(None, lines):
        if os.path.exists(line) and not _leaves(line):
            paths.append(line)
        elif _leaves(line):
            raise InputError(f"{file}: the path {line} leads out of the list's folder; write it without '..'")
        elif exists(home / line):
            paths.append(f"{home.as_posix()}/{line}")
        else:
            missing.append(line)
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")
        raise InputError(f"{file}: {len(missing)} of {len(missing) + len(paths)} frames are not there: {shown}")
    return paths


def _leaves(path: str) -> bool:
    return ".." in Path(path).parts
