"""The page that shows a run: what was set, how it went, what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from suite.media import plots
from suite.media.report import Part, Report
from suite.training.folder import RunFolder
from suite.training.labels import label
from suite.training.logs import read_lines

Series = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Family:
    """A plot of a run: its heading, its vertical axis and which logged values are drawn together."""

    title: str
    axis: str
    belongs: Callable[[str], bool]


FAMILIES = {
    "loss": Family("Loss, in training and on held-out data", "loss", lambda name: name.endswith("/loss")),
    "validation": Family(
        "Scores on held-out data", "score", lambda name: name.startswith("val/") and not name.endswith("/loss")
    ),
    "learning_rate": Family("Learning rate", "learning rate", lambda name: name == "lr"),
}
"""By the name of the plot's file, the one to look at first before the others."""


def write_plots(run: RunFolder, labels: Mapping[str, str]) -> list[Path]:
    """Draw `plots/*.png` from `metrics.jsonl`; a family without values has no plot.

    Args:
        labels: names of values for people, where the recipe states some (`AdapterModule.labels`).
    """
    logged = _series(run)
    written = []
    for name, family in FAMILIES.items():
        series = {label(key, labels): points for key, points in logged.items() if family.belongs(key)}
        if series:
            figure = plots.curves(series, title=family.title, x="optimiser steps", y=family.axis)
            written.append(plots.save(figure, run.plots / f"{name}.png"))
    return written


def in_order(pictures: Iterable[Path]) -> list[Path]:
    """Plots of a run in the order in which they are looked at."""
    order = list(FAMILIES)
    return sorted(pictures, key=lambda path: order.index(path.stem) if path.stem in order else len(order))


def add_values(part: Part, run: RunFolder, metrics: Mapping[str, float], labels: Mapping[str, str]) -> None:
    """Add the table of what a run logged: each value's first and its result."""
    if not metrics:
        return
    first = {name: points[0][1] for name, points in _series(run).items()}
    # What was measured on held-out data is what a run is judged by.
    names = sorted(metrics, key=lambda name: (not name.startswith("val/"), not name.startswith("train/"), name))
    rows = [[label(name, labels), first.get(name), float(metrics[name])] for name in names]
    part.table(["value", "first", "result"], rows)


def add_run(report: Part, run: RunFolder, metrics: Mapping[str, float], labels: Mapping[str, str]) -> None:
    """Add what a run gave to a report: its plots and its numbers."""
    # The charts carry their titles themselves.
    report.gallery([(path, FAMILIES[path.stem].title) for path in write_plots(run, labels)], captions=False)
    add_values(report, run, metrics, labels)


def write_report(run: RunFolder, metrics: Mapping[str, float], *, title: str, labels: Mapping[str, str]) -> Path:
    """Write `plots/` and `report.html` of a run."""
    report = Report(title.capitalize(), subtitle=f"run {run.path.name}")
    report.section("Results")
    add_run(report, run, metrics, labels)
    add_configuration(report, run)
    return report.save(run.report)


def add_configuration(report: Part, run: RunFolder) -> None:
    """Add what reproduces the run, folded."""
    report.fold("Configuration", Part().code(run.config.read_text(encoding="utf-8")))


def _series(run: RunFolder) -> Series:
    """(step, value) of everything that was logged, by name."""
    series: Series = {}
    for line in read_lines(run.metrics) if run.metrics.is_file() else []:
        for name, value in line.items():
            if name not in ("step", "epoch") and value is not None:
                series.setdefault(name, []).append((line["step"] or 0, value))
    return series
