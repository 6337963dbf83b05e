"""A detector that no training made, and media for it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.deepfake import DeepfakeDetector
from domains.deepfake.data import world
from suite.media.video_writing import video_writer
from tests.deepfake.small import write_adapter, write_base


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter, and media: a face, a video of it, pictures and a video without any."""
    folder = tmp_path_factory.mktemp("home")
    write_adapter(write_base(folder / "base"), folder / "adapter", noise=0.3)
    media = folder / "media"
    media.mkdir()
    clip = world.clip(77, "splice", frames=6, size=160)
    Image.fromarray(clip.frames[0]).save(media / "face.png")
    blank = np.full((120, 120, 3), 90, dtype=np.uint8)
    Image.fromarray(blank).save(media / "nobody.jpg")
    for name, shown in (("clip.mp4", clip.frames), ("empty.mkv.mp4", [blank] * 4)):
        with video_writer(media / name, Fraction(10)) as writer:
            for frame in shown:
                writer.write(frame)
    return folder


@pytest.fixture(scope="session")
def detector(home: Path) -> DeepfakeDetector:
    return DeepfakeDetector.from_pretrained(str(home / "adapter"), base=str(home / "base"), device="cpu")
