"""A video tracked from end to end: its boxes, copies and pictures, and the folder that they wait in."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np

from domains.tracking import metrics
from domains.tracking.data.pictures import Pixels
from domains.tracking.data.sequences import from_xywh
from domains.tracking.inference.following import Follower
from domains.tracking.inference.footage import Footage
from domains.tracking.inference.running import VideoRun
from domains.tracking.output.boxes import drawn
from domains.tracking.output.files import About, BoxFiles
from domains.tracking.output.live import LivePage
from domains.tracking.output.result import TrackResult
from domains.tracking.output.rows import TrackRows
from domains.tracking.output.video import Copies, Stills
from domains.tracking.types import KEPT, FrameResult, TrackQuery
from suite.errors import InputError


class VideoTracking:
    """One video being tracked, with everything that is written meanwhile.

    Args:
        follower: fresh; nothing is followed yet.
        name: of the files. adapter: what results say that they are by.
        folder: where the files will be; None: nothing is written.
        page: that shows the frames live.
    """

    def __init__(
        self,
        footage: Footage,
        follower: Follower,
        query: TrackQuery,
        name: str,
        adapter: str,
        folder: Path | None,
        page: LivePage | None,
    ) -> None:
        self.footage, self.query, self.name, self.page = footage, query, name, page
        self.run = VideoRun(footage, follower, query)
        fps = None if footage.live else float(footage.fps)
        self.about = About(footage.source, name, footage.size, fps, adapter, query.integers)
        self.rows, self.stills = TrackRows(KEPT if footage.live else None), Stills()
        self.folder = folder
        self.places: dict[str, int] = {}

    def result(self) -> TrackResult:
        """Track it to its end.

        Raises:
            InputError: it cannot be read, or a box is none; no file is left then.
        """
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
