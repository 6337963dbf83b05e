"""From videos and first boxes to where the objects are in every frame."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from domains.tracking.data.pictures import Pixels
from domains.tracking.data.readers.first_boxes import checked_box
from domains.tracking.inference.exported import ExportedTracker
from domains.tracking.inference.following import Follower
from domains.tracking.inference.footage import open_footage
from domains.tracking.inference.loaded import LoadedTracker
from domains.tracking.inference.running import VideoRun
from domains.tracking.inference.starting import fitted
from domains.tracking.inference.states import load_session, save_session
from domains.tracking.inference.video import VideoTracking
from domains.tracking.output.live import LivePage
from domains.tracking.output.result import TrackResult, summary_rows
from domains.tracking.types import Box, FrameResult, TrackedBox, TrackQuery
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
            folder.create()
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
            return VideoTracking(footage, self.follower(query), query, name, self.adapter, folder, page).result()
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
        cls,
        adapter: str = "tiny",
        base: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        exported: str | Path | None = None,
    ) -> Tracker:
        """Load a base and an adapter, or what `suite tracking export` wrote.

        Args:
            adapter: reference of the adapter. base: of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N. dtype: auto (bfloat16 on a GPU), float32, bfloat16 or float16.
            exported: folder of an exported tracker, which needs none of the others.

        Raises:
            InputError: adapter, base or folder does not exist, or they do not belong together.
        """
        if exported is not None:
            return cls(ExportedTracker(exported))
        return cls(LoadedTracker.from_pretrained(adapter, base, device, dtype))

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
