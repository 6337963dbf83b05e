"""What a prediction, an index and a search may be asked for. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from suite.errors import InputError
from suite.prediction.options import normalise


@dataclass(frozen=True)
class TextVideoQuery:
    """Options of `predict`, which compares videos with sentences.

    Attributes:
        captions: sentences to compare each video with; without any, a video gives its vector and its pictures alone.
        start: second from which the video counts.
        end: second up to which it counts; to its end where left out.
        fps: frames a second that are candidates.
        frames: of a video; the adapter's where left out.
        interpolate: the adapter's temporal positions, if `frames` is another number than it was trained with.
        picture: whether to draw the frames beside the sentences.
        vector: whether to write the video's vector as `.npy`.
    """

    captions: tuple[str, ...] = ()
    start: float = 0.0
    end: float | None = None
    fps: float = 1.0
    frames: int | None = None
    interpolate: bool = False
    picture: bool = True
    vector: bool = True

    def __post_init__(self) -> None:
        normalise(self, least={"start": 0})
        if not self.fps > 0:
            raise InputError(f"fps is {self.fps}; give a number above 0, e.g. 0.4")
        if self.frames is not None and self.frames < 1:
            raise InputError(f"frames is {self.frames}; give at least 1")
        if self.end is not None and self.end <= self.start:
            raise InputError(f"end is {self.end} s, not after start, {self.start} s")
        for caption in self.captions:
            if not caption.strip():
                raise InputError("a caption is empty; give a sentence")
