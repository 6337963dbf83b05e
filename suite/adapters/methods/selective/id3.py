"""ID3: the numbers that train are unmasked step by step, those of large gradient and small size first.

Agarwal et al., Step-by-Step Unmasking for Parameter-Efficient Fine-tuning of Large Language Models, arXiv 2408.14470,
equation 3: at each step the u_t largest of what is still masked, over all tensors, by

    D = |g| / (|theta| + eps)^exp

are unmasked, and stay so; the gradient of the others is 0. The schedule is `suite.training.procedures.id3`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from suite.adapters.carriers import ChangedTensors, TunerConfig, tuner
from suite.adapters.carriers.changed_tensors import ChangedTuner
from suite.adapters.carriers.child import exactly
from suite.adapters.carriers.weights import PLAIN, has_plain_weight
from suite.adapters.handle import base_modules
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class Id3Config(TunerConfig):
    """Settings of ID3. Without `target_modules` every linear layer, convolution and norm is meant."""

    budget: int | str = field(
        default="0.5%", metadata={"help": "Numbers that train in the end: a count, `0.4M`, or a part of the targets'."}
    )
    exponent: float = field(default=0.0, metadata={"help": "Of the size; 0 goes by the gradient alone.", "live": True})
    eps: float = field(default=1e-3, metadata={"help": "Added to the size.", "live": True})
    counts: dict[str, int] = field(
        default_factory=dict, metadata={"help": "Entries of each tensor in a saved file; filled in when saved."}
    )


class _Id3Tuner(ChangedTuner):
    def _prepare_adapter_config(self, peft_config: Id3Config, model_config: dict[str, Any]) -> Id3Config:
        if peft_config.target_modules is None:
            modules = base_modules(self.model).items()
            peft_config.target_modules = exactly(name for name, module in modules if name and has_plain_weight(module))
        return peft_config


@tuner(
    MethodInfo("id3", paper="2408.14470", trainable="its budget, in the end", layers=PLAIN, procedure="id3"), Id3Config
)
class Id3(ChangedTensors):
    """The host's weight and bias, of which the unmasked entries train."""

    tuner_base = _Id3Tuner

    def whole(self, config: Id3Config) -> Sequence[str]:
        if not has_plain_weight(self.host):
            raise InputError(f"{self.target}: id3 trains plain weights, and {type(self.host).__name__} has none")
        return [name for name in ("weight", "bias") if getattr(self.host, name, None) is not None]
