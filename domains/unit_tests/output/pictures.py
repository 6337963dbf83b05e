"""Pictures of judged tests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from domains.unit_tests.types import Judged
from suite.media import plots, style


def funnel(judged: Judged, path: Path) -> Path:
    """Draw how many tests are left after each step, and beside it why the others are not."""
    ran = [verdict for verdict in judged.verdicts if verdict.runs]
    steps = {
        "given": len(judged.verdicts),
        "assert something": len(ran),
        "pass once": sum(verdict.runs[0] == "passed" for verdict in ran),
        "pass every time": sum(set(verdict.runs) == {"passed"} for verdict in ran),
        "kept": len(judged.kept),
    }
    reasons = Counter(verdict.reason for verdict in judged.verdicts if verdict.reason)
    figure = style.figure(9, 0.42 * max(len(steps), len(reasons)) + 1.0)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.15, 1)})
    for axes, counts, color, title in (
        (left, steps, style.PALETTE[0], "From given to kept"),
        (right, dict(reasons.most_common()), style.PALETTE[1], "Why the others are not"),
    ):
        names = list(counts)
        bars = axes.barh(range(len(names)), list(counts.values()), color=color, height=0.62)
        axes.bar_label(bars, padding=4, color=style.INK, fontsize=9)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, max([*counts.values(), 1]) * 1.15)
        axes.set_title(title, color=style.INK, fontsize=11, loc="left")
        style.frame(axes)
        axes.set_xticks([])
        for side in ("top", "right", "bottom"):
            axes.spines[side].set_visible(False)
    return plots.save(figure, path)
