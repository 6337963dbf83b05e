"""Hits as one picture, and each as a short video of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from domains.text_video_retrieval.output.page import Hit
from domains.text_video_retrieval.output.strips import clock
from suite.errors import InputError
from suite.media import sheets
from suite.media.video import probe, read_frames
from suite.media.video_writing import video_writer
from suite.prediction.inputs import slug

COLUMNS = 4


def contact_sheet(path: Path, hits: Sequence[Hit]) -> Path:
    """All hits' pictures with their videos, seconds and scores, the nearest first."""
    images, names = [], []
    for hit in hits:
        shown = Image.open(hit.thumbnail) if hit.thumbnail.is_file() else Image.new("RGB", (320, 180), "lightgrey")
        images.append(shown.convert("RGB"))
        names.append(f"{clock(hit.moment)} ({hit.score:.2f}) {Path(hit.path).name}")
    rows = [images[start : start + COLUMNS] for start in range(0, len(images), COLUMNS)]
    captions = [names[start : start + COLUMNS] for start in range(0, len(names), COLUMNS)]
    parts = [sheets.grid([row], columns=own) for row, own in zip(rows, captions, strict=True)]
    width, height = max(part.width for part in parts), sum(part.height for part in parts)
    canvas, top = Image.new("RGB", (width, height), "white"), 0
    for part in parts:
        canvas.paste(part, (0, top))
        top += part.height
    return sheets.save_png(canvas, path)


def clips(folder: Path, hits: Sequence[Hit]) -> list[Path]:
    """Cut the seconds around each hit; a video that is gone or cannot be read is left out."""
    written = []
    for number, hit in enumerate(hits, 1):
        begin, end = hit.snippet
        path = folder / f"{number:02d}_{slug(Path(hit.path).stem)}.mp4"
        try:
            rate = probe(hit.file).rate(hit.path)
            with video_writer(path, rate) as writer:
                for frame in read_frames(hit.file, start=begin, end=end if end > begin else None):
                    writer.write(frame.pixels, frame.time - begin)
        except InputError:
            continue
        written.append(path)
    return written
