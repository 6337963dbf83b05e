"""The demo of point clouds: held-out shapes of the made world, named and cut into parts by the shipped adapters."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

SHAPES, OCCLUDED = 8, 0.15


def demo(out: Path = Path("out/demo/point_cloud")) -> dict[str, Any]:
    """Name shapes that the shipped adapters have never seen, and cut them into their parts.

    Args:
        out: folder for the clouds, the results and the pictures.
    """
    import numpy as np

    from domains.point_cloud.data import world
    from domains.point_cloud.output.result import card, contact_sheet
    from domains.point_cloud.predict import PointCloudClassifier, PointCloudSegmenter
    from suite.media import points, sheets
    from suite.media.sheets import Pixels

    started = time.perf_counter()
    folder = out / "clouds"
    folder.mkdir(parents=True, exist_ok=True)
    names = list(world.CATEGORIES)[:SHAPES]
    files = []
    for number, name in enumerate(names):
        shape = world.make(name, 2_500_000 + number, 2048, occluded=OCCLUDED)
        files.append(folder / f"{name.replace(' ', '_')}.xyz")
        np.savetxt(files[-1], shape.points, fmt="%.5f")
    found, lines, right = [], [], 0
    named: list[dict[str, Any]] = []
    for result, name in zip(PointCloudClassifier.from_pretrained("tiny").predict(files, out=out), names, strict=True):
        found.append(result.label)
        right += result.label == name
        lines.append(f"{name}: {result.label} ({result.probability:.0%})")
        named.append({"shape": name, "named": result.label, "probability": f"{result.probability:.0%}"})
    pictures = [out / "contact_sheet.png"]
    segmenter = PointCloudSegmenter.from_pretrained("tiny-parts")
    parts = out / "parts"
    cards: list[Pixels] = []
    for file, label in zip(files, found, strict=True):
        [cut] = segmenter.predict([file], category=label, out=parts / file.stem)
        shares = ", ".join(f"{part} {count}" for part, count in cut.counts.items())
        lines.append(f"parts of {Path(cut.source).stem} as {cut.category}: {shares}")
        named[len(cards)]["points of each part"] = shares
        image = card(cut)
        assert cut.drawing is not None
        colors = points.label_colors(np.arange(len(cut.drawing.legend)))
        cards.append(np.concatenate([image, sheets.legend(cut.drawing.legend, colors, image.shape[1])]))
    pictures.append(contact_sheet(cards, parts / "contact_sheet.png"))
    lines.append(f"{right} of {len(names)} shapes named right")
    return {
        "title": "Shapes named and cut into parts",
        "text": "\n".join(lines),
        "summary": f"{right} of {len(names)} made, held-out shapes were named right with {OCCLUDED:.0%} of each "
        "hidden. Then every point was given its part.",
        "tables": {"Names and parts": named},
        "pictures": pictures[::-1],
        "captions": [
            "Every point in the colour of the part found for it",
            "The name found for each shape, and how sure",
        ],
        "seconds": time.perf_counter() - started,
        "right": right,
        "shapes": len(names),
    }
