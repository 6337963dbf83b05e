"""The page that shows a run: what was set, how it went, what came out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from suite.media import plots
from suite.media.report import Report
from suite.training.folder import RunFolder
from suite.training.logs import read_lines

FAMILIES = {
    "loss": ("loss", lambda name: name.endswith("/loss")),
    "validation": ("", lambda name: name.startswith("val/") and not name.endswith("/loss")),
    "learning_rate": ("learning rate", lambda name: name == "lr"),
}
"""Plots of a run: file name to the label of the axis and the values drawn together."""


def write_plots(run: RunFolder) -> list[Path]:
    """Draw `plots/*.png` from `metrics.jsonl`; a family without values has no plot."""
    lines = read_lines(run.metrics) if run.metrics.is_file() else []
    written = []
    for family, (axis, belongs) in FAMILIES.items():
        series: dict[str, list[tuple[float, float]]] = {}
        for line in lines:
            for name, value in line.items():
                if belongs(name) and value is not None:
                    series.setdefault(name, []).append((line["step"], value))
        if series:
            figure = plots.curves(series, title=family.replace("_", " "), y=axis)
            written.append(plots.save(figure, run.plots / f"{family}.png"))
    return written


def add_run(report: Report, run: RunFolder, metrics: Mapping[str, float]) -> None:
    """Add what a run gave to a report: its numbers and its plots."""
    if metrics:
        report.table(["value", "last"], [[name, f"{value:.6g}"] for name, value in sorted(metrics.items())])
    report.gallery([(path, path.stem.replace("_", " ")) for path in write_plots(run)])


def write_report(run: RunFolder, metrics: Mapping[str, float], *, title: str) -> Path:
    """Write `plots/` and `report.html` of a run."""
    report = Report(title, subtitle=run.path.name)
    report.section("Results")
    add_run(report, run, metrics)
    report.section("Configuration").code(run.config.read_text(encoding="utf-8"))
    return report.save(run.report)
