"""Text-to-video retrieval's side of the contract that every domain keeps."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from domains.text_video_retrieval.tiny.rebuild import measure
from tests.domains.contract import Subject
from tests.text_video_retrieval import clips


def _good(folder: Path) -> Path:
    return clips.made(folder / "clip.mp4", 5)


def _bad(folder: Path) -> Path:
    path = folder / "torn.mp4"
    path.write_bytes(b"no video")
    return path


@cache
def _score(adapter: str | None) -> float:
    """R-Sum of text to video on made clips, in parts of 1; the frozen base sees the same frames one by one."""
    figures = measure(adapter or "tiny", source="world:test:60", frozen=adapter is None)
    return float(figures["text_to_video"]["R-Sum"]) / 300


SUBJECT = Subject(
    domain="text_video_retrieval",
    good=_good,
    bad=_bad,
    score=_score,
    # Half of the 0.31 that as many validation clips (world:val:60) show; no test clip had a say in it.
    margin=0.15,
    smoke=(
        # Without validation: of blocks compiled for a GPU run, each form that is made costs seconds.
        *("--data.train", "world:train:16", "--data.val", "null", "--trainer.monitor", "null"),
        *("--data.batch_size", "4", "--trainer.max_epochs", "4"),
    ),
    options=("--captions", "a red square moves left", "--captions", "a blue circle appears"),
    evaluate=("world:test:4",),
)
