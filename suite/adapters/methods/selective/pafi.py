"""PaFI: the smallest numbers of the model train, chosen once and without data.

Liao et al., Parameter-Efficient Fine-Tuning without Introducing New Latency, arXiv 2305.16742, section 3.1:

    mask = the b places of smallest |theta| over all targeted tensors

`select: vectors` takes biases and norms instead, in the model's order until the budget is used: BitFit under a budget
(arXiv 2106.10199, as the authors of ID3 compare it).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from suite.adapters.budget import best, numbers
from suite.adapters.carriers import SelectedEntries, TunerConfig, tuner
from suite.adapters.carriers.child import exactly
from suite.adapters.carriers.selected import SelectedTuner
from suite.adapters.carriers.weights import PLAIN, has_plain_weight
from suite.adapters.handle import base_modules
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class PafiConfig(TunerConfig):
    """Settings of PaFI. Without `target_modules` every linear layer, convolution and norm is meant."""

    budget: int | str = field(
        default="0.5%",
        metadata={"help": "Numbers that train: a count, `0.4M`, or a part of the targets' such as `1%`."},
    )
    select: Literal["smallest", "vectors"] = field(
        default="smallest", metadata={"help": "The smallest numbers, or one-dimensional tensors in their order."}
    )
    counts: dict[str, int] = field(
        default_factory=dict, metadata={"help": "How many of them lie in each target; filled in when it is attached."}
    )
    places: dict[str, Tensor] = field(
        default_factory=dict, metadata={"help": "Where they lie, while it is attached.", "planned": True}
    )


class _PafiTuner(SelectedTuner):
    def _prepare_adapter_config(self, peft_config: PafiConfig, model_config: dict[str, Any]) -> PafiConfig:
        modules = {
            name: module for name, module in base_modules(self.model).items() if name and has_plain_weight(module)
        }
        if peft_config.target_modules is None:
            peft_config.target_modules = exactly(modules)
        if not peft_config.counts:
            targets = {name: m for name, m in modules.items() if self._check_target_module_exists(peft_config, name)}
            chosen = chosen_entries(targets, peft_config.budget, peft_config.select)
            peft_config.places = {name: places for name, places in chosen.items() if len(places)}
            peft_config.counts = {name: len(places) for name, places in peft_config.places.items()}
            peft_config.target_modules = exactly(peft_config.counts)
        return peft_config


def chosen_entries(modules: dict[str, nn.Module], budget: int | str, select: str) -> dict[str, Tensor]:
    """By module the flat places, in its weight and then its bias, of what trains.

    Raises:
        InputError: there is no module, or the budget does not fit them.
    """
    if not modules:
        raise InputError("no target is an unquantized linear layer, convolution or norm")
    held = {name: Pafi.tensors_of(module) for name, module in modules.items()}
    tensors = {f"{name} {own}": tensor for name, found in held.items() for own, tensor in found.items()}
    total = sum(tensor.numel() for tensor in tensors.values())
    count = numbers(budget, total)
    if select == "vectors" or any(tensor.is_meta for tensor in tensors.values()):  # where there are no values to rank
        vectors = [name for name, tensor in tensors.items() if tensor.dim() == 1 or select != "vectors"]
        places = _in_order({name: tensors[name].numel() for name in vectors}, count)
    else:
        places = best({name: tensor.abs() for name, tensor in tensors.items()}, count, largest=False)
    offsets = {f"{name} bias": found["weight"].numel() for name, found in held.items() if "bias" in found}
    none = torch.zeros(0, dtype=torch.int64)
    return {
        name: torch.cat([places.get(f"{name} {own}", none) + offsets.get(f"{name} {own}", 0) for own in found])
        for name, found in held.items()
    }


def _in_order(sizes: dict[str, int], count: int) -> dict[str, Tensor]:
    """The first `count` places, tensor by tensor."""
    places = {}
    for name, size in sizes.items():
        places[name] = torch.arange(min(count, size))
        count -= len(places[name])
    return places


@tuner(MethodInfo("pafi", paper="2305.16742", trainable="its budget", by_row=True, layers=PLAIN), PafiConfig)
class Pafi(SelectedEntries):
    """The chosen entries of the host's weight and bias, as they are."""

    tuner_base = _PafiTuner
    parameter_names: ClassVar = ("values",)
    buffer_names: ClassVar = ("indices",)
    entry_tensors: ClassVar = ("weight", "bias")

    def choose(self, adapter: str) -> Tensor:
        config = self.settings[adapter]
        if self.target not in config.counts:
            raise InputError(f"{self.target} ({type(self.host).__name__}) has no plain weight that pafi could train in")
        device = self.host.weight.device
        places = config.places.get(self.target, torch.arange(config.counts[self.target]))  # a file brings them
        return places.to(device, torch.int32)

    def start(self, adapter: str, places: Tensor) -> Tensor:
        return self.read(places).float()

    def values(self, adapter: str) -> Tensor:
        return self.trained(adapter)
