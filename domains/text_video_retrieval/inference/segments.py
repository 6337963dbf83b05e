"""A video as segments: cut, decoded, encoded and described, a few at a time whatever the video's length."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.text_video_retrieval.data.frames import MOST_FPS, read_clip
from domains.text_video_retrieval.inference.cutting import Cut, grid, shots
from domains.text_video_retrieval.inference.loaded import Encoder
from domains.text_video_retrieval.inference.store import Segment, VideoRow
from domains.text_video_retrieval.output.strips import thumbnail
from suite.errors import InputError
from suite.media.video import VideoInfo, frame_times, frames_at, probe
from suite.prediction.ahead import ahead
from suite.prediction.loop import batches, reason

BATCH = 4
"""Segments that are encoded together."""
AHEAD = 2
"""Batches that are decoded before they are asked for."""
_PART = 1 << 20


@dataclass(frozen=True)
class Decoded:
    """A segment's frames as the model takes them.

    Attributes:
        frames: (N, 3, side, side). thumbnails: of each frame, as a JPEG's bytes.
    """

    start: float
    end: float
    frames: Tensor
    times: tuple[float, ...]
    thumbnails: tuple[bytes, ...]


@dataclass(frozen=True)
class Prepared:
    """A frame as the model takes it (3, side, side), with its time and its thumbnail, a JPEG's bytes."""

    square: Tensor
    time: float
    thumbnail: bytes


def content_digest(path: Path) -> str:
    """sha256 of a file's size and its first, middle and last mebibyte: enough to know it again, whatever its size."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for place in sorted({0, max(0, size // 2 - _PART // 2), max(0, size - _PART)}):
            file.seek(place)
            digest.update(file.read(_PART))
    return digest.hexdigest()


def described(path: Path, name: str) -> VideoRow:
    """What is known of a file before it is decoded.

    Raises:
        InputError: it is gone or cannot be read.
    """
    try:
        status = path.stat()
        return VideoRow(name, status.st_size, status.st_mtime_ns, content_digest(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def encoded(path: Path, row: VideoRow, encoder: Encoder, cut: Cut) -> tuple[VideoRow, list[Segment]]:
    """A video's row and its segments; one that cannot be read has none, and says why."""
    segments: list[Segment] = []
    try:
        info = probe(path)
        length = info.duration or float(frame_times(path)[-1])
        row = replace(row, **_facts(info, length))
        for batch in ahead(_batches(path, length, encoder, cut), AHEAD):
            segments += _encoded(batch, encoder)
    except InputError as error:
        why = reason(error, str(path))
        return replace(row, status="partial" if segments else "error", error=why), segments
    if not segments:
        return replace(row, status="error", error="holds no frame"), []
    return replace(row, status="short" if _is_short(row, encoder) else "ok"), segments


def _is_short(row: VideoRow, encoder: Encoder) -> bool:
    return bool(row.fps) and row.duration * row.fps < encoder.frames - 0.5


def _facts(info: VideoInfo, length: float) -> dict[str, Any]:
    fps = float(info.fps) if info.fps is not None and 0 < float(info.fps) <= MOST_FPS else 0.0
    return {"duration": length, "fps": fps, "width": info.width, "height": info.height, "codec": info.codec}


def _batches(path: Path, length: float, encoder: Encoder, cut: Cut) -> Iterator[list[Decoded]]:
    """Segments of a video by `BATCH`; of each frame only the model's square and a thumbnail are kept."""
    if length < 1.5 * cut.seconds and cut.by == "time":
        # As in training: the papers' rule over the whole video.
        read = read_clip(path, encoder.frames, rate=encoder.stated.fps)
        own = [_prepared(*one, encoder) for one in zip(read.pictures, read.times, strict=True)]
        yield [_decoded(0.0, length, own)]
        return
    yield from batches((_shots if cut.by == "shots" else _steps)(path, length, encoder, cut), BATCH)


def _steps(path: Path, length: float, encoder: Encoder, cut: Cut) -> Iterator[Decoded]:
    """Segments at equal steps; frames that two of them share are decoded once."""
    steps = grid(length, encoder.frames, cut)
    begins, held = set(steps.first), deque[Prepared](maxlen=encoder.frames)
    for number, frame in enumerate(frames_at(path, steps.times)):
        held.append(_prepared(frame.pixels, frame.time, encoder))
        first = number - encoder.frames + 1
        if first in begins:
            yield _decoded(first * steps.step, (number + 1) * steps.step, held)


def _shots(path: Path, length: float, encoder: Encoder, cut: Cut) -> Iterator[Decoded]:
    found = shots(path, length, cut)
    share = (np.arange(encoder.frames) + 0.5) / encoder.frames
    times = [start + (end - start) * place for start, end in found for place in share.tolist()]
    for (start, end), frames in zip(found, batches(frames_at(path, times), encoder.frames), strict=False):
        yield _decoded(start, end, [_prepared(frame.pixels, frame.time, encoder) for frame in frames])


def _prepared(picture: NDArray[np.uint8], time: float, encoder: Encoder) -> Prepared:
    return Prepared(encoder.look(picture), time, _jpeg(picture))


def _decoded(start: float, end: float, frames: Iterable[Prepared]) -> Decoded:
    frames = list(frames)
    squares = torch.stack([one.square for one in frames])  # (N, 3, side, side)
    return Decoded(start, end, squares, tuple(one.time for one in frames), tuple(one.thumbnail for one in frames))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    held = io.BytesIO()
    thumbnail(picture).save(held, "JPEG", quality=85)
    return held.getvalue()


def _encoded(batch: list[Decoded], encoder: Encoder) -> list[Segment]:
    vectors, frames = encoder.encoded(torch.stack([one.frames for one in batch]))
    segments = []
    for one, vector, own in zip(batch, vectors, frames, strict=True):
        best = int((own @ vector).argmax())
        segments.append(Segment(one.start, one.end, vector, own, one.times, best, one.thumbnails[best]))
    return segments
