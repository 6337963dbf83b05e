"""Light-PEFT: a short run says which heads, units, adapters and ranks a task can do without.

Gu et al., Light-PEFT: Lightening Parameter-Efficient Fine-Tuning via Early Pruning, arXiv 2406.03792, section 3. A mask
m, 1 at the start and with an L1 penalty, trains along with the adapters:

    W (m * z),    z the heads' outputs before their projection, or the MLP's units before theirs

Masking a head's attention probabilities, as the paper says it, is masking what the head gives. After the run what has
a mask at or below a quantile is cut off the base for good (`Pruning`); see `suite.training.procedures.light_peft`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from suite.adapters.blocks import ends_with
from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class LightPeftConfig(TunerConfig):
    """Settings of the estimation. Its targets are the layers that read heads or units."""

    heads: list[str] = field(
        default_factory=lambda: ["attention.output.dense", "o_proj", "attn.proj", "out_proj"],
        metadata={"help": "Endings of the targets that read heads; the others read single units."},
    )
    num_heads: int | None = field(default=None, metadata={"help": "Heads of a layer; None asks the model."})
    penalty: float = field(default=1e-4, metadata={"help": "Of the sum of |m|.", "live": True})


@tuner(
    MethodInfo(
        "light_peft",
        paper="2406.03792",
        trainable="a mask of heads or units",
        quantizable=True,
        by_row=True,
        procedure="light_peft",
    ),
    LightPeftConfig,
)
class LightPeft(WeightChange):
    """W (m * z)."""

    parameter_names: ClassVar = ("mask",)

    def create(self, adapter: str, config: LightPeftConfig) -> dict[str, Tensor]:
        count = self.in_features
        if ends_with(self.target, config.heads):
            count = config.num_heads or 0
            if not count or self.in_features % count:
                raise ValueError(
                    f"{self.target}: {self.in_features} inputs are not those of {count} heads; set num_heads"
                )
        mask = torch.ones(count)
        return {"mask": mask if config.init_weights else mask + 0.3 * torch.randn(count)}

    def _spread(self, adapter: str) -> Tensor:
        mask = self.tensor("mask", adapter)
        return mask.repeat_interleave(self.in_features // len(mask))  # (in,)

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        return weight * self._spread(adapter).to(weight), bias

    def apply_around(self, x: Tensor, inner: Callable[[Tensor], Tensor], adapter: str) -> Tensor:
        return inner(x * self._spread(adapter).to(x.dtype))

    def penalty(self, adapter: str) -> dict[str, Tensor]:
        return {"l1": self.settings[adapter].penalty * self.tensor("mask", adapter).abs().sum()}


def kept(
    values: Mapping[str, Tensor], ratio: float, scope: Literal["layer", "global"] = "global"
) -> dict[str, list[int]]:
    """Which of each layer's values are above the quantile of their layer, or of all: what stays."""
    if not 0 <= ratio < 1:
        raise InputError(f"pruning ratio {ratio} must be from 0 to below 1")
    every = torch.cat([value.flatten().double() for value in values.values()]).quantile(ratio)
    limits = {n: value.double().quantile(ratio) if scope == "layer" else every for n, value in values.items()}
    return {name: (value.double() > limits[name]).nonzero()[:, 0].tolist() for name, value in values.items()}


def module_importance(base: Tensor, change: Tensor, valid: Tensor) -> Tensor:
    """How large what an adapter adds is beside what it adds to, over valid tokens (batch, tokens): a scalar."""
    ratio = change.float().norm(dim=-1) / base.float().norm(dim=-1)
    return (ratio * valid).sum() / valid.sum()


def rank_importance(a: Tensor, a_grad: Tensor, b: Tensor, b_grad: Tensor) -> Tensor:
    """First-order importance of each rank of B (out, r) A (r, in): (r,). What is not finite counts as 0."""
    found = (a * a_grad).float().mean(1).abs() + (b * b_grad).float().mean(0).abs()
    return torch.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True)
class Pruning:
    """What is cut off a base, by the layer that reads it: an adapter that was trained on what is left needs it.

    Attributes:
        heads, units: what stays, by the name of the layer that reads heads, or units.
        head_size: channels of a head.
    """

    heads: Mapping[str, list[int]]
    units: Mapping[str, list[int]]
    head_size: int

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`: `adapters.save(model, folder, extra={"pruning": ...})` keeps it with an adapter."""
        return asdict(self)

    @torch.no_grad()
    def apply(self, model: nn.Module, producers: Callable[[str], list[str]] | None = None) -> None:
        """Cut rows off the layers that make heads and units and columns off those that read them, in place.

        Args:
            model: a bare base.
            producers: the layers that make what a layer reads; None: as the names of BERT's, Llama's and OPT's say.

        Raises:
            InputError: a layer is not there, or has other sizes than the indices say.
        """
        cuts = []
        for name, stay in (*self.heads.items(), *self.units.items()):
            size = self.head_size if name in self.heads else 1
            index = torch.tensor([place * size + step for place in stay for step in range(size)], dtype=torch.int64)
            reader, makers = _linear(model, name), [_linear(model, other) for other in (producers or made_by)(name)]
            if index.numel() == 0 or index.max() >= reader.in_features:
                raise InputError(f"{name} has {reader.in_features} inputs, and {len(stay)} of them by {size} stay")
            if any(maker.out_features != reader.in_features for maker in makers):
                raise InputError(f"{name}: its heads share keys and values, and cannot be cut one by one")
            cuts.append((reader, makers, index))
        for reader, makers, index in cuts:
            reader.weight = nn.Parameter(reader.weight[:, index], requires_grad=False)
            reader.in_features = len(index)
            for maker in makers:
                maker.weight = nn.Parameter(maker.weight[index], requires_grad=False)
                if maker.bias is not None:
                    maker.bias = nn.Parameter(maker.bias[index], requires_grad=False)
                maker.out_features = len(index)


MADE_BY = {
    "attention.output.dense": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "self_attn.o_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.out_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.down_proj": ("mlp.gate_proj", "mlp.up_proj"),
    "output.dense": ("intermediate.dense",),
    "fc2": ("fc1",),
}


def made_by(name: str) -> list[str]:
    """The layers that make what a layer reads, by the names that they have beside it."""
    for ending, makers in MADE_BY.items():
        if ends_with(name, [ending]):
            return [name.removesuffix(ending) + maker for maker in makers]
    raise InputError(f"pruning: which layers make what {name} reads? pass producers=")


def _linear(model: nn.Module, name: str) -> nn.Linear:
    try:
        found = model.get_submodule(name)
    except AttributeError as error:
        raise InputError(f"pruning: there is no layer {name} in this base") from error
    if not isinstance(found, nn.Linear):
        raise InputError(f"pruning: {name} is a {type(found).__name__}, and only linear layers are cut")
    return found
