"""Videos of coloured squares that move, and a follower that needs no model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from domains.tracking.data.pictures import Pixels
from domains.tracking.predict import VideoTracker
from domains.tracking.types import Box, TrackedBox, TrackQuery
from suite.media.video_writing import video_writer

WIDTH, HEIGHT, FRAMES, FPS, SIDE = 96, 64, 12, 20, 14
RED, BLUE = (230, 60, 40), (60, 90, 230)
FIRST: Box = (10.0, 12.0, SIDE, SIDE)
SECOND: Box = (70.0, 40.0, SIDE, SIDE)


def red(frame: int) -> Box:
    return FIRST[0] + 3 * frame, FIRST[1] + frame, SIDE, SIDE


def blue(frame: int) -> Box:
    return SECOND[0] - 2 * frame, SECOND[1], SIDE, SIDE


def picture(frame: int, width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """A red square that goes right and down, a blue one that goes left."""
    pixels = np.full((height, width, 3), (40, 70, 45), np.uint8)
    for box, colour in ((blue(frame), BLUE), (red(frame), RED)):
        x, y, w, h = map(int, box)
        pixels[y : y + h, max(0, x) : max(0, x + w)] = colour
    return pixels


def video(path: Path, frames: int = FRAMES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer(path, FPS) as writer:
        for frame in range(frames):
            writer.write(picture(frame))
    return path


def folder(path: Path, frames: int = FRAMES, form: str = "{:08d}.png") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for frame in range(frames):
        Image.fromarray(picture(frame)).save(path / form.format(frame + 1))
    return path


class ColourFollower:
    """Follows what has the colour of the first box's middle: the middle of it, within reach of the last place."""

    def __init__(self, query: TrackQuery | None = None) -> None:
        self.known: dict[str, tuple[Pixels, Box]] = {}

    def add(self, name: str, frame: Pixels, box: Box) -> None:
        x, y, w, h = box
        self.known[name] = frame[int(y + h / 2), int(x + w / 2)].astype(int), box

    def remove(self, name: str) -> None:
        del self.known[name]

    def track(self, frame: Pixels) -> Mapping[str, TrackedBox]:
        found = {}
        for name, (colour, (x, y, w, h)) in self.known.items():
            near = np.abs(frame.astype(int) - colour).max(-1) < 60
            rows, columns = np.nonzero(near)
            reach = (abs(columns - x - w / 2) < 3 * w) & (abs(rows - y - h / 2) < 3 * h)
            if not reach.any():
                found[name] = TrackedBox((x, y, w, h), 0.1, "lost")
                continue
            middle = columns[reach].mean() + 0.5, rows[reach].mean() + 0.5
            box = (float(middle[0] - w / 2), float(middle[1] - h / 2), w, h)
            self.known[name] = colour, box
            found[name] = TrackedBox(box, 0.9)
        return found


TRACKER = VideoTracker(ColourFollower, "colours")
