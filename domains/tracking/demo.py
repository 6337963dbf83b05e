"""The demo: until an adapter ships, one is trained on the spot, and what it answers is drawn."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

ROWS = ("2 0 -1 5", "0 1 0.5 5", "-1 0 3 5")


def demo(out: Path = Path("out/demo/tracking")) -> dict[str, Any]:
    """Train the tiny configuration and ask it for the largest of three numbers.

    Args:
        out: folder for the run and the picture.
    """
    from domains.tracking.inference.placeholder import PlaceholderTracker as Tracker
    from suite import training
    from suite.files import write_text
    from suite.hub import paths
    from suite.media import plots
    from suite.training import folder

    started, out = time.perf_counter(), Path(out)
    config = training.load_config(paths.assets() / "configs" / "tracking" / "tiny.yaml")
    run = training.run(config, run_dir=folder.fresh(out / "runs", "demo").path)
    files = [write_text(out / f"row{number}.txt", row + "\n") for number, row in enumerate(ROWS)]
    predictor = Tracker.from_pretrained(str(run.adapter.resolve()))
    results = list(predictor.predict(files, scores=True))
    chances = {row: dict(enumerate(result.scores)) for row, result in zip(ROWS, results, strict=True)}
    curves = {row: list(points.items()) for row, points in chances.items()}
    picture = plots.save(plots.curves(curves, title="chance of each place"), out / "chances.png")
    lines = [f"{row}: the largest is number {result.place}" for row, result in zip(ROWS, results, strict=True)]
    return {
        "title": "Tracking",
        "text": "\n".join(lines),
        "pictures": [picture],
        "seconds": time.perf_counter() - started,
        "message": "\n".join([*lines, str(picture)]),
    }
