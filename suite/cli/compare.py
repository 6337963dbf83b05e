"""`suite compare`: several fine-tuning methods on one task of a domain, under one budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.cli.loading import loading
from suite.domain import find
from suite.errors import InputError
from suite.files import write_text

if TYPE_CHECKING:
    from suite.training.drivers.study import Study


def compare(
    methods: list[str],
    *,
    domain: str,
    config: Path | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    steps: int | None = None,
    epochs: int | None = None,
    metric: str | None = None,
    out: Path = Path("comparison"),
) -> dict[str, Any]:
    """Train methods on a domain's task under one budget, and put what they reach and cost beside each other.

    A folder that holds finished runs is gone on with; nothing is trained twice.

    Args:
        methods: presets of the domain or methods of `suite methods`; NAME@1e-3 gives one a learning rate of its own.
        domain: whose task.
        config: the experiment (default: the domain's tiny.yaml); its adapter is replaced.
        seeds: of training.
        steps: optimiser steps of each, in the place of the configuration's end.
        epochs: epochs of each, likewise.
        metric: the figure that ranks them, e.g. val/auroc (default: accuracy of classes, the figure of a domain's own
            scorer, what the trainer watches, or the loss).
        out: folder for the runs, comparison.json, comparison.csv and comparison.png.
    """
    find(domain)
    if steps is not None and epochs is not None:
        raise InputError("--steps and --epochs both say where training ends; give one")
    with loading():
        from suite.training.drivers.study import study

    found = study(methods, _experiment(domain, config, steps, epochs), [*seeds], out, metric)
    files = _written(found, out)
    return {**found.to_dict(), "files": [str(file) for file in files], "message": _message(found, files)}


def _experiment(domain: str, path: Path | None, steps: int | None, epochs: int | None) -> Any:
    import dataclasses

    from suite.hub import paths
    from suite.training.config import load_config

    config = load_config(path or paths.assets() / "configs" / domain / "tiny.yaml")
    if config.domain != domain:
        raise InputError(f"{path} is of the domain {config.domain}, not {domain}")
    ends: dict[str, Any] = {}
    if steps is not None:
        ends = {"max_steps": steps, "max_epochs": -1}
    elif epochs is not None:
        ends = {"max_epochs": epochs, "max_steps": -1}
    recipe = config.recipe
    if ends and "stages" in recipe:  # adapters in turn, which the configuration may end one by one
        recipe = {**recipe, "stages": {name: _without_end(given) for name, given in recipe["stages"].items()}}
    return dataclasses.replace(config, recipe=recipe, trainer=dataclasses.replace(config.trainer, **ends))


def _without_end(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in ("max_steps", "max_epochs")}


def headings(found: Study) -> tuple[str, ...]:
    """Of the table."""
    return ("method", found.metric, "spread", "parameters", "keeps MiB", "seconds")


def cells(found: Study) -> list[list[str]]:
    """The table, best first."""
    shown = []
    for row in found.ranked():
        spread = f"{row.spread[found.metric]:.3f}" if row.spread else "-"
        memory = f"{row.metrics['kept_bytes'] / 2**20:.1f}"
        reached = f"{row.metrics[found.metric]:.3f}"
        shown.append([row.method, reached, spread, f"{row.parameters:,}", memory, f"{row.cpu_seconds:.0f}"])
    return shown


def _message(found: Study, files: Sequence[Path]) -> str:
    from suite.tables import aligned

    lines = [aligned([headings(found), *cells(found)])]
    if found.agreement:
        pairs = [(one, other) for one in found.agreement for other in found.agreement if one < other]
        shares = [found.agreement[one][other] for one, other in pairs]
        if shares:
            lines.append(f"two methods predict the same in {min(shares):.1%} to {max(shares):.1%} of the cases")
        lines.append(f"all together reach {found.ensemble:.3f}, {found.gain:+.3f} over the best of them")
    return "\n".join([*lines, *(f"wrote {file}" for file in files)])


def _written(found: Study, out: Path) -> list[Path]:
    from suite.tables import csv_text

    files = [
        write_text(out / "comparison.json", json.dumps(found.to_dict(), indent=2) + "\n"),
        write_text(out / "comparison.csv", csv_text([headings(found), *cells(found)])),
    ]
    return [*files, _picture(found, out / "comparison.png")]


def _picture(found: Study, path: Path) -> Path:
    """What ranks the methods over parameters, with its spread; and, of classes, how often two predict the same."""
    from matplotlib.figure import Figure

    from suite.media import plots

    panels = 2 if found.agreement else 1
    figure = Figure(figsize=(5.5 * panels, 4.4), layout="constrained")
    left, *rest = figure.subplots(1, panels, squeeze=False).ravel()
    for row in found.rows:
        reached = row.metrics[found.metric]
        left.errorbar(row.parameters, reached, yerr=row.spread.get(found.metric, 0.0), fmt="o", capsize=3)
        left.annotate(row.method, (row.parameters, reached), (4, 4), textcoords="offset points")
    if found.ensemble is not None:
        left.axhline(found.ensemble, linestyle="--", color="grey")
        left.annotate(
            "all together", (0, found.ensemble), (4, 4), xycoords=("axes fraction", "data"), textcoords="offset points"
        )
    left.margins(x=0.2)
    left.set(xscale="log", xlabel="numbers in the adapter's files", ylabel=f"{found.metric} on validation data")
    for right in rest:
        _shares(figure, right, found)
    return plots.save(figure, path)


def _shares(figure: Any, right: Any, found: Study) -> None:
    """How often two methods predict the same."""
    names = [row.method for row in found.rows]
    shares = [[found.agreement[one][other] for other in names] for one in names]
    image = right.imshow(shares, vmin=min(map(min, shares)), vmax=1.0, cmap="viridis")
    right.set_xticks(range(len(names)), names, rotation=45, ha="right")
    right.set_yticks(range(len(names)), names)
    for y, line in enumerate(shares):
        for x, share in enumerate(line):
            right.text(x, y, f"{share:.2f}", ha="center", va="center", color="white" if share < 0.9 else "black")
    right.set_title("share of equal predictions")
    figure.colorbar(image, ax=right)
