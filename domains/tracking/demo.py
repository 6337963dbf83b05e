"""The demo: figures that the base never saw, followed through made sequences by the shipped adapter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domains.tracking.data.world import Scene
    from domains.tracking.output.boxes import Pixels
    from domains.tracking.predict import Tracker
    from domains.tracking.types import Box

SEQUENCES = (1, 4, 6)
"""Numbers of the made test sequences that are shown."""

SHOWN = (0, 10, 20, 30, 39)
"""Frames of each in the picture."""

WIDTH, HEIGHT = 320, 240


def demo(out: Path = Path("out/demo/tracking")) -> dict[str, Any]:
    """Follow a figure through each of some made sequences, among others like it, and draw where it was found.

    Args:
        out: folder for the pictures and the annotated video.
    """
    import numpy as np
    from PIL import Image

    from domains.tracking.data import world
    from domains.tracking.predict import Tracker
    from suite.media import sheets
    from suite.media.video_writing import video_writer

    started, out = time.perf_counter(), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tracker = Tracker.from_pretrained("tiny", device="cpu")
    rows, strips, frames = [], [], 0
    panels: list[Pixels] = []
    with video_writer(out / "tracking.annotated.mp4", world.FPS) as video:
        for number in SEQUENCES:
            scene = world.scene("test", number, width=WIDTH, height=HEIGHT)
            followed = _followed(tracker, scene)
            for picture in followed.pictures:
                video.write(picture)
            frames += len(followed.pictures)
            strips.append([Image.fromarray(followed.pictures[n]) for n in SHOWN])
            panels.append(followed.panel)
            rows.append(
                {
                    "sequence": scene.name,
                    "what is hard": ", ".join(scene.attributes) or "nothing",
                    "mean overlap": f"{followed.overlap:.2f}",
                    "mean score": f"{followed.score:.2f}",
                }
            )
    names = [str(row["sequence"]).rpartition("-")[2] for row in rows]
    columns = ["given", *(f"frame {n}" for n in SHOWN[1:])]
    sheet = sheets.save_png(sheets.grid(strips, names=names, columns=columns, side=180), out / "frames.png")
    beside = sheets.save_png(panels[0], out / "panel.png")
    mean = float(np.mean([float(row["mean overlap"]) for row in rows]))
    summary = (
        f"{len(rows)} made sequences of kinds and motions that no training saw, {frames} frames: the shipped adapter's "
        f"boxes overlap with the true ones (white) by {mean:.2f} on average."
    )
    return {
        "title": "One box in, a track out",
        "text": summary,
        "summary": summary,
        "tables": {"Sequences": rows},
        "pictures": [sheet, beside],
        "captions": [
            "What was found, with its score; the true box in white. The first column is the box that was given",
            "What the tracker looked at: search crop under its score map, templates, scores over time",
        ],
        "seconds": time.perf_counter() - started,
        "message": "\n".join([summary, str(sheet), str(beside), str(out / "tracking.annotated.mp4")]),
    }


class _Followed:
    """One sequence with what was found in it."""

    def __init__(self, pictures: list[Pixels], overlap: float, score: float, panel: Pixels) -> None:
        self.pictures, self.overlap, self.score, self.panel = pictures, overlap, score, panel


def _followed(tracker: Tracker, scene: Scene) -> _Followed:
    import numpy as np

    from domains.tracking import metrics
    from domains.tracking.data.sequences import from_xywh, to_xywh
    from domains.tracking.output.boxes import drawn
    from domains.tracking.output.panels import ScoreLine, panel

    name = scene.actors[0].look.kind
    line, pictures, boxes, scores = ScoreLine(), [], [], []
    truth = np.array([scene.truth(0, frame).box for frame in range(len(scene))])
    beside = np.zeros(0, np.uint8)
    for frame, true in enumerate(to_xywh(truth).tolist()):
        picture = scene.picture(frame)
        result = tracker.init(picture, {name: tuple(true)}) if frame == 0 else tracker.track(picture)
        found = result.objects[name]
        pictures.append(drawn(picture, result.objects, {name: 0}, truths=[tuple(true)]))
        line.add({name: found.score})
        boxes.append(found.box or (0.0, 0.0, 0.0, 0.0))
        scores.append(found.score)
        if frame == len(scene) // 2 and (view := tracker.session.view(name)) is not None:
            large = _enlarged(picture)
            twice = {name: replace(found, box=None if found.box is None else _twice(found.box))}
            shown = drawn(large, twice, {name: 0}, truths=[_twice(true)])
            beside = np.concatenate([shown, panel({name: view}, line, {name: 0}, len(large))], axis=1)
    overlaps = metrics.overlap(from_xywh(np.array(boxes)), truth)[1:]
    return _Followed(pictures, float(overlaps.mean()), float(np.mean(scores[1:])), beside)


def _twice(box: Sequence[float]) -> Box:
    x, y, width, height = (2 * number for number in box)
    return x, y, width, height


def _enlarged(picture: Pixels) -> Pixels:
    from domains.tracking.output.video import scaled

    return scaled(picture, (2 * picture.shape[1], 2 * picture.shape[0]))
