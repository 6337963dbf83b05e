"""The demo: made people and their forgeries, faces found and cut, and the shipped adapter's scores."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

SIZE, STRENGTH, FIRST = 224, 0.6, 4_500_012
CALM = (0, 143, 107)
"""Of boxes that say no score of forgery."""
CELL = 112
"""Side of a face in the picture, so that nine of them fit a page's column."""


def demo(out: Path = Path("out/demo/deepfake")) -> dict[str, Any]:
    """Draw people, forge their faces by every family of the made world, and find and cut the faces.

    Args:
        out: folder for the pictures.
    """
    import numpy as np

    from domains.deepfake.data import detection, world
    from domains.deepfake.data.alignment import align
    from domains.deepfake.inference.loaded import FaceScorer
    from domains.deepfake.output import pictures
    from suite.media import sheets

    started, out = time.perf_counter(), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    detect, scorer = detection.detector("auto"), FaceScorer.from_pretrained("tiny", device="cpu")
    families = ("real", *world.SEEN, *world.UNSEEN)
    found, total, rows, columns, scores = 0, 0, [], [], []
    made = [world.clips(FIRST + n, families, frames=1, size=SIZE, strength=STRENGTH) for n in range(2)]
    for number, family in enumerate(families):
        cards, faces_of = [], []
        for clips in made:
            clip = clips[number]
            faces = detect(clip.frames[0])
            total += 1
            found += bool(faces)
            crop = align(clip.frames[0], clip.landmarks[0], size=CELL, scale=1.35).pixels
            where = align(clip.frames[0], clip.landmarks[0], size=CELL, scale=1.35, mask=_grey(clip.masks[0])).mask
            assert where is not None
            faces_of.append(align(clip.frames[0], clip.landmarks[0], scale=scorer.stated.scale).pixels)
            cards += [crop, pictures.heated(crop, where / 255)]
        group = "real" if family == "real" else "unseen" if family in world.UNSEEN else "trains"
        score = float(scorer.predict_crops(faces_of).mean())
        scores.append(score)
        columns.append(sheets.caption(sheets.caption(np.concatenate(cards), f"{score:.2f}"), family))
        rows.append({"family": family, "kind": group, "score": f"{score:.2f}"})
    sheet = sheets.save_png(np.concatenate(columns, axis=1), out / "families.png")
    shown = [(clips[0].frames[0], detect(clips[0].frames[0])) for clips in made]
    boxes = [pictures.boxes(p, [(f.box, f.score) for f in faces], word="face", color=CALM) for p, faces in shown]
    faces_found = sheets.save_png(np.concatenate(boxes, axis=1), out / "faces.png")
    summary = (
        f"Two made people, and what {len(families) - 1} families of forgeries do to their faces, half of them unseen "
        f"in training. The shipped adapter scores the forged faces {sum(scores[1:]) / len(scores[1:]):.2f} on average, "
        f"the real ones {scores[0]:.2f}. {detect.id} found {found} of {total} faces."
    )
    return {
        "title": "Forged faces of the made world",
        "text": summary,
        "summary": summary,
        "tables": {"Families": rows},
        "pictures": [sheet, faces_found],
        "captions": [
            "Each family of forgeries with its mean score, and below it where the face was changed",
            "Faces found, and how sure",
        ],
        "seconds": time.perf_counter() - started,
        "message": "\n".join([summary, str(sheet), str(faces_found)]),
    }


def _grey(mask: Any) -> Any:
    """A mask in 0-1 as bytes."""
    return (255 * mask).round().astype("uint8")
