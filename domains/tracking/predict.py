"""From videos and first boxes to where the objects are in every frame."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from domains.tracking.data.pictures import Pixels
from domains.tracking.inference.following import Follower
from domains.tracking.inference.footage import Footage, open_footage
from domains.tracking.inference.running import Run
from domains.tracking.output.boxes import drawn
from domains.tracking.output.files import About, BoxFiles
from domains.tracking.output.live import LivePage
from domains.tracking.output.result import TrackResult, summary_rows
from domains.tracking.output.rows import Rows
from domains.tracking.output.video import Copies, Stills
from domains.tracking.types import KEPT, FrameResult, TrackQuery
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
            options["box"] = tuple(",".join(map(str, box)) for box in boxes)
        return only(self.predict([source], **options))

    def stream(self, source: str | Path, **options: Any) -> Iterator[FrameResult]:
        """Yield the objects of each frame as it is read; nothing is kept, so that a stream may go on for ever.

        Raises:
            InputError: it cannot be read, or a box is none.
        """
        query = TrackQuery(**options)
        run = Run(open_footage(source, fps=query.fps, sequence=query.sequence), self.follower(query), query)
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
            folder.path.mkdir(parents=True, exist_ok=True)
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
        self.run = Run(footage, tracker.follower(query), query)
        fps = None if footage.live else float(footage.fps)
        self.about = About(footage.source, name, footage.size, fps, tracker.adapter, query.integers)
        self.rows, self.stills = Rows(KEPT if footage.live else None), Stills()
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
