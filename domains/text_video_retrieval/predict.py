"""From videos and sentences to how near they are: files through a CLIP and its adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from domains.text_video_retrieval.data.frames import read_clip
from domains.text_video_retrieval.inference.loaded import Encoder
from domains.text_video_retrieval.output.result import VideoResult
from domains.text_video_retrieval.types import TextVideoQuery
from suite.errors import InputError
from suite.media.video import SUFFIXES
from suite.prediction.folder import ResultFolder, Table, whole_record
from suite.prediction.inputs import Names, expanded, several, slug
from suite.prediction.loop import each, only, reason


class VideoMatcher:
    """Videos in, their vectors and the nearest sentences out.

    >>> matcher = VideoMatcher.from_pretrained("tiny")
    >>> matcher("clip.mp4", captions=["a dog runs", "a man juggles"]).best
    """

    suffixes = SUFFIXES

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Self:
        """Load a base and an adapter; see `Encoder.from_pretrained`."""
        return cls(Encoder.from_pretrained(adapter, base, device, dtype))

    def __call__(self, video: str | Path, **options: Any) -> VideoResult:
        """One video; options are the fields of `TextVideoQuery`.

        Raises:
            InputError: it cannot be read.
        """
        return only(self.predict([video], **options))

    def predict(
        self, inputs: Any, *, out: ResultFolder | str | Path | None = None, **options: Any
    ) -> Iterator[VideoResult]:
        """Yield one result a video, in order; one that cannot be read yields one with `error`.

        Args:
            inputs: paths of videos and of folders of them.
            out: folder of the results; without it they are only yielded.
            **options: the fields of `TextVideoQuery`.

        Raises:
            InputError: an option is out of its range.
        """
        query, names = TextVideoQuery(**options), Names()
        inputs, encoder = list(several(inputs)), self.encoder.on(query.frames, interpolate=query.interpolate)
        vectors, notices = encoder.texts(query.captions) if query.captions else (None, ())
        folder = ResultFolder.of(out).beside(inputs).summarise(Table("predictions", whole_record, jsonl=True))

        def failed(path: Any, why: str) -> VideoResult:
            return VideoResult(str(path), reason(why, str(path)), names.of(slug(Path(path).stem)), query=query)

        def made(path: Any) -> VideoResult:
            return _matched(encoder, path, query, names, vectors, notices)

        yield from folder.keep(each(expanded(inputs, self.suffixes), made, failed))


def _matched(
    encoder: Encoder,
    path: Any,
    query: TextVideoQuery,
    names: Names,
    sentences: np.ndarray | None,
    notices: tuple[str, ...],
) -> VideoResult:
    if not isinstance(path, str | Path):
        raise InputError(f"a {type(path).__name__} is no video; give the path of a file")
    start = None if query.start == 0 and query.end is None else query.start
    read = read_clip(path, encoder.frames, rate=query.fps, start=start, end=query.end)
    vectors, frames = encoder.videos([read.pictures])
    scores: dict[str, float] = {}
    moments: dict[str, float] = {}
    if sentences is not None:
        cosines = sentences @ vectors[0]
        for place in np.argsort(-cosines, kind="stable"):
            sentence = query.captions[place]
            scores[sentence] = round(float(cosines[place]), 6)
            moments[sentence] = round(read.times[int((frames[0] @ sentences[place]).argmax())], 3)
    return VideoResult(
        str(path),
        name=names.of(slug(Path(path).stem)),
        scores=scores,
        moments=moments,
        vector=vectors[0],
        times=tuple(round(time, 3) for time in read.times),
        notices=(*read.notices, *notices),
        pictures=read.pictures,
        query=query,
    )
