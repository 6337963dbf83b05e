"""What a search found: its hits, and the page that plays each from its second."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.text_video_retrieval.output.strips import clock
from suite.files import write_text
from suite.media.report import Report
from suite.tables import records_csv

PAGE = "results.html"


@dataclass(frozen=True)
class Hit:
    """A segment that was found.

    Attributes:
        path: in the index. file: where the video lies.
        score: cosine. share: of the softmax over what was found; no probability.
        start, end: of the segment. moment: of the frame that is nearest. snippet: what to look at. Seconds.
        thumbnail: a picture of the segment. row: its row in the index. status: of the video.
    """

    path: str
    file: Path
    score: float
    share: float
    start: float
    end: float
    moment: float
    snippet: tuple[float, float]
    thumbnail: Path
    row: int
    status: str = "ok"

    def __str__(self) -> str:
        return f"{self.score:.3f}  {self.path}  {clock(self.start)}-{clock(self.end)}, best at {clock(self.moment)}"

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return {
            "path": self.path,
            "score": round(self.score, 6),
            "share": round(self.share, 6),
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "moment": round(self.moment, 3),
            "row": self.row,
            "status": self.status,
        }


def write(folder: Path, sought: str, hits: Sequence[Hit], notices: Sequence[str] = ()) -> list[Path]:
    """Write the page with thumbnails and players, and the hits as JSON and CSV; return the files."""
    page = Report(f"Search: {sought}", f"{len(hits)} hits")
    page.text(
        "Scores are cosines of sentence and video, typically 0.15 to 0.35. They order what is found, and are no "
        "probabilities."
    )
    for notice in notices:
        page.text(f"Note: {notice}")
    for number, hit in enumerate(hits, 1):
        page.section(f"{number}. {hit.path}")
        page.video(_address(hit.file, folder), str(hit), start=hit.snippet[0], poster=_poster(hit))
    if hits:
        page.section("All hits").records([hit.to_dict() for hit in hits])
    records = [hit.to_dict() for hit in hits]
    text = json.dumps({"query": sought, "hits": records}, ensure_ascii=False, indent=2) + "\n"
    return [
        page.save(folder / PAGE),
        write_text(folder / "results.json", text),
        write_text(folder / "results.csv", records_csv(records)),
    ]


def _poster(hit: Hit) -> Path | None:
    return hit.thumbnail if hit.thumbnail.is_file() else None


def _address(file: Path, folder: Path) -> str:
    """The video's address from the page: relative, so that both may be moved together."""
    return Path(os.path.relpath(file, folder.resolve())).as_posix()
