"""Pictures and videos to aligned faces: what is looked at, which faces are found in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from domains.deepfake.data.alignment import Crop, align, template
from domains.deepfake.data.detection import FILLS, Face, FaceDetector, largest
from domains.deepfake.data.frame_set import open_picture
from domains.deepfake.data.selection import evenly
from domains.deepfake.inference.inputs import paths_in
from domains.deepfake.inference.tracks import OneTrack, Tracks
from domains.deepfake.model.manifest import Manifest
from domains.deepfake.types import PICTURES, FaceChoice, Protocol
from suite.errors import InputError
from suite.media.sheets import Pixels
from suite.media.video import SUFFIXES, Frame, frame_times, frames_at, read_frames
from suite.prediction.inputs import is_live
from suite.prediction.loop import reason

LIVE_FPS = 4.0
"""Frames a second that are looked at of a live source."""

LARGEST_CROP = 512
"""Side in pixels up to which a square picture filled by one face is taken for a crop."""


NEAR = 0.04
"""Of a crop's side: how far its landmarks may lie from a template's on average."""


@dataclass(frozen=True)
class CutFace:
    """A face found in a frame, and its crop.

    Attributes:
        frame: index, None where it is not known. time: seconds, None of a picture.
        track: number of the person through the video.
    """

    face: Face
    crop: Crop
    frame: int | None
    time: float | None
    track: int


@dataclass(frozen=True)
class Looked:
    """One frame that was looked at.

    Attributes:
        cut: its faces. whole: the picture was a crop already.
    """

    pixels: Pixels
    time: float | None
    cut: tuple[CutFace, ...]
    whole: bool = False


def is_video(source: str | Path) -> bool:
    """Whether it is a video or a live source, by its name."""
    return is_live(str(source)) or Path(source).suffix.lower() in SUFFIXES


def look(
    source: str | Path,
    detect: FaceDetector,
    stated: Manifest,
    *,
    frames: int,
    faces: int,
    face: FaceChoice = "all",
) -> Iterator[Looked]:
    """Look at a picture, or at frames of a video in order of time.

    Args:
        frames: of a video, evenly spread; each frame is looked at once. faces: of a frame, the largest.
        face: `largest` takes the one largest of each frame as the same person throughout.

    Raises:
        InputError: it cannot be read.
    """
    faces = 1 if face == "largest" else faces
    if not is_video(source):
        suffix = Path(source).suffix.lower()
        if suffix not in PICTURES:
            raise InputError(
                f"{source}: neither a picture ({', '.join(PICTURES)}) nor a video ({', '.join(SUFFIXES)}) by its name"
                + _fault_of_list(Path(source))
            )
        yield cut_out(np.asarray(open_picture(source)), detect, stated, faces=faces)
        return
    tracks = OneTrack() if face == "largest" else Tracks()
    for index, frame in _chosen(source, frames):
        yield cut_out(frame.pixels, detect, stated, faces=faces, frame=index, time=frame.time, tracks=tracks)


def _fault_of_list(file: Path) -> str:
    """Why a .txt was not taken as a list of inputs."""
    if file.suffix.lower() != ".txt":
        return ""
    try:
        paths_in(file)
    except InputError as error:
        return f", and as a list of inputs: {reason(error, str(file))}"
    return ""


def _chosen(source: str | Path, count: int) -> Iterator[tuple[int | None, Frame]]:
    """Index and frame of those that are looked at."""
    if is_live(str(source)):
        for number, frame in enumerate(read_frames(str(source), fps=LIVE_FPS), 1):
            yield frame.index, frame
            if number == count:
                return
        return
    times = frame_times(source)
    indices = sorted(set(evenly(len(times), count)))
    yield from zip(indices, frames_at(source, [float(times[index]) for index in indices]), strict=True)


def cut_out(
    pixels: Pixels,
    detect: FaceDetector,
    stated: Manifest,
    *,
    faces: int,
    frame: int | None = None,
    time: float | None = None,
    tracks: Tracks | OneTrack | None = None,
) -> Looked:
    """Find and cut the faces of a picture (height, width, 3)."""
    found = largest(detect(pixels), faces)
    whole = detect.id == "crops" or (tracks is None and fills(pixels, found))
    numbers = tracks.take([face.box for face in found]) if tracks is not None else range(len(found))
    cut = []
    for face, number in zip(found, numbers, strict=True):
        crop = Crop(pixels, np.eye(2, 3)) if whole else _aligned(pixels, face, stated)
        if crop is not None:
            cut.append(CutFace(face, crop, frame, time, number))
    return Looked(pixels, time, tuple(cut), whole)


def _aligned(pixels: Pixels, face: Face, stated: Manifest) -> Crop | None:
    protocol: Protocol = "gend" if stated.alignment == "gend" else "deepfakebench"
    try:
        return align(pixels, face.landmarks, protocol, scale=stated.scale)
    except InputError:  # landmarks in one point: no face after all
        return None


def fills(pixels: Pixels, faces: Sequence[Face]) -> bool:
    """Whether a picture is a crop already: square, small, filled by its only face, landmarks where templates have them.

    Of 32 published crops every one passes, by YuNet (landmarks off by 0.026 of the side at most) and by the cascades.
    """
    height, width = pixels.shape[:2]
    if len(faces) != 1 or height != width or height > LARGEST_CROP:
        return False
    [face] = faces
    left, top, right, bottom = face.box
    if max(right - left, bottom - top) <= FILLS * height:
        return False
    protocols: tuple[Protocol, ...] = ("deepfakebench", "gend")
    misses = [np.linalg.norm(face.landmarks - template(name, height), axis=1).mean() for name in protocols]
    return face.estimated or float(min(misses)) < NEAR * height
