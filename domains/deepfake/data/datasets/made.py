"""Frames of the made world, cut by the landmarks that the painter knows."""

from __future__ import annotations

from functools import lru_cache

from PIL import Image

from domains.deepfake.data import world
from domains.deepfake.data.alignment import align
from domains.deepfake.data.frame_set import FrameSet, LabelledFrame, label_of

NAME = "faces"


def read(split: str, clips: int, frames: int = world.FRAMES) -> FrameSet:
    """The frames of the first so many clips of a split.

    Raises:
        InputError: there is no such split.
    """
    listed = [
        LabelledFrame(f"{NAME}/{split}/{family}/{number}/{frame:03d}", label_of(family), family, str(number))
        for number, family in world.cast(split, clips)
        for frame in range(frames)
    ]
    groups: dict[str, tuple[str, ...]] = {}
    real = tuple(frame.path for frame in listed if not frame.label)
    for family in sorted({frame.source for frame in listed if frame.label}):
        groups[family] = (*real, *(frame.path for frame in listed if frame.source == family))

    forgery = {number: family for number, family in world.cast(split, clips + clips % 2) if label_of(family)}

    def opened(frame: LabelledFrame) -> Image.Image:
        number = int(frame.identity)
        crops = _crops(number, forgery[number], frames)[frame.label]
        return Image.fromarray(crops[int(frame.path.rpartition("/")[2])])

    return FrameSet(tuple(listed), opened, groups, title=f"{NAME}:{split}:{clips}")


@lru_cache(maxsize=4096)
def _crops(number: int, family: str, frames: int) -> tuple[list[world.Pixels], ...]:
    """The aligned faces of a real clip and of its forgery: drawing costs more than keeping, 12 KB a frame."""
    return tuple(
        [
            align(frame, points, size=world.CROP, scale=world.SCALE).pixels
            for frame, points in zip(clip.frames, clip.landmarks, strict=True)
        ]
        for clip in world.clips(number, ("real", family), frames=frames)
    )
