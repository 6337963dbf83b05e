"""What benchmarks of single layers share: one training step, and the file in which figures are kept."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

RESULTS = Path(__file__).parent / "results"


def step_of(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> Callable[[], None]:
    """One training step: forward and backward."""
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]

    def step() -> None:
        layer(x).backward(gradient)
        x.grad = None
        for parameter in trained:
            parameter.grad = None

    return step


def keep(name: str, repeats: int, seconds: Mapping[str, Sequence[float]], **figures: Any) -> None:
    """Write the medians of `seconds` and further figures to `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    report = {
        "threads": 1,
        "repeats": repeats,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "median_seconds": {candidate: statistics.median(values) for candidate, values in seconds.items()},
        **figures,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
