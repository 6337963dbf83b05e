"""PaCA: r randomly chosen input columns of a weight train in place; the forward stays one product.

Woo et al., PaCA: Partial Connection Adaptation, arXiv 2503.01905, section 3:

    W[:, idx] = s * w,   s = alpha / r         dL/dw = s * g^T x[..., idx]

so the backward needs only r of the input's columns, not all of them as LoRA's first product does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.carriers import SelectedEntries, TunerConfig, tuner
from suite.adapters.naming import select
from suite.adapters.plan import mean_gradients, planner
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class PacaConfig(TunerConfig):
    """Settings of PaCA."""

    r: int = field(default=8, metadata={"help": "Number of columns."})
    alpha: float = field(
        default=8,
        metadata={
            "help": "The values are stored divided by alpha / r, which scales their learning rate.",
            "live": True,
        },
    )
    select: Literal["random", "largest", "smallest"] = field(
        default="random", metadata={"help": "`random`, or columns of `largest` or `smallest` norm.", "live": True}
    )
    columns: dict[str, list[int]] = field(
        default_factory=dict,
        metadata={
            "help": (
                "The columns themselves by module name, as `plan` chooses them from gradients; wins over `select`."
            )
        },
    )
    rank_pattern: dict[str, int] = field(
        default_factory=dict, metadata={"help": "Other r for modules whose name ends in, or matches, the key."}
    )
    alpha_pattern: dict[str, float] = field(
        default_factory=dict, metadata={"help": "Other alpha, likewise.", "live": True}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r < 1:
            raise ValueError(f"r={self.r} must be at least 1")
        if self.alpha == 0:
            raise ValueError("alpha=0 leaves nothing to train")


@tuner(MethodInfo("paca", paper="2503.01905", trainable="r * out", by_row=True, layers=("Linear",)), PacaConfig)
class Paca(SelectedEntries):
    """The columns `indices` of the host's weight."""

    parameter_names: ClassVar = ("w",)
    buffer_names: ClassVar = ("indices",)

    def choose(self, adapter: str) -> Tensor:
        config, weight = self.settings[adapter], getattr(self.host, "weight", None)
        if not isinstance(self.host, nn.Linear) or weight is None or not weight.is_floating_point():
            raise InputError(
                f"{self.target}: paca trains columns of an unquantized Linear, not {type(self.host).__name__}"
            )
        if self.target in config.columns:
            return torch.tensor(config.columns[self.target], device=weight.device)
        rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), self.target), config.r)
        if rank > self.host.in_features:
            raise InputError(f"{self.target}: r={rank} is more than its {self.host.in_features} input columns")
        return self._columns(weight.detach(), rank, config.select)

    @staticmethod
    def _columns(weight: Tensor, rank: int, select: str) -> Tensor:
        if select == "random":
            return torch.randperm(weight.shape[1], device=weight.device)[:rank]
        return weight.float().norm(dim=0).argsort(descending=select == "largest")[:rank]

    def scale(self, adapter: str, rank: int) -> float:
        """alpha / r of an adapter on this layer."""
        config = self.settings[adapter]
        return config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), self.target), config.alpha) / rank

    def start(self, adapter: str, places: Tensor) -> Tensor:
        return self.read(places).float() / self.scale(adapter, places.numel())

    def values(self, adapter: str) -> Tensor:
        return self.scale(adapter, self.places(adapter).numel()) * self.trained(adapter)

    def at(self, places: Tensor) -> tuple[slice, Tensor]:
        return slice(None), places

    def product(self, x: Tensor, adapters: Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        flat: list[Any] = []
        for adapter in adapters:
            places = self.places(adapter)
            flat += [self.scale(adapter, places.numel()), places, self.trained(adapter)]
        return _PartialProduct.apply(x, self.host.weight, self.host.bias, *flat)


class _PartialProduct(torch.autograd.Function):
    """F.linear that keeps, of its input, only the columns whose weights train."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *groups: Any) -> Tensor:
        scales, indices = groups[0::3], groups[1::3]
        ctx.save_for_backward(weight, *indices, *[x[..., index] for index in indices])
        ctx.scales, ctx.bias = scales, bias is not None
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        weight, *saved = ctx.saved_tensors
        count = len(ctx.scales)
        rows = gradient.reshape(-1, gradient.shape[-1])
        grad_x = gradient @ weight.to(gradient.dtype) if ctx.needs_input_grad[0] else None
        grad_bias = rows.sum(0) if ctx.bias and ctx.needs_input_grad[2] else None
        groups: list[Any] = []
        for scale, columns in zip(ctx.scales, saved[count:], strict=True):
            groups += [None, None, scale * (rows.T @ columns.reshape(-1, columns.shape[-1]).to(rows.dtype)).float()]
        return grad_x, None, grad_bias, *groups


@planner("paca")
def columns_by_gradient(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: Callable[[nn.Module, Any], Tensor],
    targets: Sequence[str],
    r: int = 8,
) -> dict[str, Any]:
    """The `columns` setting: in every target the r columns with the largest mean gradient."""
    names = [name for name, _ in model.named_modules()]
    chosen = [
        name for name in select(list(targets), names, "targets") if isinstance(model.get_submodule(name), nn.Linear)
    ]
    weights = {name: model.get_submodule(name).weight for name in chosen}
    gradients = mean_gradients(model, batches, loss, weights)
    columns = {name: gradient.norm(dim=0).argsort(descending=True)[:r].tolist() for name, gradient in gradients.items()}
    return {"targets": chosen, "r": r, "columns": columns}
