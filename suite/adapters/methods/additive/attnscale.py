"""AttnScale: the attention scores of every pair of tokens get a learned factor.

Basu et al., Strong Baselines for Parameter Efficient Few-Shot Fine-tuning, arXiv 2304.01917, section 4:

    softmax(M * (Q K^T / sqrt(d))) V,    M (tokens, tokens), 1 at the start

Where M stands the paper does not say; `place: weights` multiplies the softmax's result instead. With `dra` it is the
paper's second baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from suite.adapters.carriers import Site, TunerConfig, tuner
from suite.adapters.carriers.child import ChildTuner, exactly
from suite.adapters.handle import base_modules
from suite.adapters.registry import MethodInfo
from suite.errors import InputError

PARTS = ("qkv", "q_norm", "k_norm", "attn_drop", "norm", "proj", "proj_drop", "num_heads", "head_dim")


@dataclass
class AttnscaleConfig(TunerConfig):
    """Settings of AttnScale. Without `target_modules` every attention of timm's kind is meant."""

    per_head: bool = field(default=False, metadata={"help": "A matrix for every head, not one for all of a block."})
    place: Literal["scores", "weights"] = field(
        default="scores", metadata={"help": "Before the softmax or after it.", "live": True}
    )
    tokens: int | None = field(
        default=None, metadata={"help": "Tokens of a sequence; None asks the position embedding."}
    )


class _AttnscaleTuner(ChildTuner):
    def _prepare_adapter_config(self, peft_config: AttnscaleConfig, model_config: dict[str, Any]) -> AttnscaleConfig:
        if peft_config.target_modules is None:
            peft_config.target_modules = exactly(name for name, m in base_modules(self.model).items() if fits(m))
        if peft_config.tokens is None:
            places = getattr(self.model, "pos_embed", None)
            if not isinstance(places, Tensor):
                raise InputError(f"{type(self.model).__name__} does not tell how many tokens it has; pass tokens=")
            prefix = getattr(self.model, "num_prefix_tokens", 0) if getattr(self.model, "no_embed_class", False) else 0
            peft_config.tokens = places.shape[1] + prefix
        return peft_config


def fits(module: nn.Module) -> bool:
    """Whether a module is an attention of timm's kind."""
    return all(hasattr(module, part) for part in PARTS)


@tuner(
    MethodInfo(
        "attnscale",
        paper="2304.01917",
        trainable="tokens * tokens",
        mergeable=False,
        quantizable=True,
        layers=("Attention",),
    ),
    AttnscaleConfig,
)
class Attnscale(Site):
    """M * scores, in a forward of the host that makes them."""

    tuner_base = _AttnscaleTuner
    parameter_names: ClassVar = ("factors",)

    def create(self, adapter: str, config: AttnscaleConfig) -> dict[str, Tensor | nn.Module]:
        if not fits(self.host):
            raise InputError(f"{self.target}: {type(self.host).__name__} is no attention of timm's kind")
        assert config.tokens is not None  # known since the tuner prepared the config
        factors = torch.ones(self.host.num_heads if config.per_head else 1, config.tokens, config.tokens)
        return {"factors": factors if config.init_weights else factors + 0.1 * torch.randn_like(factors)}

    def install(self) -> None:
        super().install()
        self.host.forward = self._host_forward

    def uninstall(self) -> None:
        super().uninstall()
        del self.host.forward

    def _host_forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        host, adapters = self.host, [] if self.disable_adapters else self.present()
        if not adapters:
            return type(host).forward(host, x, attn_mask, is_causal)
        if attn_mask is not None or is_causal or getattr(host, "gate", None) is not None:
            raise InputError(f"{self.target}: attnscale knows attention among all tokens, without mask or gate")
        batch, tokens, _ = x.shape
        q, k, v = host.qkv(x).reshape(batch, tokens, 3, host.num_heads, host.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (host.q_norm(q) * host.head_dim**-0.5) @ host.k_norm(k).transpose(-2, -1)  # (B, heads, T, T)
        weights = self._scaled(weights, adapters, "scores").softmax(dim=-1)
        weights = host.attn_drop(self._scaled(weights, adapters, "weights"))
        y = (weights @ v).transpose(1, 2).reshape(batch, tokens, -1)
        return host.proj_drop(host.proj(host.norm(y)))

    def _scaled(self, weights: Tensor, adapters: list[str], place: str) -> Tensor:
        for adapter in adapters:
            factors = self.tensor("factors", adapter)
            if self.settings[adapter].place != place:
                continue
            if factors.shape[-1] != weights.shape[-1]:
                raise InputError(
                    f"{self.target}: {weights.shape[-1]} tokens arrive, and attnscale has factors for "
                    f"{factors.shape[-1]}: keep the size of the input"
                )
            weights = weights * factors.to(weights.dtype)
        return weights
