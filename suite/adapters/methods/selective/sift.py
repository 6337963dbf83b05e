"""SIFT: of every tensor the numbers of largest first gradient train.

Song et al., Sparse is Enough in Fine-tuning Pre-trained Large Language Models, arXiv 2312.11875, section 3.3:

    theta + scatter(values)    at the n places of largest |g| of each tensor,  n = min(int(rate * numel) + 1, numel)

with g the gradient of the first batch. Only the values are parameters, so that gradients and the optimiser's state are
of their number.

The places are chosen by `suite.training.procedures.sift` at the first batch, or before it by `adapters.plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from suite.adapters.budget import best
from suite.adapters.carriers import SelectedEntries, TunerConfig, tuner
from suite.adapters.carriers.child import exactly
from suite.adapters.carriers.weights import PLAIN, has_plain_weight
from suite.adapters.naming import select
from suite.adapters.plan import mean_gradients, planner
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class SiftConfig(TunerConfig):
    """Settings of SIFT."""

    rate: float = field(default=0.01, metadata={"help": "Part of every tensor that trains, one number at least."})
    places: dict[str, Tensor] = field(
        default_factory=dict, metadata={"help": "The places by module, where `plan` chose them.", "planned": True}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate={self.rate} must be above 0 and at most 1")


def largest(tensor: Tensor, rate: float) -> Tensor:
    """Flat places of the largest numbers of one tensor: (places,)."""
    count = min(int(rate * tensor.numel()) + 1, tensor.numel())
    return torch.arange(count) if tensor.is_meta else best({"": tensor.abs()}, count)[""]


def joined(places: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Tensor:
    """Places in each of a host's tensors as places that count through them: (places,)."""
    starts = dict(zip(tensors, accumulate((tensor.numel() for tensor in tensors.values()), initial=0), strict=False))
    return torch.cat([places[name] + starts[name] for name in tensors]).to(torch.int32)


@tuner(
    MethodInfo(
        "sift",
        paper="2312.11875",
        trainable="int(rate * in * out) + 1 + int(rate * out) + 1",
        by_row=True,
        layers=PLAIN,
        procedure="sift",
    ),
    SiftConfig,
)
class Sift(SelectedEntries):
    """Entries of the host's weight and bias, as they are."""

    parameter_names: ClassVar = ("values",)
    buffer_names: ClassVar = ("indices",)
    entry_tensors: ClassVar = ("weight", "bias")

    def choose(self, adapter: str) -> Tensor:
        config = self.settings[adapter]
        if not has_plain_weight(self.host):
            raise InputError(f"{self.target}: sift trains plain weights, and {type(self.host).__name__} has none")
        planned = config.places.get(self.target)
        if planned is None:  # until there is a gradient, the largest numbers
            held = self.tensors_of(self.host)
            planned = joined({name: largest(tensor, config.rate) for name, tensor in held.items()}, held)
        return planned.to(self.host.weight.device)

    def is_chosen(self, adapter: str) -> bool:
        """Whether the places are there to stay: a plan's, or those of an adapter that has learnt something."""
        learnt = not torch.equal(self.trained(adapter), self.original(adapter).float())
        return self.target in self.settings[adapter].places or learnt

    def start(self, adapter: str, places: Tensor) -> Tensor:
        return self.read(places).float()

    def values(self, adapter: str) -> Tensor:
        return self.trained(adapter)


@planner("sift")
def by_gradient(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: Callable[[nn.Module, Any], Tensor],
    targets: Sequence[str],
    rate: float = 0.01,
) -> dict[str, Any]:
    """The `places` setting from mean gradients; with one batch it is the authors' choice."""
    names = [name for name, module in model.named_modules() if has_plain_weight(module)]
    chosen = {name: Sift.tensors_of(model.get_submodule(name)) for name in select(list(targets), names, "targets")}
    wanted = {f"{name}.{own}": model.get_parameter(f"{name}.{own}") for name, held in chosen.items() for own in held}
    gradients = mean_gradients(model, batches, loss, wanted)
    places = {
        name: joined({own: largest(gradients[f"{name}.{own}"], rate) for own in held}, held)
        for name, held in chosen.items()
    }
    return {"targets": exactly(chosen), "rate": rate, "places": places}
