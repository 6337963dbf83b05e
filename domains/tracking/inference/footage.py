"""What users hand to a tracker, as frames with times: videos, cameras, streams, folders and patterns of pictures."""

from __future__ import annotations

import glob
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from domains.tracking.data.frames import PictureFrames, VideoFrames
from domains.tracking.data.pictures import (
    SUFFIXES,
    Pixels,
    checked_order,
    frame_files,
    natural,
    picture_size,
    read_picture,
)
from domains.tracking.data.readers.first_boxes import Start, read_first_boxes
from domains.tracking.data.sequences import AnnotatedSequence, to_xywh
from domains.tracking.data.sources import is_set, open_set
from suite.errors import InputError
from suite.media import video
from suite.media.video import Frame, probe, read_frames
from suite.prediction.ahead import ahead
from suite.prediction.inputs import STDIN, is_live

PICTURE_FPS = 25.0
"""Frames a second of pictures in a folder, where nothing says it."""

AHEAD = 4
"""Frames that are read before the model asks for them."""


@dataclass(frozen=True)
class FootageFrame:
    """One frame, or the reason why there is none.

    Attributes:
        index: from 0. time: seconds from the first one. skipped: frames of a live source that were passed over before.
    """

    index: int
    time: float
    pixels: Pixels | None
    why: str = ""
    skipped: int = 0


@dataclass(frozen=True)
class Footage:
    """One input, opened.

    Attributes:
        name: what results are called after. size: width and height of the first frame.
        live: it has no known end.
        starts: objects that something beside the frames tells of: the first line of its ground truth.
        frames: how many there are; None where that is not known.
        each: reads them from the first on, once.
    """

    source: str
    name: str
    size: tuple[int, int]
    fps: Fraction | float
    each: Callable[[], Iterator[FootageFrame]]
    live: bool = False
    starts: tuple[Start, ...] = ()
    frames: int | None = None
    truth: AnnotatedSequence | None = None

    def shots(self, *, newest: bool = False) -> Iterator[FootageFrame]:
        """The frames, read beside whoever uses them.

        Args:
            newest: of a live source, whatever is not used in time is passed over.
        """
        if newest and self.live:
            return _newest(self.each())
        return ahead(self.each(), AHEAD)


