"""LLaMA-Adapter: prompts that the last layers attend to beside the text, behind a gate that starts closed.

Zhang et al., LLaMA-Adapter: Efficient Fine-tuning of Language Models with Zero-init Attention, arXiv 2303.16199,
equations 3 to 8. With P_K and P_V what the layer's own projections make of its prompt, without positions:

    softmax(Q K^T / sqrt(d)) V + g * softmax(Q P_K^T / sqrt(d)) P_V        before the output projection

The authors' gate is one number a head; peft's `adaption_prompt` has one a layer (`gate="scalar"`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from suite.adapters.blocks import block_names
from suite.adapters.carriers import TunerConfig, tuner
from suite.adapters.carriers.attention import Attend, AttentionSite
from suite.adapters.carriers.child import ChildTuner, exactly
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class LlamaAdapterConfig(TunerConfig):
    """Settings of LLaMA-Adapter. Without `target_modules` the attentions of the last layers are meant."""

    adapter_len: int = field(default=10, metadata={"help": "Prompts of a layer."})
    adapter_layers: int = field(default=30, metadata={"help": "How many of the last layers have them."})
    gate: Literal["per_head", "scalar"] = field(
        default="per_head", metadata={"help": "One gate a head, as the authors', or one a layer, as peft's."}
    )
    attention: str = field(default="self_attn", metadata={"help": "What the attention of a layer is called."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adapter_len < 1 or self.adapter_layers < 1:
            raise ValueError(
                f"adapter_len={self.adapter_len} and adapter_layers={self.adapter_layers} must be at least 1"
            )


class _LlamaAdapterTuner(ChildTuner):
    def _prepare_adapter_config(self, peft_config: LlamaAdapterConfig, model_config: dict) -> LlamaAdapterConfig:
        if peft_config.target_modules is None:
            blocks = block_names(self.model)
            if peft_config.adapter_layers > len(blocks):
                raise InputError(
                    f"llama_adapter: adapter_layers is {peft_config.adapter_layers}, the model has {len(blocks)} layers"
                )
            last = blocks[-peft_config.adapter_layers :]
            peft_config.target_modules = exactly(f"{name}.{peft_config.attention}" for name in last)
        return peft_config


@tuner(
    MethodInfo(
        "llama_adapter",
        paper="2303.16199",
        trainable="prompts, and gates by head",
        mergeable=False,
        quantizable=True,
        scalable=True,
        layers=("TransformersAttention",),
    ),
    LlamaAdapterConfig,
)
class LlamaAdapter(AttentionSite):
    """Attention to the text, and gated attention to prompts."""

    tuner_base = _LlamaAdapterTuner
    parameter_names: ClassVar = ("prompt", "gate")  # (adapter_len, width) and (heads,) or (1,)

    def create(self, adapter: str, config: LlamaAdapterConfig) -> dict[str, Tensor]:
        width = int(self.host.k_proj.in_features)
        heads = self.host.q_proj.out_features // self.host.head_dim if config.gate == "per_head" else 1
        gate = torch.zeros(heads) if config.init_weights else 0.5 * torch.randn(heads)
        return {"prompt": torch.randn(config.adapter_len, width), "gate": gate}

    def attend(
        self, inner: Attend, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, adapter: str
    ) -> tuple[Tensor, Tensor | None]:
        output, weights = inner(query, key, value, mask)  # (B, T, heads, d)
        prompt = self.tensor("prompt", adapter).to(query.dtype)
        heads, size = key.shape[1], key.shape[3]
        own_key, own_value = (  # (1, kv heads, adapter_len, d)
            projection(prompt).view(1, -1, heads, size).transpose(1, 2)
            for projection in (self.host.k_proj, self.host.v_proj)
        )
        attended = functional.scaled_dot_product_attention(
            query, own_key.expand(len(query), -1, -1, -1), own_value.expand(len(query), -1, -1, -1), enable_gqa=True
        )
        gate = self.strength(adapter) * self.tensor("gate", adapter).to(query.dtype)
        return output + gate[:, None] * attended.transpose(1, 2), weights

    def outer_strength(self, adapter: str) -> float:
        return 1.0  # the gate has it


def official_tensors(state: dict[str, Tensor], layers: int, adapter_len: int = 10) -> dict[str, Tensor]:
    """The released file's `adapter_query.weight` and `layers.{i}.attention.gate` as our tensors by layer and name.

    Args:
        state: of the file; the prompts of the adapted layers are stacked in `adapter_query.weight`, in their order, and
            layers before them may have gates, too, which do nothing.
        layers: of the whole model, whose last ones are adapted.
        adapter_len: prompts of a layer.

    Raises:
        InputError: the file is of other sizes, lacks a gate, or holds something else.
    """
    unknown = [
        key for key in state if key != "adapter_query.weight" and not re.search(r"^layers\.\d+\.attention\.gate$", key)
    ]
    if unknown or "adapter_query.weight" not in state:
        raise InputError(f"llama_adapter: no file of prompts and gates: {', '.join(unknown[:3]) or 'no adapter_query'}")
    prompts = state["adapter_query.weight"]
    if len(prompts) % adapter_len or len(prompts) > adapter_len * layers:
        raise InputError(f"llama_adapter: {len(prompts)} prompts are not {adapter_len} for some of {layers} layers")
    adapted = range(layers - len(prompts) // adapter_len, layers)
    if missing := [f"layers.{n}.attention.gate" for n in adapted if f"layers.{n}.attention.gate" not in state]:
        raise InputError(f"llama_adapter: the file lacks {', '.join(missing[:3])}")
    found = {}
    for number, prompt in zip(adapted, prompts.split(adapter_len), strict=True):
        found[f"{number}.prompt"] = prompt
        found[f"{number}.gate"] = state[f"layers.{number}.attention.gate"].flatten()
    return found
