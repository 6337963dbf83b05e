"""Labelled frames of aligned faces: what every data set becomes before a model sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from domains.deepfake.types import PICTURES
from suite.errors import InputError, first_line
from suite.media.greys import eight_bits, is_deep

REAL, FAKE = 0, 1


@dataclass(frozen=True)
class LabelledFrame:
    """One picture of one aligned face.

    Attributes:
        path: of the picture, or what a made one is called; its folder is the video.
        label: 0 real, 1 manipulated.
        source: name of the forgery, or of the origin of real videos.
        identity: who is to be seen, as far as the data set tells.
    """

    path: str
    label: int
    source: str
    identity: str = ""

    @property
    def video(self) -> str:
        """The video's whole path: two videos of one name in two sources are two."""
        return self.path.rpartition("/")[0]


@dataclass(frozen=True)
class FrameSet:
    """Frames of one split.

    Attributes:
        frames: in the order of the split.
        open: the picture of a frame, RGB.
        groups: names of parts that are scored apart, each with the paths of its frames.
        notices: what the user should know, one line each.
        title: in words, for cards and tables.
        missing: videos of the split without a frame, as one that is not there: no face was found in them.
    """

    frames: tuple[LabelledFrame, ...]
    open: Callable[[LabelledFrame], Image.Image]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    title: str = ""
    missing: tuple[LabelledFrame, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def labels(self) -> np.ndarray:
        """(frames,), int64."""
        return np.array([frame.label for frame in self.frames], dtype=np.int64)

    @property
    def videos(self) -> list[str]:
        """The videos' paths in the order of their first frames."""
        return list(dict.fromkeys(frame.video for frame in self.frames))

    def sources(self) -> dict[str, int]:
        """A number for each source: 0 for every real one, then the forgeries by name."""
        forged = sorted({frame.source for frame in self.frames if frame.label == FAKE})
        numbers = {source: number for number, source in enumerate(forged, 1)}
        return {frame.source: numbers.get(frame.source, 0) if frame.label else 0 for frame in self.frames}


def open_picture(frame: LabelledFrame | str | Path) -> Image.Image:
    """A picture file, RGB, turned as its camera says.

    Raises:
        InputError: it cannot be read, or claims more pixels than PIL allows.
    """
    path = Path(frame.path if isinstance(frame, LabelledFrame) else frame)
    if path.suffix.lower() == ".heic":
        _teach_heic(path)
    try:
        with Image.open(path) as image:
            turned = ImageOps.exif_transpose(image)
            return eight_bits(turned) if is_deep(turned) else turned.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        why = first_line(error) if not isinstance(error, UnidentifiedImageError) else "not a picture"
        raise InputError(f"{path}: cannot be read as a picture ({why})") from error


def _teach_heic(path: Path) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise InputError(f"{path}: HEIC needs a decoder; pip install pillow-heif, or convert it to PNG") from error
    register_heif_opener()


def source_of(path: str) -> str:
    """The source: the third component from the end, `.../<source>/<video>/<frame>`.

    Raises:
        InputError: the path has fewer components.
    """
    parts = path.split("/")
    if len(parts) < 3:
        raise InputError(f"{path}: a frame lies in <source>/<video>/<frame>; move it there")
    return parts[-3]


def video_ids(path: str) -> tuple[str, str]:
    """Video and identity from the folder `A_B` of a frame: A, and B up to the next underscore; else its name twice."""
    name = path.split("/")[-2]
    parts = name.split("_")
    return (parts[0], parts[1]) if len(parts) > 1 else (name, name)


def label_of(source: str) -> int:
    """0 where the name of the source says `real`, else 1 (arXiv 2503.19683's data sets)."""
    return REAL if "real" in source else FAKE


def of_paths(paths: Iterable[str], title: str = "", groups: Mapping[str, Sequence[str]] | None = None) -> FrameSet:
    """Frames labelled by the folder of their source; the order stays.

    Raises:
        InputError: no source is real.
    """
    frames = []
    for path in paths:
        source = source_of(path)
        frames.append(LabelledFrame(path, label_of(source), source, video_ids(path)[1]))
    if frames and all(frame.label == FAKE for frame in frames):
        where = f"{title}: " if title else ""
        raise InputError(f"{where}no real source found; label is taken from the folder name: it must contain 'real'")
    kept = {name: tuple(own) for name, own in (groups or {}).items()}
    return FrameSet(tuple(frames), open_picture, kept, title=title)


def list_hash(paths: Iterable[str]) -> str:
    """A hash of frames by `<source>/<video>/<frame>`: the same wherever their folder lies, in whatever order."""
    known = sorted({"/".join(path.split("/")[-3:]) for path in paths})
    return sha256("\n".join(known).encode()).hexdigest()


def limited(paths: Sequence[str], limit: int) -> list[str]:
    """At most so many of sorted paths, whole videos in a fixed random order, the last one cut.

    Args:
        paths: sorted by bytes.
    """
    by_video: dict[str, list[str]] = {}
    for path in paths:
        by_video.setdefault(path.rpartition("/")[0] + "/", []).append(path)
    videos = sorted(by_video)
    np.random.RandomState(42).shuffle(videos)  # NumPy's legacy generator, as released
    chosen: list[str] = []
    for video in videos:
        chosen += by_video[video]
        if len(chosen) >= limit:
            break
    return chosen[:limit]


def shuffled(frames: FrameSet) -> FrameSet:
    """The frames in the one random order that the released code validates in."""
    order = np.random.RandomState(42).permutation(len(frames))
    return replace(frames, frames=tuple(frames.frames[number] for number in order))


def joined(parts: Mapping[str, Sequence[FrameSet]]) -> FrameSet:
    """Several sets as one, each frame once; a part with a name is scored apart too."""
    openers: dict[str, Callable[[LabelledFrame], Image.Image]] = {}
    frames: dict[str, LabelledFrame] = {}
    groups: dict[str, tuple[str, ...]] = {}
    sets = [one for several in parts.values() for one in several]
    for one in sets:
        groups |= one.groups
        for frame in one.frames:
            frames.setdefault(frame.path, frame)
            openers.setdefault(frame.path, one.open)
    for name, several in parts.items():
        if name:
            groups[name] = tuple(dict.fromkeys(frame.path for one in several for frame in one.frames))
    return FrameSet(
        tuple(frames.values()),
        # One opener for all, where all are files: the data module knows their folders.
        open_picture if {one.open for one in sets} == {open_picture} else lambda frame: openers[frame.path](frame),
        groups,
        tuple(notice for one in sets for notice in one.notices),
        ", ".join(one.title for one in sets),
        tuple(video for one in sets for video in one.missing),
    )


def pictures_in(folder: Path) -> list[str]:
    """The pictures directly in a folder, sorted by bytes; posix paths."""
    if not folder.is_dir():
        return []
    return sorted(file.as_posix() for file in folder.iterdir() if file.suffix.lower() in PICTURES)
