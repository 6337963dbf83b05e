"""From pictures, folders, videos and cameras to scores of faces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from domains.deepfake.data.datasets.made import NAME as MADE
from domains.deepfake.data.detection import FaceDetector, detector
from domains.deepfake.inference.frames import CutFace, Looked, is_video, look
from domains.deepfake.inference.inputs import sources
from domains.deepfake.inference.loaded import FaceScorer
from domains.deepfake.output import pictures
from domains.deepfake.output.result import (
    MOST_CARDS,
    DetectionResult,
    How,
    ScoredFace,
    card,
    contact_sheet,
    rows,
    summary,
)
from domains.deepfake.types import PICTURES, DetectionQuery
from suite.errors import InputError
from suite.media.sheets import Pixels
from suite.media.video import SUFFIXES, Frame
from suite.media.video_writing import annotate
from suite.prediction.ahead import parts_ahead
from suite.prediction.folder import ResultFolder, Sheet, Table
from suite.prediction.inputs import Names, exists, is_live, several, slug
from suite.prediction.loop import each, only, reason

SUSPICIOUS = 6
"""Frames of a video that are shown for themselves."""

SHOWN = 360
"""Pixels across of these."""

AHEAD = 4
"""Frames that are decoded, and their faces cut, before the model asks for them."""


class DeepfakeDetector(FaceScorer):
    """Pictures and videos in, scores of their faces out.

    >>> detector = DeepfakeDetector.from_pretrained("tiny")
    >>> detector("interview.mp4").decision
    """

    suffixes = (*PICTURES, *SUFFIXES)

    def __call__(self, source: str | Path, **options: Any) -> DetectionResult:
        """Judge one picture or video; options are the fields of `DetectionQuery`.

        Raises:
            InputError: it cannot be read.
        """
        return only(self.predict([source], **options))

    def predict(
        self, inputs: Any, *, out: ResultFolder | str | Path | None = None, **options: Any
    ) -> Iterator[DetectionResult]:
        """Yield one result an input, in order; what cannot be read yields one with `error`.

        Args:
            inputs: one or several of: paths of pictures, videos and folders, patterns (`clips/*.mp4`), a .txt with a
                path a line, `webcam`, addresses of streams.
            out: folder of the results; without it they are only yielded.
            **options: the fields of `DetectionQuery`.

        Raises:
            InputError: an option is out of its range, or the detector cannot be had.
        """
        query = DetectionQuery(**options)
        for name in ("frames", "faces", "batch_size"):
            if getattr(query, name) < 1:
                raise InputError(f"{name} is {getattr(query, name)}; give at least 1")
        self.stated.cut(query.threshold)
        given = list(several(inputs))
        if not all(isinstance(one, str | Path) for one in given):
            raise InputError("inputs are paths; aligned faces in memory go to predict_crops")
        folder = ResultFolder.of(out).beside(given)
        folder.summarise(Table("faces", rows, jsonl=True), Table("summary", summary))
        folder.summarise(Sheet(card, contact_sheet, MOST_CARDS))
        detect, names = detector(query.detector, query.detector_file), Names()

        def failed(source: str | Path, why: str) -> DetectionResult:
            return DetectionResult(str(source), reason(why, str(source)), names.of(_stem(source)), query=query)

        def seen(source: str | Path) -> Iterator[Looked]:
            if not is_live(str(source)) and not exists(source):
                raise InputError(f"{source}: no such file or folder; check the path")
            return look(source, detect, self.stated, frames=query.frames, faces=query.faces, face=query.face)

        def judged(source: str | Path, frames: Iterator[Looked]) -> DetectionResult:
            result = self._judged(source, frames, detect, query, names)
            if folder.path is not None and query.keep_crops:
                result = result.with_crops()
            if folder.path is not None and query.annotate:
                _copy(result, folder)
            return result

        with closing(parts_ahead(sources(given, self.suffixes), seen, AHEAD)) as read:
            yield from folder.keep(each(read, lambda one: judged(*one), lambda one, why: failed(one[0], why)))

    def _judged(
        self,
        source: str | Path,
        frames: Iterator[Looked],
        detect: FaceDetector,
        query: DetectionQuery,
        names: Names,
    ) -> DetectionResult:
        gathered = _Gathered()
        waiting: list[CutFace] = []
        for looked in frames:
            gathered.see(looked)
            waiting += looked.cut
            # Faces go through the model as soon as a batch is full: a long video is never in memory.
            while len(waiting) >= query.batch_size:
                self._score(waiting[: query.batch_size], gathered, query)
                waiting = waiting[query.batch_size :]
        self._score(waiting, gathered, query)
        standing = [detect.notice] if detect.notice else []
        if self.stated.trained_on.startswith(f"{MADE}:"):
            standing.append(
                "this adapter has seen made faces alone and knows nothing of real ones; see docs/deepfake.md"
            )
        notices = list(standing)
        if gathered.whole and detect.id != "crops":
            notices.append("the face fills the picture: taken as an aligned crop")
        if any(face.low_quality for face in gathered.faces):
            notices.append("some faces are small or doubtful (low_quality): their scores say little")
        threshold, origin = self.stated.cut(query.threshold)
        how = How(
            threshold=threshold,
            threshold_from=origin,
            temperature=self.stated.temperature,
            adapter=self.adapter,
            detector=detect.id,
            trained_on=self.stated.trained_on,
            notices=tuple(standing),
        )
        return DetectionResult(
            str(source),
            name=names.of(_stem(source)),
            kind="video" if is_video(source) else "picture",
            status="ok" if gathered.faces else "no_face",
            faces=tuple(gathered.faces),
            frames_read=gathered.frames,
            times=tuple(gathered.times),
            how=how,
            notices=tuple(notices),
            picture=gathered.picture(),
            suspicious=gathered.suspicious(),
            query=query,
        )

    def _score(self, cut: list[CutFace], gathered: _Gathered, query: DetectionQuery) -> None:
        if not cut:
            return
        scores = self.predict_crops([one.crop.pixels for one in cut])
        for one, score in zip(cut, scores, strict=True):
            heat = None if query.heatmap == "none" else self.heat(one.crop.pixels, query.heatmap)
            kept = one.crop.pixels if query.keep_crops or heat is not None else None
            gathered.take(
                ScoredFace(
                    frame=one.frame,
                    time=one.time,
                    face_id=one.track,
                    box=one.face.box,
                    landmarks=tuple((float(x), float(y)) for x, y in one.face.landmarks),
                    det_score=one.face.score,
                    p_fake=float(score),
                    low_quality=one.face.low_quality,
                    pixels=kept,
                    heat=heat,
                )
            )


@dataclass
class _Gathered:
    """What is known of an input so far. Of a video's pictures only those that may be shown are kept."""

    faces: list[ScoredFace] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    frames: int = 0
    whole: bool = False
    _pending: dict[float | None, Pixels] = field(default_factory=dict)
    _worst: ScoredFace | None = None
    _shown: Pixels | None = None
    _top: dict[float, tuple[float, Pixels]] = field(default_factory=dict)

    def see(self, looked: Looked) -> None:
        self.frames += 1
        self.whole |= looked.whole
        if looked.time is not None:
            self.times.append(looked.time)
        if looked.cut:
            self._pending[looked.time] = looked.pixels
        elif self._shown is None:
            self._shown = looked.pixels

    def take(self, face: ScoredFace) -> None:
        self.faces.append(face)
        picture = self._pending[face.time]
        if self._worst is None or face.p_fake > self._worst.p_fake:
            self._worst, self._shown = face, picture
        if face.time is not None:
            self._rank(face.time, face.p_fake, picture)
        # Frames before this one have all their faces scored.
        for time in [t for t in self._pending if t is not None and face.time is not None and t < face.time]:
            del self._pending[time]

    def _rank(self, time: float, score: float, picture: Pixels) -> None:
        """Keep the frame where it is among the most suspicious ones."""
        known = self._top.get(time)
        if known is not None:
            self._top[time] = (max(score, known[0]), known[1])
        elif len(self._top) < SUSPICIOUS or score > min(self._top.values(), key=lambda one: one[0])[0]:
            self._top[time] = (score, picture)
            if len(self._top) > SUSPICIOUS:
                del self._top[min(self._top, key=lambda time: self._top[time][0])]

    def picture(self) -> Pixels | None:
        return self._shown

    def suspicious(self) -> tuple[tuple[float, Pixels], ...]:
        """The most suspicious frames in order of time, small, with their boxes; none of a single one."""
        if len(self._top) < 2:
            return ()
        found = []
        for time, (_, picture) in sorted(self._top.items()):
            drawn = [(face.box, face.p_fake) for face in self.faces if face.time == time]
            found.append((time, pictures.reduced(pictures.boxes(picture, drawn), SHOWN)))
        return tuple(found)


