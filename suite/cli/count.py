"""`suite DOMAIN count`: how many parameters a configuration trains; no weights are read or made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.cli.loading import loading, without
from suite.cli.options import Parser
from suite.cli.output import Answer
from suite.cli.train import checked
from suite.domain import Domain


def run(domain: Domain, argv: Sequence[str]) -> Answer:
    """Build the configuration's model on the meta device and count."""
    parser = Parser(
        f"suite {domain.name} count",
        description="Count trainable and all parameters on the meta device: nothing is downloaded or allocated.",
        words="--config FILE [--section.key VALUE ...]",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration")
    given, overrides = parser.parse_known_args(list(argv))

    # peft imports its 4-bit kernels wherever they are installed; nothing that is counted uses them.
    with loading(), without("bitsandbytes"):
        import torch

        from suite import training

        config = checked(training.load_config(given.config, overrides), domain)
        recipe = training.recipe_of(config)
        with torch.device("meta"):
            recipe.configure_model()
            others, costs = recipe.comparisons(), recipe.costs()
    return _answer(given.config, recipe.model, others, costs)


def _answer(config: Path, model: Any, others: Mapping[str, int], costs: Mapping[str, str]) -> Answer:
    """What trains of a model, its share, and the same beside other numbers; adapters that wait are taken off."""
    from suite import adapters

    trainable, total = adapters.count(model)
    every, active = adapters.attached(model), adapters.active(model)
    # Adapters that are trained in turn lie beside the one that trains: its share is of the base and itself.
    for name in set(every) - set(active):
        adapters.detach(model, name)
    percent = adapters.count(model).percent
    comparisons = [
        {"with": name, "parameters": number, "fewer_percent": 100 * (1 - trainable / number)}
        for name, number in others.items()
    ]
    beside = f" (the base and {len(every)} adapters)" if len(every) > len(active) else ""
    lines = [
        f"trainable  {trainable:,}",
        f"total      {total:,}{beside}",
        f"share      {percent:.4f} %",
        *map(_compared, comparisons),
        *(f"{name:<10} {text}" for name, text in costs.items()),
    ]
    data = {
        "config": config,
        "trainable": trainable,
        "total": total,
        "percent": percent,
        "comparisons": comparisons,
        "costs": costs,
    }
    return Answer(data, "\n".join(lines))


def _compared(row: Mapping[str, Any]) -> str:
    fewer, word = abs(row["fewer_percent"]), "fewer" if row["fewer_percent"] >= 0 else "more"
    return f"           {fewer:.3f} % {word} than {row['with']} ({row['parameters']:,})"
