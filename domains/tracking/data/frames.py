"""The frames of a sequence by their number: pictures in a folder, a video, or scenes painted when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from domains.tracking.data.pictures import Pixels, picture_size, read_picture
from domains.tracking.data.world import Scene
from suite.media.video import frame_times, frames_at, probe, read_frames


class Frames(Protocol):
    """Frames in order.

    Attributes:
        size: width and height of the first one.
    """

    @property
    def size(self) -> tuple[int, int]: ...

    def __len__(self) -> int: ...

    def picture(self, number: int) -> Pixels:
        """(height, width, 3).

        Raises:
            InputError: it cannot be read.
        """
        ...

    def each(self) -> Iterator[Pixels]:
        """All of them, one at a time."""
        ...


class PictureFrames:
    """Frames that are pictures.

    Args:
        files: in order.
        size: width and height of the first one, where they are known.
    """

    def __init__(self, files: Sequence[Path], size: tuple[int, int] | None = None) -> None:
        self.files, self._size = list(files), size

    @cached_property
    def size(self) -> tuple[int, int]:
        return self._size or picture_size(self.files[0])

    def __len__(self) -> int:
        return len(self.files)

    def picture(self, number: int) -> Pixels:
        return read_picture(self.files[number])

    def each(self) -> Iterator[Pixels]:
        return map(read_picture, self.files)


class VideoFrames:
    """Frames of a video file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """(frames,), seconds."""
        return frame_times(self.path)

    @cached_property
    def size(self) -> tuple[int, int]:
        info = probe(self.path)
        return info.width, info.height

    def __len__(self) -> int:
        return len(self.times)

    def picture(self, number: int) -> Pixels:
        [frame] = frames_at(self.path, [float(self.times[number])])
        return frame.pixels

    def each(self) -> Iterator[Pixels]:
        return (frame.pixels for frame in read_frames(self.path))


class SceneFrames:
    """Frames of the made world; those that are asked for one by one are kept."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._painted = lru_cache(maxsize=64)(scene.picture)

    @property
    def size(self) -> tuple[int, int]:
        return self.scene.width, self.scene.height

    def __len__(self) -> int:
        return len(self.scene)

    def picture(self, number: int) -> Pixels:
        return self._painted(number)

    def each(self) -> Iterator[Pixels]:
        return map(self.scene.picture, range(len(self.scene)))
