"""The part of docs/methods.md that says what methods cost, and its picture, from what `benchmarks.methods` kept.

python -m benchmarks.methods_page
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

from benchmarks._measured import RESULTS

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
    verdict = (
        f"Beside peft's layers or the authors' computation the median is {statistics.median(ratios):.2f} of "
        f"{len(ratios)} measured; above 1.05 " + (f"are {', '.join(slower)}." if slower else "is none.")
    )
    paca = [f"{_ratio(rows, host):.2f}" for host in ("llama", "vit")]
    parts.append(f"{verdict} A step of `paca` takes {paca[0]} and {paca[1]} of one of `lora` on the two transformers.")
    return "\n\n".join(parts)


def _ratio(rows: list[dict[str, Any]], host: str) -> float:
    times = {row["method"]: row["time"] for row in rows if row["host"] == host}
    return float(times["paca"] / times["lora"])


def picture() -> None:
    """Parameters against time, and against the quality that `suite compare` found."""
    from matplotlib.figure import Figure

    from suite.media import plots

    studies = {path.stem.removeprefix("compare_"): path for path in sorted(RESULTS.glob("compare_*.json"))}
    figure = Figure(figsize=(6.2 * (1 + len(studies)), 5), layout="constrained")
    axes = figure.subplots(1, 1 + len(studies), squeeze=False)[0]
    for host, marker in zip(TITLES, ("o", "s", "^"), strict=True):
        own = [row for row in figures()["rows"] if row["host"] == host]
        axes[0].scatter([row["trainable"] for row in own], [row["time"] for row in own], 18, marker=marker, label=host)
        for row in own if host == "llama" else ():
            axes[0].annotate(row["method"], (row["trainable"], row["time"]), (3, 2), textcoords="offset points", size=6)
    axes[0].set(xscale="log", xlabel="trainable parameters", ylabel="time of a step over the frozen base's")
    axes[0].legend()
    for place, (name, path) in zip(axes[1:], studies.items(), strict=True):
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            spread = row["spread"].get("accuracy", 0.0)
            place.errorbar(row["parameters"], row["metrics"]["accuracy"], spread, fmt="o", capsize=3)
            at = row["parameters"], row["metrics"]["accuracy"]
            place.annotate(row["method"], at, (4, 4), textcoords="offset points", size=8)
        place.set(xscale="log", xlabel="numbers in the adapter", ylabel="accuracy", title=name.replace("_", " "))
    plots.save(figure, PICTURE)


def written(text: str) -> str:
    """The page with the measured part in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{costs()}\n\n{END}{after}"


if __name__ == "__main__":
    assert all(math.isfinite(row["time"]) for row in figures()["rows"])
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    picture()
