"""From videos and first boxes to where the objects are in every frame."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from domains.tracking import metrics
from domains.tracking.data.pictures import Pixels
from domains.tracking.data.readers.first_boxes import checked_box
from domains.tracking.data.sequences import from_xywh
from domains.tracking.inference.exported import ExportedTracker
from domains.tracking.inference.following import Follower
from domains.tracking.inference.footage import Footage, open_footage
from domains.tracking.inference.loaded import LoadedTracker
from domains.tracking.inference.running import VideoRun
from domains.tracking.inference.starting import fitted
from domains.tracking.inference.states import load_session, save_session
from domains.tracking.output.boxes import drawn
from domains.tracking.output.files import About, BoxFiles
from domains.tracking.output.live import LivePage
from domains.tracking.output.result import TrackResult, summary_rows
from domains.tracking.output.rows import TrackRows
from domains.tracking.output.video import Copies, Stills
from domains.tracking.types import KEPT, Box, FrameResult, TrackedBox, TrackQuery
from suite.errors import InputError
from suite.files import sweep
from suite.prediction.folder import ResultFolder, Table
from suite.prediction.inputs import Names, is_live, several, slug
from suite.prediction.journal import Journal, check_begun
from suite.prediction.loop import only, reason


class VideoTracker:
    """Whatever follows objects, from videos in to boxes and files out.

    Args:
        follower: makes a fresh one for every video, as a query asks for it.
        adapter: what results say that they are by.
    """

    def __init__(self, follower: Callable[[TrackQuery], Follower], adapter: str = "") -> None:
        self.follower, self.adapter = follower, adapter

    def __call__(self, source: str | Path, *boxes: Any, **options: Any) -> TrackResult:
        """Track the objects of one video; `boxes` are x, y, w, h each, the options the fields of `TrackQuery`.

        Raises:
            InputError: it cannot be read, or a box is none.
        """
        if boxes:
            options["box"] = boxes
        return only(self.predict([source], **options))

    def stream(self, source: str | Path, **options: Any) -> Iterator[FrameResult]:
        """Yield the objects of each frame as it is read; nothing is kept, so that a stream may go on for ever.

        Raises:
            InputError: it cannot be read, or a box is none.
        """
        query = TrackQuery(**options)
        run = VideoRun(open_footage(source, fps=query.fps, sequence=query.sequence), self.follower(query), query)
        with closing(run.steps()) as steps:
            yield from (step.result for step in steps if step.result is not None)

    def predict(
        self,
        inputs: Any,
        *,
        out: ResultFolder | str | Path | None = None,
        resume: str | Path | None = None,
        overwrite: bool = False,
        **options: Any,
    ) -> Iterator[TrackResult]:
        """Yield one result a video, in order; what cannot be read yields one with `error`.

        Args:
            inputs: one or several of: paths of videos and of folders of frames, patterns of pictures, `webcam`,
                addresses of streams.
            out: folder of the results; without it they are only yielded.
            resume: the folder of an interrupted run; what it has finished is not tracked again.
            overwrite: begin anew where an earlier run has finished something.
            **options: the fields of `TrackQuery`.

        Raises:
            InputError: an option is out of its range, or the folder holds an earlier run's results.
        """
        query = TrackQuery(**options)
        given = list(several(inputs))
        folder = ResultFolder.of(resume if out is None else out).beside(given)
        folder.summarise(Table("tracks", summary_rows))
        if folder.path is not None:
            if resume is None and not overwrite:
                check_begun(folder.path)
            try:
                folder.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{folder.path}: cannot be written ({error.strerror}); give another folder") from error
            sweep(folder.path)
        names = Names()
        with ExitStack() as stack:
            page = None if query.mjpeg is None else stack.enter_context(LivePage(query.mjpeg))
            if page is not None:
                print(f"live at {page.address}", file=sys.stderr, flush=True)
            journal = None
            if folder.path is not None:
                signature = {"adapter": self.adapter, **{key: str(value) for key, value in asdict(query).items()}}
                journal = stack.enter_context(Journal(folder.path, signature, resume=resume is not None))
            results = (self._one(source, query, folder.path, names, journal, page) for source in given)
            for result in folder.keep(results):
                if journal is not None and result.error is None and result.stored is None and not _live(result.source):
                    record = {"name": result.name, "result": result.to_dict()}
                    journal.add(result.source, _content(result.source), record)
                yield result

    def _one(
        self,
        source: str | Path,
        query: TrackQuery,
        folder: Path | None,
        names: Names,
        journal: Journal | None,
        page: LivePage | None,
    ) -> TrackResult:
        try:
            found = None if journal is None or _live(source) else journal.find(str(source), _content(str(source)))
            if found is not None:
                return TrackResult(str(source), name=names.of(found["name"]), stored=found["result"], query=query)
            footage = open_footage(source, fps=query.fps, sequence=query.sequence)
            name = names.of(slug(footage.name))
            return _Tracking(self, footage, query, name, folder, page).result()
        except InputError as error:
            return TrackResult(str(source), reason(error, str(source)), query=query)


class Tracker(VideoTracker):
    """SPMTrack with an adapter: videos in, or one frame after another.

    >>> tracker = Tracker.from_pretrained("tiny")
    >>> tracker.init(first, (120, 80, 60, 90))
    >>> for frame in others:
    ...     print(tracker.track(frame).objects["1"].box)

    Attributes:
        loaded: the model with its adapter. session: what is followed frame by frame.
    """

    def __init__(self, loaded: LoadedTracker | ExportedTracker) -> None:
        super().__init__(loaded.session, loaded.adapter)
        self.loaded, self.session, self._index = loaded, loaded.session(), -1

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Tracker:
        """Load a base and an adapter.

        Args:
            adapter: reference of the adapter. base: of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N. dtype: auto (bfloat16 on a GPU), float32, bfloat16 or float16.

        Raises:
            InputError: adapter or base does not exist, or they do not belong together.
        """
        return cls(LoadedTracker.from_pretrained(adapter, base, device, dtype))

    @classmethod
    def from_exported(cls, folder: str | Path) -> Tracker:
        """Load what `suite tracking export` wrote.

        Raises:
            InputError: the folder holds no exported tracker.
        """
        return cls(ExportedTracker(folder))

    def init(self, frame: Pixels, *boxes: Box | Mapping[str, Box], time: float = 0.0, **options: Any) -> FrameResult:
        """Begin with a frame and what is to be followed in it.

        Args:
            frame: (height, width, 3), uint8, RGB.
            boxes: x, y, w, h of each object, which are called 1, 2, ...; or one mapping of names to boxes.
            time: of the frame, in seconds.
            options: fields of `TrackQuery`.

        Raises:
            InputError: a box has no part in the frame.
        """
        query = TrackQuery(**options)
        self.session, self._index = self.loaded.session(query, views=True), 0
        named: dict[str, Box] = {}
        for number, box in enumerate(boxes, 1):
            named.update(box if isinstance(box, Mapping) else {str(number): box})
        if not named:
            raise InputError("what is to be followed? give a box, x, y, w, h")
        for name, box in named.items():
            self.add(frame, box, name)
        found = {name: TrackedBox(followed.first, 1.0) for name, followed in self.session.objects.items()}
        return FrameResult(0, time, found)

    def add(self, frame: Pixels, box: Box, name: str) -> None:
        """Follow one more object from the last frame on; one of that name begins anew.

        Raises:
            InputError: the box has no part in the frame.
        """
        inside, odd = fitted(checked_box(box, name), (frame.shape[1], frame.shape[0]), name)
        if odd:
            warnings.warn(odd, stacklevel=2)
        self.session.add(name, frame, inside)

    def remove(self, name: str) -> None:
        """Follow an object no longer."""
        self.session.remove(name)

    def track(self, frame: Pixels, time: float = 0.0) -> FrameResult:
        """The objects in the next frame.

        Args:
            frame: (height, width, 3), uint8, RGB. time: in seconds.

        Raises:
            InputError: nothing is followed yet.
        """
        if self._index < 0:
            raise InputError("nothing is followed yet; give a first frame and a box to init")
        self._index += 1
        return FrameResult(self._index, time, self.session.track(frame))

    def reset(self) -> None:
        """Follow nothing; the model stays loaded."""
        self.session.reset()
        self._index = -1

    def save(self, path: str | Path) -> Path:
        """Write what is remembered, a `.safetensors` file, with which `restore` goes on in mid-video."""
        return save_session(self.session, path, {"index": self._index})

    def restore(self, path: str | Path) -> None:
        """Go on from where `save` was called.

        Raises:
            InputError: the file is none of a session, or of a tracker with other settings.
        """
        self._index = int(load_session(self.session, path)["index"])

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()


class _Tracking:
    """One video being tracked, with everything that is written meanwhile."""

    def __init__(
        self,
        tracker: VideoTracker,
        footage: Footage,
        query: TrackQuery,
        name: str,
        folder: Path | None,
        page: LivePage | None,
    ) -> None:
        self.footage, self.query, self.name, self.page = footage, query, name, page
        self.run = VideoRun(footage, tracker.follower(query), query)
        fps = None if footage.live else float(footage.fps)
        self.about = About(footage.source, name, footage.size, fps, tracker.adapter, query.integers)
        self.rows, self.stills = TrackRows(KEPT if footage.live else None), Stills()
        self.folder = folder
        self.places: dict[str, int] = {}

    def result(self) -> TrackResult:
        if self.folder is None:
            self._follow(None, None)
            return self._made(None)
        spool = Path(tempfile.mkdtemp(prefix=f".{self.name}.", suffix=".part", dir=self.folder))
        files = BoxFiles(spool, self.about, self.query.formats)
        copies = self._copies(spool)
        try:
            self._follow(files, copies)
            if copies is not None:
                copies.finish()
            files.finish(self.run.notices)
            return self._made(spool)
        except BaseException:
            if copies is not None:
                copies.drop()
            files.close()
            shutil.rmtree(spool, ignore_errors=True)
            raise

    def _follow(self, files: BoxFiles | None, copies: Copies | None) -> None:
        try:
            with closing(self.run.steps()) as steps:
                for step in steps:
                    views = self.run.views() if copies is not None and self.query.panels else {}
                    if copies is not None:
                        copies.write(step.picture, step.time, step.result, views)
                    if step.result is not None:
                        self._take(step.picture, step.result, files)
        except KeyboardInterrupt:
            # Of what has no end of its own that is the way to end it.
            if not self.footage.live or not len(self.rows):
                raise
            self.run.notices.append("stopped by hand")
        except InputError as error:
            if not self.footage.live or not len(self.rows):
                raise
            self.run.notices.append(f"the stream broke off: {error}")

    def _take(self, picture: Pixels, result: FrameResult, files: BoxFiles | None) -> None:
        self.rows.add(result)
        self.stills.add(picture, result)
        if files is not None:
            files.write(result)
        if self.page is not None:
            for name in result.objects:
                self.places.setdefault(name, len(self.places))
            self.page.show(drawn(picture, result.objects, self.places))

    def _overlaps(self) -> dict[str, float]:
        """With the truth beside the frames, where there is one; frames without the object do not count."""
        found = {}
        for name, track in self.footage.truth.tracks.items() if self.footage.truth is not None else ():
            if name not in self.rows.names:
                continue
            boxes = from_xywh(self.rows.numbers(name)[:, :4])
            rows = self.rows.indices
            counted = track.present[rows] & (rows > rows[np.isfinite(boxes).all(1).argmax()])
            if counted.any():
                overlaps = metrics.overlap(np.nan_to_num(boxes[counted]), track.boxes[rows[counted]])
                found[name] = float(overlaps.mean())
        return found

    def _copies(self, spool: Path) -> Copies | None:
        boxes = spool / f"{self.name}.annotated.mp4" if self.query.annotate else None
        panels = spool / f"{self.name}.panels.mp4" if self.query.panels else None
        if boxes is None and panels is None:
            return None
        fps: Fraction | float = self.footage.fps
        return Copies(self.footage.size, fps, boxes, panels)

    def _made(self, spool: Path | None) -> TrackResult:
        return TrackResult(
            self.footage.source,
            name=self.name,
            about=self.about,
            rows=self.rows,
            notices=tuple(self.run.notices),
            speed=self.run.speed.to_dict(),
            overlaps=self._overlaps(),
            stills=tuple(self.stills.chosen()),
            query=self.query,
            spool=spool,
        )


def _live(source: str | Path) -> bool:
    return is_live(str(source)) or str(source) == "-"


def _content(source: str) -> str:
    """What tells a file that was changed from the one that was tracked."""
    path = Path(source).expanduser()
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
