"""Small videos on the disk, of the made world."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from domains.text_video_retrieval.data import world
from suite.media.video_writing import video_writer


def write(path: Path, clips: list[world.Clip], side: int = 64, fps: float = world.FPS) -> Path:
    """One after another in one file, a picture for each frame of a clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer(path, fps) as writer:
        for clip in clips:
            for picture in clip.pictures(side):
                writer.write(picture)
    return path


def made(path: Path, *numbers: int, side: int = 64) -> Path:
    """Test clips of these numbers, of four seconds each."""
    return write(path, [world.clip("test", number, events=2) for number in numbers], side)


def still(path: Path, frames: int = 3) -> Path:
    """A grey picture that lasts a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer(path, 2.0) as writer:
        for _ in range(frames):
            writer.write(np.full((64, 64, 3), 128, np.uint8))
    return path
