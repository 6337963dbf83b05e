"""Visual prompt tuning: trained tokens join the sequence of a vision transformer.

Jia et al., Visual Prompt Tuning, arXiv 2203.12119, equations 4 to 9:

    [class, P_i, T] -> block_i -> [class, -, T]    for every block i

Deep, as it stands: every block gets prompts of its own, and
what it makes of them is dropped. Shallow: one set enters before the first block and leaves after the last.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.blocks import block_names, token_width
from suite.adapters.carriers import Site, TunerConfig, tuner
from suite.adapters.carriers.child import ChildTuner, exactly
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class VisualPromptConfig(TunerConfig):
    """Settings of visual prompts. Without `target_modules` the model's largest block list is meant."""

    tokens: int = field(default=10, metadata={"help": "Number of prompts."})
    deep: bool = field(default=True, metadata={"help": "Prompts in every block, not only before the first."})
    dropout: float = field(default=0.0, metadata={"help": "On the prompts.", "live": True})
    prefix_tokens: int | None = field(
        default=None,
        metadata={"help": "After how many tokens the prompts stand (class and register tokens); None asks the model."},
    )
    width: int | None = field(default=None, metadata={"help": "Channels of a token; None asks the model."})
    blocks: list[str] = field(
        default_factory=list, metadata={"help": "The blocks in order; filled in when it is attached."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens < 1:
            raise ValueError(f"tokens={self.tokens} must be at least 1")


class _VisualPromptTuner(ChildTuner):
    def _prepare_adapter_config(self, peft_config: VisualPromptConfig, model_config: dict) -> VisualPromptConfig:
        model = self.model
        if not peft_config.blocks:
            peft_config.blocks = _chosen_blocks(model, peft_config.target_modules)
        if peft_config.prefix_tokens is None:
            default = 1 if any(name.endswith("cls_token") for name, _ in model.named_parameters()) else 0
            peft_config.prefix_tokens = getattr(model, "num_prefix_tokens", default)
        if peft_config.width is None:
            peft_config.width = token_width(model, model_config, "visual_prompt")
        ends = dict.fromkeys((peft_config.blocks[0], peft_config.blocks[-1]))
        peft_config.target_modules = exactly(peft_config.blocks if peft_config.deep else ends)
        return peft_config


def _chosen_blocks(model: nn.Module, targets: Any) -> list[str]:
    if targets is None:
        return block_names(model)
    names = [name for name, _ in model.named_modules()]
    if isinstance(targets, str):
        return [name for name in names if re.fullmatch(targets, name)]
    return [name for name in names if any(name == target or name.endswith(f".{target}") for target in targets)]


@tuner(
    MethodInfo(
        "visual_prompt",
        paper="2203.12119",
        trainable="tokens * hidden",
        identity_at_start=False,
        mergeable=False,
        quantizable=True,
        layers=("TransformerBlock",),
    ),
    VisualPromptConfig,
)
class VisualPrompt(Site):
    """Prompts that enter at a block and leave after it (deep) or after the last (shallow)."""

    tuner_base = _VisualPromptTuner
    parameter_names: ClassVar = ("tokens",)

    def create(self, adapter: str, config: VisualPromptConfig) -> dict[str, Tensor]:
        if not config.deep and self.target != config.blocks[0]:
            return {}
        width = cast(int, config.width)  # known since the tuner prepared the config
        bound = math.sqrt(6 / (width + config.tokens))
        return {"tokens": torch.empty(config.tokens, width).uniform_(-bound, bound)}

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any], adapter: str) -> tuple[tuple[Any, ...], dict]:
        config = self.settings[adapter]
        if not config.deep and self.target != config.blocks[0]:
            return args, kwargs
        x, *rest = args
        if x.dim() != 3:
            raise InputError(f"{self.target}: prompts join sequences (batch, tokens, width), not {tuple(x.shape)}")
        prompts = functional.dropout(self.tensor("tokens", adapter), config.dropout, self.training).to(x.dtype)
        prompts = prompts.expand(x.shape[0], -1, -1)
        start = config.prefix_tokens or 0
        return (torch.cat((x[:, :start], prompts, x[:, start:]), dim=1), *rest), kwargs

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, adapter: str) -> Any:
        config = self.settings[adapter]
        if not config.deep and self.target != config.blocks[-1]:
            return output
        x, *rest = output if isinstance(output, tuple) else (output,)
        start = config.prefix_tokens or 0
        x = torch.cat((x[:, :start], x[:, start + config.tokens :]), dim=1)
        return (x, *rest) if isinstance(output, tuple) else x
