"""The table and the file of what was measured."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.claim import Claim, Figure

VERDICTS = {True: "holds", False: "MISSED", None: ""}


def print_table(figures: Mapping[Claim, Sequence[Figure]], left_out: Mapping[Claim, str]) -> None:
    """One table of all figures beside their goals, and a line for each claim that was not measured."""
    table = Table(show_lines=False)
    for column in ("claim", "what", "figure", "goal", "", "also"):
        table.add_column(column, overflow="fold", justify="right" if column in ("figure", "goal") else "left")
    for claim, measured in figures.items():
        for number, figure in enumerate(measured):
            table.add_row(claim.name if number == 0 else "", *_cells(figure))
        table.add_section()
    console = Console(width=150, highlight=False)
    console.print(table)
    for claim, reason in left_out.items():
        console.print(f"not measured: {claim.name} ({claim.title}): {reason}", markup=False)
    goals = [figure for measured in figures.values() for figure in measured if figure.goal is not None]
    console.print(f"{sum(bool(figure.holds) for figure in goals)} of {len(goals)} goals hold")


def _cells(figure: Figure) -> list[str]:
    goal = "" if figure.goal is None else f"{'>=' if figure.sense == 'at least' else '<='} {figure.goal:g}"
    number = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
    return [figure.name, f"{number} {figure.unit}", goal, VERDICTS[figure.holds], figure.note]


def write(path: Path, figures: Mapping[Claim, Sequence[Figure]], left_out: Mapping[Claim, str], seconds: float) -> None:
    """Keep the figures with everything that they depend on."""
    report: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "seconds": round(seconds, 1),
        "claims": {
            claim.name: [dataclasses.asdict(figure) | {"holds": figure.holds} for figure in measured]
            for claim, measured in figures.items()
        },
        "not measured": {claim.name: reason for claim, reason in left_out.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
