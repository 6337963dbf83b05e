"""NeuroAda: every neuron trains a bypass of its k strongest input connections.

Zhang et al., NeuroAda: Activating Each Neuron's Potential for Parameter-Efficient Fine-Tuning, arXiv 2510.18940:

    y_i = sum_j W_ij x_j + sum_{j in top_k |W_i|} delta_ij x_j,    delta = 0 at the start

The bypass stands in the weight itself, so that the forward is the base's; the backward makes the gradients of the k
entries of each row and no others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from suite.adapters.carriers import SelectedEntries, TunerConfig, tuner
from suite.adapters.carriers.child import exactly
from suite.adapters.carriers.weights import is_transposed
from suite.adapters.naming import select
from suite.adapters.plan import mean_gradients, planner
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class NeuroadaConfig(TunerConfig):
    """Settings of NeuroAda."""

    k: int = field(default=1, metadata={"help": "Connections a neuron; all it has, where that is fewer."})
    select: Literal["largest", "smallest", "random"] = field(
        default="largest",
        metadata={"help": "By size of the weight (`smallest` is the paper's reverse), or at random.", "live": True},
    )
    places: dict[str, Tensor] = field(
        default_factory=dict,
        metadata={"help": "The places by module, as `plan` chooses them from gradients; not saved.", "planned": True},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ValueError(f"k={self.k} must be at least 1")


def strongest(scores: Tensor, k: int, largest: bool = True) -> Tensor:
    """Flat places of the k largest, or smallest, scores of every row of (rows, columns), ascending."""
    rows, columns = scores.shape
    best = scores.topk(min(k, columns), dim=1, largest=largest).indices.sort().values  # (rows, k)
    return (torch.arange(rows, device=scores.device)[:, None] * columns + best).flatten()


@tuner(
    MethodInfo("neuroada", paper="2510.18940", trainable="k * out", by_row=True, layers=("Linear", "Conv1D", "Conv2d")),
    NeuroadaConfig,
)
class Neuroada(SelectedEntries):
    """W + delta at k entries of each neuron's row."""

    parameter_names: ClassVar = ("delta",)
    buffer_names: ClassVar = ("indices",)

    def choose(self, adapter: str) -> Tensor:
        config, weight = self.settings[adapter], getattr(self.host, "weight", None)
        if weight is None or weight.dim() < 2 or not weight.is_floating_point():
            raise InputError(f"{self.target}: neuroada wants an unquantized weight, not {type(self.host).__name__}")
        if self.target in config.places:
            return config.places[self.target].to(weight.device, torch.int32)
        weight = self.tensors_of(self.host)["weight"]
        rows = weight.T if is_transposed(self.host) else weight.flatten(1)
        if config.k > rows.shape[1]:
            warnings.warn(
                f"{self.target}: k={config.k}, and a neuron has {rows.shape[1]} inputs: all train", stacklevel=2
            )
        scores = torch.rand_like(rows) if config.select == "random" else rows.abs()
        places = strongest(scores, config.k, config.select != "smallest")
        if is_transposed(self.host):  # counted as it is stored, (in, out)
            neurons, inputs = places // rows.shape[1], places % rows.shape[1]
            places = inputs * rows.shape[0] + neurons
        return places.to(torch.int32)

    def start(self, adapter: str, places: Tensor) -> Tensor:
        return torch.zeros(places.shape, device=places.device)

    def values(self, adapter: str) -> Tensor:
        return self.original(adapter) + self.trained(adapter)


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weight_new` and `weight_position_new` of one layer of the authors' files as our tensors."""
    return {"delta": state["weight_new"], "indices": state["weight_position_new"].to(torch.int32)}


@planner("neuroada")
def by_gradient(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: Callable[[nn.Module, Any], Tensor],
    targets: Sequence[str],
    k: int = 1,
) -> dict[str, Any]:
    """The `places` setting: of every neuron the k connections with the largest mean gradient."""
    names = [name for name, _ in model.named_modules()]
    chosen = [name for name in select(list(targets), names, "targets") if _fits(model.get_submodule(name))]
    gradients = mean_gradients(model, batches, loss, {name: model.get_submodule(name).weight for name in chosen})
    places = {name: strongest(gradient.abs().flatten(1), k) for name, gradient in gradients.items()}
    return {"targets": exactly(chosen), "k": k, "places": places}


def _fits(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.dim() >= 2
