"""SPT: gradients say where to spend a budget, and whether on single numbers, whole vectors or a module.

He et al., Sensitivity-Aware Visual Parameter-Efficient Fine-Tuning, arXiv 2303.08566, sections 3.1 and 3.2. With the
sensitivity s = sum over batches of g^2, `adapters.plan` (see `spt_allocation`) gives vectors that train whole, matrices
that get a low-rank module, and single numbers. These are what this method trains:

    W' = W + scatter(values)

`adapters.attach(model, *plan["methods"], train=plan["train"])` attaches all three.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from suite.adapters.carriers import SelectedEntries, TunerConfig, tuner
from suite.adapters.carriers.weights import PLAIN, has_plain_weight
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class SptConfig(TunerConfig):
    """Settings of SPT's sparse part."""

    counts: dict[str, int] = field(
        default_factory=dict, metadata={"help": "How many numbers train in each target, as `plan` finds them."}
    )
    places: dict[str, Tensor] = field(
        default_factory=dict, metadata={"help": "Which ones, as `plan` finds them.", "planned": True}
    )


@tuner(MethodInfo("spt", paper="2303.08566", trainable="what its plan chose", by_row=True, layers=PLAIN), SptConfig)
class Spt(SelectedEntries):
    """W + scatter(values), b + scatter(values)."""

    parameter_names: ClassVar = ("values",)
    buffer_names: ClassVar = ("indices",)
    entry_tensors: ClassVar = ("weight", "bias")

    def choose(self, adapter: str) -> Tensor:
        config = self.settings[adapter]
        if self.target not in config.counts or not has_plain_weight(self.host):
            raise InputError(f"{self.target}: spt trains numbers of plain weights that `plan` found; pass its settings")
        places = config.places.get(self.target, torch.arange(config.counts[self.target]))  # a file brings them
        return places.to(self.host.weight.device, torch.int32)

    def start(self, adapter: str, places: Tensor) -> Tensor:
        return torch.zeros(places.shape, device=places.device)

    def values(self, adapter: str) -> Tensor:
        return self.original(adapter) + self.trained(adapter)
