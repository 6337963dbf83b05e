"""LoFiT: what few attention heads give is scaled, then shifted.

Yin et al., LoFiT: Localized Fine-tuning on LLM Representations, arXiv 2406.01563, section 3. With z the output of one
head, before the heads' projection:

    step 1, `scale`:   z <- (1 + A) z  on all heads, with an L1 penalty on A; heads are ranked by ||A||
    step 2, `offset`:  z <- z + v      on the best heads alone

Both fold into the projection W that reads the heads: A into its columns, v into its bias, b + W v.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from suite.adapters.attach import attach
from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.carriers.base import CarrierTuner
from suite.adapters.carriers.child import exactly
from suite.adapters.detach import detach
from suite.adapters.handle import base_modules, layers
from suite.adapters.plan import planner
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class LofitConfig(TunerConfig):
    """Settings of LoFiT. Its targets are the projections that read the heads."""

    stage: Literal["scale", "offset"] = field(default="offset", metadata={"help": "Which of the two steps this is."})
    num_heads: int | None = field(default=None, metadata={"help": "Query heads of a layer; None asks the model."})
    heads: dict[str, list[int]] = field(
        default_factory=dict, metadata={"help": "The heads by module, as `plan` chooses them; all where it is empty."}
    )
    penalty: float | None = field(
        default=None,
        metadata={"help": "Of the sum of |A| or |v|; None is 5e-4 for scales, 0 for offsets.", "live": True},
    )
    std: float = field(default=1e-3, metadata={"help": "Of the start; 0 starts at the identity.", "live": True})


class _LofitTuner(CarrierTuner):
    target_module_mapping: ClassVar = {
        name: ["o_proj"] for name in ("llama", "mistral", "gemma", "gemma2", "qwen2", "qwen3")
    }

    def _prepare_adapter_config(self, peft_config: LofitConfig, model_config: dict[str, Any]) -> LofitConfig:
        config = super()._prepare_adapter_config(peft_config, model_config)
        if config.num_heads is None:
            told = (getattr(module, "num_heads", None) for module in base_modules(self.model).values())
            config.num_heads = model_config.get("num_attention_heads") or next(
                (n for n in told if isinstance(n, int)), None
            )
        if config.num_heads is None:
            raise InputError(f"{type(self.model).__name__} does not tell how many heads it has; pass num_heads=")
        return config


@tuner(
    MethodInfo("lofit", paper="2406.01563", trainable="in", identity_at_start=False, quantizable=True, by_row=True),
    LofitConfig,
)
class Lofit(WeightChange):
    """W ((1 + A) z) + b, or W (z + v) + b."""

    tuner_base = _LofitTuner
    parameter_names: ClassVar = ("scale", "offset")

    def create(self, adapter: str, config: LofitConfig) -> dict[str, Tensor]:
        heads = config.num_heads
        if not heads or self.in_features % heads:
            raise ValueError(f"{self.target}: {self.in_features} inputs are not those of {heads} heads; set num_heads")
        chosen = config.heads.get(self.target, [*range(heads)])
        if not chosen or not all(0 <= head < heads for head in chosen):
            raise ValueError(f"{self.target}: heads {chosen} are not among its {heads}")
        std = config.std if config.init_weights else 0.1
        return {config.stage: std * torch.randn(len(chosen), self.in_features // heads)}

    def _spread(self, adapter: str) -> Tensor:
        """A or v over all inputs of the projection, 0 at the heads that have none: (in,)."""
        config = self.settings[adapter]
        values = self.tensor(config.stage, adapter)  # (chosen, size of a head)
        if self.target not in config.heads:
            return values.flatten()
        spread = values.new_zeros(config.num_heads, values.shape[1])
        return spread.index_copy(0, torch.tensor(config.heads[self.target], device=values.device), values).flatten()

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        spread = self._spread(adapter).to(weight)
        if self.settings[adapter].stage == "scale":
            return weight * (1 + spread), bias
        shift = weight @ spread  # (out,)
        return weight, shift if bias is None else bias + shift

    def apply_around(self, x: Tensor, inner: Callable[[Tensor], Tensor], adapter: str) -> Tensor:
        spread = self._spread(adapter).to(x.dtype)
        return inner(x * (1 + spread) if self.settings[adapter].stage == "scale" else x + spread)

    def penalty(self, adapter: str) -> dict[str, Tensor]:
        config = self.settings[adapter]
        weight = (5e-4 if config.stage == "scale" else 0.0) if config.penalty is None else config.penalty
        return {"l1": weight * self.tensor(config.stage, adapter).abs().sum()} if weight else {}


def best_heads(model: nn.Module, count: int, name: str | None = None) -> dict[str, Any]:
    """The settings of step 2 from a model with a trained step 1: the heads of largest ||A||, by module."""
    found = [layer for _, layer in layers(model, "lofit", name)]
    norms = torch.stack([layer.tensor("scale", layer.active_adapters[0]).norm(dim=1).cpu() for layer in found])
    heads: dict[str, list[int]] = {}
    for place in norms.flatten().topk(count).indices.tolist():
        heads.setdefault(found[place // norms.shape[1]].target, []).append(place % norms.shape[1])
    return {"stage": "offset", "num_heads": norms.shape[1], "targets": exactly(heads), "heads": heads}


@planner("lofit")
def by_scales(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: Callable[[nn.Module, Any], Tensor],
    targets: Sequence[str] | str,
    heads: int = 32,
    lr: float = 5e-3,
    **settings: Any,
) -> dict[str, Any]:
    """Step 1 over the given batches, one AdamW step each, and the best heads after it."""
    chosen = targets if isinstance(targets, str) else list(targets)
    attach(model, "lofit", targets=chosen, stage="scale", name="lofit_plan", **settings)
    try:
        found = layers(model, "lofit", "lofit_plan")
        parameters = [layer.tensor("scale", "lofit_plan") for _, layer in found]
        optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
        steps = 0
        for batch in batches:
            steps += 1
            terms = [sum(layer.penalty("lofit_plan").values()) for _, layer in found]
            (loss(model, batch) + sum(terms)).backward()
            optimizer.step()
            optimizer.zero_grad()
        if not steps:
            raise InputError("planning: there are no batches")
        return best_heads(model, heads, "lofit_plan")
    finally:
        detach(model, "lofit_plan")


def official_tensors(state: Mapping[str, Tensor], layer: int, kind: Literal["scale", "offset"]) -> Tensor:
    """The authors' `attn_A.<head>` or `attn_v.<head>` of one layer, stacked in order: (heads, size of a head)."""
    start = f"model.layers.{layer}.self_attn.attn_{'A' if kind == 'scale' else 'v'}."
    heads = {int(key.removeprefix(start)): value for key, value in state.items() if key.startswith(start)}
    return torch.stack([heads[head] for head in sorted(heads)])
