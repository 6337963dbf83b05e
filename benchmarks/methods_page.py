"""The parts of docs/methods.md that say what methods cost and reach, and their picture, from what was kept of
`benchmarks.methods` and `suite compare` (`comparison.json`, as `results/compare_<domain>.json`).

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
MARKS = {
    "studies": ("<!-- studies: python -m benchmarks.methods_page -->", "<!-- end of studies -->"),
    "costs": ("<!-- costs: python -m benchmarks.methods_page -->", "<!-- end of costs -->"),
}
TITLES = {"llama": "two blocks of a Llama", "vit": "two blocks of a ViT", "conv": "a convolutional network"}
BOUND = 1.05
STUDIES = {
    "deepfake": ("Forged or real faces, 1760 frames", "--epochs 2 --seeds 0,1"),
    "point_cloud": ("Eight new categories of shapes, 800 clouds", "--epochs 4 --seeds 0,1"),
    "relation_extraction": ("Six new relations in documents, three adapters in turn", "--steps 150 --seeds 0,1"),
    "code_review": ("Changes that need a review, among 3008 hunks", "--steps 188 --seeds 0,1 --metric val/auroc"),
    "unit_tests": ("Tests of functions, 480 of them", "--steps 60 --seeds 0,1"),
    "text_video_retrieval": ("Sentences to made clips, 1536 pairs", "--epochs 1 --seeds 0,1"),
    "tracking": ("Figures to follow, 800 samples", "--steps 100 --seeds 0,1"),
    "music": ("Ragas and some of the old genres", "--steps 60 --seeds 0,1"),
    "personalized_diffusion": ("A robot from five pictures", "--steps 400 --seeds 0,1"),
}
MEANINGS = {
    "accuracy": "accuracy",
    "F1": "F1 of triples",
    "dino": "likeness to the subject (DINO)",
    "val/auroc": "AUROC",
    "val/recall": "recall of the clip, %",
    "val/loss": "loss on held-out data",
}
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
    parts.append(f"{_verdict(rows)} {_paca(rows)}")
    return "\n\n".join(parts)


def _verdict(rows: list[dict[str, Any]]) -> str:
    """What the column `beside` comes to."""
    beside = [row for row in rows if row["beside"] is not None]
    slower = sorted(f"`{row['method']}` on {row['host']}" for row in beside if row["beside"] > BOUND)
    above = f"{'are' if len(slower) > 1 else 'is'} {', '.join(slower)}" if slower else "is none"
    own = [row for row in beside if is_computed_here(row)]
    theirs = [row["beside"] for row in beside if not is_computed_here(row)]
    # Had the method cost nothing, its step would be the base's.
    least = statistics.median(row["beside"] / row["time"] for row in own)
    return (
        f"Of {len(beside)} steps beside another's, {len(theirs)} are of peft's own layers, which are used as they are "
        "so that they compute in plain peft what they compute here: their median is "
        f"{statistics.median(theirs):.2f}. Of the {len(own)} that are computed here the median is "
        f"{statistics.median(row['beside'] for row in own):.2f}; above {BOUND} {above}. A method that cost nothing at "
        f"all would have a median of {least:.2f} there: most of a step is the frozen base's own products, which "
        "nothing saves."
    )


def is_computed_here(row: dict[str, Any]) -> bool:
    """Whether a row's method is ours, or LoRA, whose layers are peft's and whose product is ours."""
    return row["of"] == "released" or row["method"] == "lora" or adapters.methods()[row["method"]].source == "suite"


def _paca(rows: list[dict[str, Any]]) -> str:
    paca = [f"{_ratio(rows, host):.2f}" for host in ("llama", "vit")]
    return (
        f"A step of `paca` takes {paca[0]} and {paca[1]} of one of `lora` on the two transformers; its paper says 15 % "
        "less, of a LoRA that is not fused."
    )


def studies() -> str:
    """A table a domain, the best method first."""
    parts = []
    for domain, (title, budget) in STUDIES.items():
        found = study_of(domain)
        metric, lower = found["metric"], found["lower"]
        rows = sorted(found["rows"], key=lambda row: row["metrics"][metric], reverse=not lower)
        command = f"suite compare {' '.join(row['method'] for row in found['rows'])} --domain {domain} {budget}"
        lines = [
            f"**{title}** (`{command}`)",
            "",
            f"| method | {MEANINGS[metric]} | numbers | keeps MiB | seconds |",
            "|---" * 5 + "|",
        ]
        for row in rows:
            reached = f"{row['metrics'][metric]:.3f} ± {row['spread'][metric]:.3f}"
            kept = row["metrics"]["kept_bytes"] / 2**20
            lines.append(
                f"| `{row['method']}` | {reached} | {row['parameters']:,} | {kept:.1f} | {row['cpu_seconds']:.0f} |"
            )
        if found["agreement"]:
            lines += ["", _agreement(found)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _agreement(found: dict[str, Any]) -> str:
    shares = [share for one, others in found["agreement"].items() for other, share in others.items() if one < other]
    return (
        f"Two of them predict the same in {min(shares):.0%} to {max(shares):.0%} of the cases; the mean of all "
        f"their probabilities reaches {found['ensemble']:.3f}, {found['gain']:+.3f} over the best of them in each "
        "seed."
    )


def study_of(domain: str) -> dict[str, Any]:
    """What `suite compare` wrote of a domain."""
    found: dict[str, Any] = json.loads((RESULTS / f"compare_{domain}.json").read_text(encoding="utf-8"))
    return {"metric": "accuracy", "lower": False} | found


def _ratio(rows: list[dict[str, Any]], host: str) -> float:
    times = {row["method"]: row["time"] for row in rows if row["host"] == host}
    return float(times["paca"] / times["lora"])


def picture() -> None:
    """Parameters against time, and against the quality that `suite compare` found, a panel each."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from suite.media import plots

    rows = -(-len(STUDIES) // 3)
    figure = Figure(figsize=(12.8, 6.2 + 3.8 * rows), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(6.2, 3.8 * rows))
    axes, panels = top.subplots(1, 2), bottom.subplots(rows, 3, squeeze=False).ravel()
    for place in panels[len(STUDIES) :]:
        place.remove()
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
        place.margins(x=0.15)
        place.legend()
        _named(place, [(row["method"], row["trainable"], max(row["time"], 1.0)) for row in own])
    for place, domain in zip(panels, STUDIES, strict=False):
        found = study_of(domain)
        reached, metric = found["rows"], found["metric"]
        for row in reached:
            place.errorbar(row["parameters"], row["metrics"][metric], row["spread"][metric], fmt="o", capsize=3)
        numbers = [row["parameters"] for row in reached]
        if max(numbers) > 5 * min(numbers):
            place.set_xscale("log")
            place.minorticks_off()
        else:
            place.xaxis.set_major_locator(MaxNLocator(4))
        place.margins(x=0.15)
        better = ", lower is better" if found["lower"] else ""
        place.set(xlabel="numbers in the adapter", ylabel=MEANINGS[metric] + better, title=domain.replace("_", " "))
        _named(place, [(row["method"], row["parameters"], row["metrics"][metric]) for row in reached])
    plots.save(figure, PICTURE)


def _named(place: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write names beside points, on the first side where they cover no name that is there already."""
    figure: Any = place.get_figure(root=True)
    figure.draw_without_rendering()
    taken: list[Any] = []
    for name, x, y in points:
        for right, up in ((3, 2), (3, -8), (-3, 2), (-3, -8)):
            side = "left" if right > 0 else "right"
            text = place.annotate(name, (x, y), (right, up), textcoords="offset points", size=7, ha=side)
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def written(text: str) -> str:
    """The page with the measured parts in their places."""
    for part, (begin, end) in MARKS.items():
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n\n{studies() if part == 'studies' else costs()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    assert all(math.isfinite(row["time"]) for row in figures()["rows"])
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    picture()
