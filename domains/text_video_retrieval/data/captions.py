"""Pairs of videos and sentences, whatever they were read from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from domains.text_video_retrieval.data.world import Clip
from suite.errors import InputError, one_line
from suite.files import read_text
from suite.media.video import SUFFIXES

Split = Literal["train", "val", "test"]
Part = Literal["train", "val", "test", "train_test"]
"""A split, or `train_test`: the first sentence of every training video, to see how well training itself is known."""


@dataclass(frozen=True)
class Pair:
    """A sentence, and the video or part of one that it describes.

    Attributes:
        video: id. start, end: seconds; None is the whole video.
    """

    video: str
    caption: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class PairSet:
    """The pairs of one split.

    Attributes:
        videos: a file, or a made clip, for each id that pairs name.
        missing: ids that no file was found for; their pairs are left out.
        notices: what is unusual, for people: counts of missing videos, of repeated ids.
        several: a video has several sentences in the test, all of which are right.
        words, frames: that the benchmark's protocol asks for.
        together: so many pairs, one after another, are hard to tell apart, and belong into one batch of training.
    """

    name: str
    pairs: tuple[Pair, ...]
    videos: Mapping[str, Path | Clip]
    missing: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    several: bool = False
    words: int = 32
    frames: int = 12
    together: int = 1

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def numbers(self) -> list[int]:
        """The video of every pair, numbered in the order in which they first appear."""
        known: dict[str, int] = {}
        return [known.setdefault(pair.video, len(known)) for pair in self.pairs]

    def first_sentences(self) -> PairSet:
        """The first pair of every video."""
        first: dict[str, Pair] = {}
        for pair in self.pairs:
            first.setdefault(pair.video, pair)
        return replace(self, name=f"{self.name}, first sentences", pairs=tuple(first.values()))


@dataclass
class Files:
    """The videos below a folder, by their names without suffix and with it."""

    root: Path
    found: dict[str, Path] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)

    @classmethod
    def below(cls, root: Path) -> Files:
        """Walk a folder.

        Raises:
            InputError: there is no such folder.
        """
        if not root.is_dir():
            raise InputError(f"{root}: no such folder of videos")
        files = cls(root)
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                if path.stem in files.found:
                    files.repeated.append(path.stem)
                files.found.setdefault(path.stem, path)
                files.found.setdefault(path.name, path)
        return files

    def get(self, name: str) -> Path | None:
        """The file of an id: of this name, or without its suffix, which may have been another before compression."""
        bare = Path(name).stem if Path(name).suffix.lower() in SUFFIXES else name
        return self.found.get(name) or self.found.get(bare)


def made_set(
    name: str, pairs: Iterable[Pair], files: Files, *, several: bool = False, words: int = 32, frames: int = 12
) -> PairSet:
    """The pairs whose videos are there; those that are not are counted and named.

    Raises:
        InputError: none is there.
    """
    pairs = list(pairs)
    found = {pair.video: files.get(pair.video) for pair in pairs}
    present = [pair for pair in pairs if found[pair.video] is not None]
    missing = [video for video, file in found.items() if file is None]
    if not present:
        wanted = f", e.g. {missing[0]}" if missing else ""
        raise InputError(f"{files.root}: holds none of the {len(missing)} videos of {name}{wanted}")
    notices = []
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        notices.append(f"{name}: {len(missing)} videos are missing ({shown}); {len(present)} pairs are left")
    if files.repeated:
        notices.append(
            f"{files.root}: {len(files.repeated)} names appear twice, e.g. {files.repeated[0]}; the first counts"
        )
    videos = {video: file for video, file in found.items() if file is not None}
    return PairSet(name, tuple(present), videos, tuple(missing), tuple(notices), several, words, frames)


def rows(path: Path, columns: Sequence[str], *, delimiter: str = ",", header: bool = True) -> list[dict[str, str]]:
    """The rows of a table.

    Args:
        columns: that must be there; without a header, what the columns are called in order.

    Raises:
        InputError: the file cannot be read or lacks a column; it is named with its line.
    """
    reader = csv.DictReader(
        io.StringIO(_text(path)), None if header else list(columns), delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if header else csv.QUOTE_NONE,
    )  # fmt: skip
    try:
        known, table = reader.fieldnames or [], [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}: is no table ({error}); columns {', '.join(columns)} are needed") from None
    if lacking := [column for column in columns if column not in known]:
        raise InputError(
            f"{path}: line 1 lacks the column {', '.join(lacking)}; it has {', '.join(known) or 'nothing'}, and "
            f"{', '.join(columns)} are needed"
        )
    if short := next((line for line, row in table if any(row[column] is None for column in columns)), None):
        raise InputError(f"{path}: line {short} has fewer columns than {', '.join(columns)}")
    return [row for _, row in table]


def annotation(path: Path, expected: str, check: Callable[[Any], bool]) -> Any:
    """A JSON file of annotations.

    Args:
        expected: its layout in words. check: whether it has it.

    Raises:
        InputError: it is no JSON, or laid out in another way.
    """
    text = _text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno} is no JSON ({error.msg}); expected {expected}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON ({one_line(error)}); expected {expected}") from None
    try:
        fits = check(content)
    except (KeyError, TypeError, IndexError, AttributeError, StopIteration):
        fits = False
    if not fits:
        raise InputError(f"{path}: is laid out in another way; expected {expected}")
    return content


def listed(path: Path) -> list[str]:
    """The lines of a list of ids.

    Raises:
        InputError: it cannot be read.
    """
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def words(content: Any) -> bool:
    """Whether it is a list of strings."""
    return isinstance(content, list) and all(isinstance(one, str) for one in content)


def _text(path: Path) -> str:
    try:
        return read_text(path, encoding=None)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; get the annotations anew") from error