def open_footage(source: str | Path, *, fps: float | None = None, sequence: str | None = None) -> Footage:
    """Open an input.

    Args:
        source: path of a video, of a folder of frames, or of a data set with `sequence`; a pattern of pictures
            (`frames/*.jpg`); `webcam`, `webcam:1` or a number for a camera; the address of a stream; `-`.
        fps: of pictures.
        sequence: of a data set's folder, the sequence of this name.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    text = str(source)
    if text.isdecimal() and not Path(text).exists():
        text = f"webcam:{text}"
    if is_live(text) or text == STDIN:
        return _of_video(text, live=True)
    path = Path(text).expanduser()
    if sequence is not None:
        return _of_sequence(text, path, sequence, fps)
    if not path.exists() and glob.has_magic(text):
        return _of_pattern(text, fps)
    if not path.exists():
        raise InputError(f"{text}: no such file or folder; check the path")
    if path.is_dir():
        return _of_folder(text, path, fps)
    if path.suffix.lower() in SUFFIXES:
        raise InputError(f"{text}: is one picture; give a video, or the folder of its frames")
    return _of_video(text)


def _of_video(source: str, live: bool = False) -> Footage:
    if live:
        # Probing takes a stream's first frames, and a pipe cannot be read twice: it is opened once, and looked into.
        return _opened_once(source)
    info = probe(source)
    path = Path(source)
    beside = path.with_suffix(".txt")
    return Footage(
        source,
        path.stem,
        (info.width, info.height),
        info.fps or info.real_fps or PICTURE_FPS,
        lambda: _shots(read_frames(source)),
        starts=_first_line(beside) if beside.is_file() else (),
        frames=info.frames,
    )


def _opened_once(source: str) -> Footage:
    frames = read_frames(source)
    try:
        first = next(frames)
    except StopIteration:
        raise InputError(f"{source}: ended before its first frame; check the stream") from None
    height, width = first.pixels.shape[:2]

    def each() -> Iterator[FootageFrame]:
        yield FootageFrame(0, first.time, first.pixels)
        for index, frame in enumerate(frames, 1):
            yield FootageFrame(index, frame.time, frame.pixels)

    name = "stdin" if source == STDIN else "".join(c if c.isalnum() else "_" for c in source).strip("_")
    return Footage(source, name, (width, height), PICTURE_FPS, each, live=True)


def _shots(frames: Iterator[Frame]) -> Iterator[FootageFrame]:
    return (FootageFrame(index, frame.time, frame.pixels) for index, frame in enumerate(frames))


def _of_folder(source: str, path: Path, fps: float | None) -> Footage:
    """A folder of frames, or of one annotated sequence."""
    pictures = [one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and not one.name.startswith(".")]
    if not pictures or (path / "groundtruth.txt").is_file():
        if not pictures and not is_set(path):
            videos = [one.name for one in path.iterdir() if one.suffix.lower() in video.SUFFIXES]
            advice = f"; name a video in it, e.g. {videos[0]}" if videos else ""
            raise InputError(f"{source}: holds no frame that ends in {', '.join(SUFFIXES)}{advice}")
        found = open_set(str(path))
        if len(found) > 1:
            names = ", ".join(one.name for one in found.sequences[:3])
            raise InputError(f"{source}: holds {len(found)} sequences; choose one with --sequence ({names}, ...)")
        return _of_annotated(source, found.sequences[0], fps)
    return _of_pictures(source, path.resolve().name, frame_files(path), fps)


def _of_sequence(source: str, path: Path, name: str, fps: float | None) -> Footage:
    if not path.is_dir():
        raise InputError(f"{source}: is no folder, so that it has no sequence {name!r}; leave out --sequence")
    found = {one.name: one for one in open_set(str(path), split="test").sequences}
    if name not in found:
        near = ", ".join(list(found)[:3])
        raise InputError(f"{source}: has no sequence {name!r} among its {len(found)}, e.g. {near}")
    return _of_annotated(source, found[name], fps)


def _of_annotated(source: str, one: AnnotatedSequence, fps: float | None) -> Footage:
    starts = []
    for name, track in one.tracks.items():
        x, y, width, height = to_xywh(track.boxes[track.first][None])[0].tolist()
        starts.append(Start(name, (x, y, width, height), track.first))
    if isinstance(one.frames, VideoFrames):
        return replace(_of_video(str(one.frames.path)), source=source, starts=tuple(starts), truth=one)
    assert isinstance(one.frames, PictureFrames)
    footage = _of_pictures(source, one.name, one.frames.files, fps or one.fps)
    return replace(footage, starts=tuple(starts), truth=one)


def _of_pattern(pattern: str, fps: float | None) -> Footage:
    files = sorted((Path(name) for name in glob.glob(str(Path(pattern).expanduser()))), key=natural)
    files = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not files:
        raise InputError(f"{pattern}: no picture is called so; check the pattern")
    return _of_pictures(pattern, files[0].parent.resolve().name or "frames", checked_order(files, pattern), fps)


def _of_pictures(source: str, name: str, files: Sequence[Path], fps: float | None) -> Footage:
    rate = fps or PICTURE_FPS

    def each() -> Iterator[FootageFrame]:
        for index, file in enumerate(files):
            try:
                yield FootageFrame(index, index / rate, read_picture(file))
            except InputError as error:
                yield FootageFrame(index, index / rate, None, str(error))

    size = next((size for size in map(_size, files) if size is not None), None) or picture_size(files[0])
    return Footage(source, name, size, rate, each, frames=len(files))


def _size(file: Path) -> tuple[int, int] | None:
    try:
        return picture_size(file)
    except InputError:
        return None


def _first_line(path: Path) -> tuple[Start, ...]:
    # Beside a video lies the truth of all its frames.
    return tuple(read_first_boxes(path)[:1])


def _newest(shots: Iterator[FootageFrame]) -> Iterator[FootageFrame]:
    """Of what a thread reads, always the newest."""
    waiting: queue.Queue[FootageFrame | BaseException | None] = queue.Queue(1)
    stopped = threading.Event()

    def put(one: FootageFrame | BaseException | None) -> None:
        passed = 0
        try:
            old = waiting.get_nowait()
            if isinstance(old, FootageFrame):
                passed = old.skipped + 1
        except queue.Empty:
            pass
        waiting.put(replace(one, skipped=passed) if isinstance(one, FootageFrame) else one)

    def read() -> None:
        try:
            for shot in shots:
                if stopped.is_set():
                    return
                put(shot)
            end: BaseException | None = None
        except BaseException as error:  # raised again where the frames are asked for
            end = error
        while not stopped.is_set():
            with suppress(queue.Full):
                waiting.put(end, timeout=0.1)
                return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            one = waiting.get()
            if one is None:
                return
            if isinstance(one, BaseException):
                raise one
            yield one
    finally:
        stopped.set()
