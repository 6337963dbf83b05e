"""What is attached to encoders and encoder-decoders: the presets of two papers, their targets those of the base.

Liu et al., arXiv 2402.06247: LoRA on queries and values, or bottleneck adapters behind attention and feed-forward with
the layer norms trained beside them. Shi et al., arXiv 2304.05216: Telly-K, which freezes embeddings, pooler and the K
lowest layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError

LAYERS = 12
"""Of the base that Telly was published for."""

_LORA: dict[str, Any] = {"method": "lora", "lora_alpha": 32, "lora_dropout": 0.1}
_ADAPTER: dict[str, Any] = {
    "method": "series_adapter",
    "bottleneck_size": 128,
    "non_linearity": "gelu_new",
    "biases": True,
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "jit-dp-lora": {**_LORA, "r": 64},
    "cmg-lora": {**_LORA, "r": 8},
    "jit-dp-adapter": _ADAPTER,
    "cmg-adapter": _ADAPTER,
    "full": {"method": "parameters", "parameters": ["*"]},
    **{f"telly-k{frozen}": {"method": "telly", "frozen": frozen} for frozen in range(LAYERS)},
}


@dataclass(frozen=True)
class Targets:
    """Of one family of bases.

    Attributes:
        attention: its queries and values.
        outputs: what attention and feed-forward end in; of a decoder not the attention to the encoder.
        norms: globs over the layer norms' parameters.
    """

    attention: tuple[str, ...]
    outputs: tuple[str, ...]
    norms: tuple[str, ...]


TARGETS: Mapping[str, Targets] = {
    "roberta": Targets(("query", "value"), ("attention.output.dense", "output.dense"), ("*LayerNorm*",)),
    "t5": Targets(("q", "v"), ("SelfAttention.o", "wo"), ("*layer_norm*",)),
    "plbart": Targets(
        ("q_proj", "v_proj"), ("self_attn.out_proj", "fc2"), ("*self_attn_layer_norm*", "*final_layer_norm*")
    ),
}


def attach_section(model: nn.Module, section: AdapterSection, head: str = "") -> nn.Module:
    """Attach what a recipe's section says.

    Args:
        head: module that trains beside it; empty: there is none.

    Raises:
        InputError: nobody knows the preset's targets in a base of that family.
    """
    spec = section.spec(PRESETS)
    train = [head] if head else []
    if section.preset and spec["method"] in ("lora", "series_adapter"):
        known = _targets(model, section.name)
        if spec["method"] == "lora":
            spec = {"targets": list(known.attention)} | spec
        else:
            spec = {"targets": list(known.outputs), "output_modules": list(known.outputs)} | spec
            train += known.norms
    if spec["method"] == "parameters":  # everything, the head among it
        train = []
    return adapters.attach(model, spec, train=train)


def _targets(model: nn.Module, preset: str) -> Targets:
    kind = str(getattr(model.config, "model_type", ""))
    if kind not in TARGETS:
        raise InputError(
            f"recipe.adapter.preset {preset} knows the targets of {', '.join(TARGETS)}, and the base is a "
            f"{kind or 'model of another kind'}; give method and targets"
        )
    return TARGETS[kind]
