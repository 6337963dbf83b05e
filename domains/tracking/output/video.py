"""Copies of a video with what was found drawn on, written while it is tracked; a few frames for a still picture."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from domains.tracking.output.boxes import Pixels, drawn
from domains.tracking.output.panels import ScoreLine, View, panel
from domains.tracking.types import FrameResult
from suite.media.video_writing import VideoWriter, video_writer

_STEP = 1e-4
"""Seconds between two frames at least."""

PANEL = 360
"""Least height of the copy with a panel, pixels."""

STILLS = 6
"""Frames of the still picture."""


class Copies:
    """The annotated copies of one video.

    Args:
        boxes: the file of the copy of the same size. panels: of the one with what the tracker looked at beside it.
        size: width and height of the first frame; what is of another size later is scaled to it.
    """

    def __init__(
        self, size: tuple[int, int], fps: Fraction | float, boxes: Path | None = None, panels: Path | None = None
    ) -> None:
        self._stack, self._size = ExitStack(), size
        self._boxes = self._opened(boxes, fps)
        self._panels = self._opened(panels, fps)
        self._line, self._places = ScoreLine(), dict[str, int]()
        self._last = -1.0
        self.files = [path for path in (boxes, panels) if path is not None]

    def write(
        self, picture: Pixels, time: float, result: FrameResult | None, views: Mapping[str, View] | None = None
    ) -> None:
        """Add a frame; `result` is None before tracking begins."""
        shown = picture
        if result is not None:
            for name in result.objects:
                self._places.setdefault(name, len(self._places))
            self._line.add({name: found.score for name, found in result.objects.items()})
            shown = drawn(picture, result.objects, self._places)
        shown = scaled(shown, self._size)
        # Cameras and damaged files give two frames the same time, which no video can hold.
        time = max(time, self._last + _STEP)
        self._last = time
        if self._boxes is not None:
            self._boxes.write(shown, time)
        if self._panels is not None:
            # Small frames are enlarged, so that the panel beside them can be read.
            height = max(PANEL, self._size[1])
            large = scaled(shown, (round(self._size[0] * height / self._size[1]), height))
            beside = panel(views or {}, self._line, self._places, height)
            self._panels.write(np.concatenate([large, beside], axis=1), time)

    def finish(self) -> list[Path]:
        """Write what the encoders hold; the files appear."""
        self._stack.close()
        return self.files

    def drop(self) -> None:
        """Give up: nothing appears."""
        self._stack.__exit__(_Dropped, _Dropped(), None)

    def _opened(self, path: Path | None, fps: Fraction | float) -> VideoWriter | None:
        return None if path is None else self._stack.enter_context(video_writer(path, fps))


class _Dropped(Exception):
    """What a video writer sees when its file shall not appear."""


def scaled(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """The picture at another size, where it has not got that already."""
    if picture.shape[1::-1] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


class Stills:
    """A few frames spread evenly over a video whose length is not known before its end."""

    def __init__(self, most: int = STILLS) -> None:
        self._most, self._every, self._seen = most, 1, 0
        self.kept: list[tuple[Pixels, FrameResult]] = []

    def add(self, picture: Pixels, result: FrameResult) -> None:
        if self._seen % self._every == 0:
            if len(self.kept) == 2 * self._most:
                self.kept, self._every = self.kept[::2], 2 * self._every
            if self._seen % self._every == 0:
                self.kept.append((picture, result))
        self._seen += 1

    def chosen(self) -> list[tuple[Pixels, FrameResult]]:
        """At most as many as were asked for."""
        places = np.linspace(0, len(self.kept) - 1, min(self._most, len(self.kept))).round().astype(int)
        return [self.kept[place] for place in places]
