"""The part of docs/methods.md that says what methods cost, and its picture, from what `benchmarks.methods` kept.

python -m benchmarks.methods_page
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from benchmarks._measured import RESULTS
from suite import adapters

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "methods.md"
PICTURE = ROOT / "docs" / "images" / "methods.png"
BEGIN, END = "<!-- costs: python -m benchmarks.methods_page -->", "<!-- end of costs -->"
TITLES = {"llama": "two blocks of a Llama", "vit": "two blocks of a ViT", "conv": "a convolutional network"}
COLUMNS = ("method", "trainable", "time", "memory", "merged", "beside")


def figures() -> dict[str, Any]:
    """What was measured last."""
    found: dict[str, Any] = json.loads((RESULTS / "methods.json").read_text(encoding="utf-8"))
    return found


def costs() -> str:
    """The tables, one a host, the quickest first."""
    rows, parts = figures()["rows"], []
    for host, title in TITLES.items():
        own = sorted((row for row in rows if row["host"] == host), key=lambda row: row["time"])
        lines = [f"**{title[0].upper()}{title[1:]}**", "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        for row in own:
            beside = f"{row['beside']:.2f} ({row['of']})" if row["beside"] is not None else ""
            ratios = (f"{row[name]:.2f}" for name in ("time", "memory", "merged"))
            lines.append(f"| `{row['method']}` | {row['trainable']:,} | {' | '.join(ratios)} | {beside} |")
        parts.append("\n".join(lines))
    ratios = [row["beside"] for row in rows if row["beside"] is not None]
    slower = sorted(f"`{row['method']}` on {row['host']}" for row in rows if (row["beside"] or 0) > 1.05)
    above = f"{'are' if len(slower) > 1 else 'is'} {', '.join(slower)}" if slower else "is none"
    verdict = (
        f"Beside peft's layers or the authors' computation the median is {statistics.median(ratios):.2f} of "
        f"{len(ratios)} measured; above 1.05 {above}."
    )
    paca = [f"{_ratio(rows, host):.2f}" for host in ("llama", "vit")]
    parts.append(
        f"{verdict} A step of `paca` takes {paca[0]} and {paca[1]} of one of `lora` on the two transformers; its paper "
        "says 15 % less, of a LoRA that is not fused."
    )
    return "\n\n".join(parts)


def _ratio(rows: list[dict[str, Any]], host: str) -> float:
    times = {row["method"]: row["time"] for row in rows if row["host"] == host}
    return float(times["paca"] / times["lora"])


def picture() -> None:
    """Parameters against time, and against the quality that `suite compare` found, a panel each."""
    from matplotlib.figure import Figure

    from suite.media import plots

    studies = {path.stem.removeprefix("compare_"): path for path in sorted(RESULTS.glob("compare_*.json"))}
    figure = Figure(figsize=(6.4 * (2 + len(studies)), 6.2), layout="constrained")
    axes = figure.subplots(1, 2 + len(studies))
    for place, host in zip(axes, ("llama", "vit"), strict=False):
        own = [row for row in figures()["rows"] if row["host"] == host]
        # What is ours, and what stands apart, gets its name first.
        own.sort(key=lambda row: (adapters.methods()[row["method"]].source == "peft", -row["time"]))
        for source, colour in (("suite", "tab:blue"), ("peft", "tab:orange")):
            points = [
                (row["trainable"], max(row["time"], 1.0))
                for row in own
                if adapters.methods()[row["method"]].source == source
            ]
            place.scatter(*zip(*points, strict=True), 16, color=colour, label=f"by {source}")
        place.set(xscale="log", yscale="log", xlabel="trainable parameters", title=TITLES[host])
        place.set_ylabel("time of a step over the frozen base's")
        place.set_yticks([1, 1.2, 1.5, 2, 3, 5, 10, 20, 50], ["1", "1.2", "1.5", "2", "3", "5", "10", "20", "50"])
        place.minorticks_off()
        place.legend()
        _named(place, [(row["method"], row["trainable"], max(row["time"], 1.0)) for row in own])
    for place, (name, path) in zip(axes[2:], studies.items(), strict=True):
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        for row in rows:
            spread = row["spread"].get("accuracy", 0.0)
            place.errorbar(row["parameters"], row["metrics"]["accuracy"], spread, fmt="o", capsize=3)
        place.set(xscale="log", xlabel="numbers in the adapter", ylabel="accuracy", title=name.replace("_", " "))
        _named(place, [(row["method"], row["parameters"], row["metrics"]["accuracy"]) for row in rows])
    plots.save(figure, PICTURE)


def _named(place: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write names beside points, where they cover no name that is there already."""
    figure: Any = place.figure
    figure.draw_without_rendering()
    taken: list[Any] = []
    for name, x, y in points:
        text = place.annotate(name, (x, y), (3, 2), textcoords="offset points", size=7)
        box = text.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            text.remove()
        else:
            taken.append(box)


def written(text: str) -> str:
    """The page with the measured part in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{costs()}\n\n{END}{after}"


if __name__ == "__main__":
    assert all(math.isfinite(row["time"]) for row in figures()["rows"])
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    picture()