def _stem(source: str | Path) -> str:
    return slug(Path(str(source)).stem, otherwise="input")


def _copy(result: DetectionResult, folder: ResultFolder) -> None:
    """An annotated copy of a video beside its results; of what is live there is none."""
    if result.kind != "video" or result.error is not None or not result.faces or is_live(result.source):
        return
    assert folder.path is not None
    target = folder.path / f"{result.name}.annotated.mp4"
    folder.path.mkdir(parents=True, exist_ok=True)
    annotate(result.source, target, Painter(result))
    folder.note(target)


class Painter:
    """Draws the faces that were looked at onto every frame of a video, boxes moving evenly in between.

    In the corner stands the mean of all scores up to the frame.
    """

    def __init__(self, result: DetectionResult) -> None:
        self.tracks = [
            (np.array([f.time for f in own]), np.array([f.box for f in own]), np.array([f.p_fake for f in own]))
            for own in result.tracks.values()
        ]
        seen = sorted((face.time, face.p_fake) for face in result.faces if face.time is not None)
        self.times = np.array([time for time, _ in seen])
        self.means = np.cumsum([score for _, score in seen]) / np.arange(1, len(seen) + 1)
        self.looked = np.array(result.times)
        steps = np.diff(result.times)
        self.reach = 0.75 * float(np.median(steps)) if len(steps) else 1e9

    def __call__(self, frame: Frame) -> Pixels:
        drawn = []
        for times, boxes, scores in self.tracks:
            nearest = int(np.argmin(np.abs(times - frame.time)))
            if abs(times[nearest] - frame.time) > self.reach:
                continue
            box = tuple(float(np.interp(frame.time, times, boxes[:, side])) for side in range(4))
            drawn.append(((box[0], box[1], box[2], box[3]), float(scores[nearest])))
        before = int(np.searchsorted(self.times, frame.time, side="right"))
        near = len(self.looked) and np.abs(self.looked - frame.time).min() <= self.reach
        note = f"mean {self.means[before - 1]:.3f}" if before and near else ""
        return pictures.boxes(frame.pixels, drawn, note=note)
