"""Telly: the bottom K blocks stay frozen, the others train as they are.

Shi et al., Towards Efficient Fine-tuning of Pre-trained Code Models, arXiv 2304.05216, section 5, "Telly-K":

    block_L( ... block_{K+1}( block_K( ... embed(x))))    the blocks above the K-th train

The embeddings are frozen too. Nothing below the first block that trains needs a gradient, so that neither the
backward nor its activations reach there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn

from suite.adapters.blocks import block_names
from suite.adapters.carriers import SelectedTensors, TunerConfig, tuner
from suite.adapters.carriers.selected import SelectedTuner
from suite.adapters.handle import base_modules
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class TellyConfig(TunerConfig):
    """Settings of Telly. A head on top trains if `train=` names it."""

    frozen: int = field(
        default=6, metadata={"help": "K: how many of the lowest blocks stay frozen; 0 freezes the embeddings alone."}
    )


class _TellyTuner(SelectedTuner):
    def _prepare_adapter_config(self, peft_config: TellyConfig, model_config: dict[str, Any]) -> TellyConfig:
        peft_config.target_modules = DUMMY_TARGET_MODULES
        return peft_config

    def hosts(self, model: nn.Module, config: TellyConfig) -> dict[str, nn.Module]:
        modules = base_modules(model)
        blocks = [name for name in block_names(model) if name in modules]
        if not 0 <= config.frozen < len(blocks):
            raise InputError(
                f"frozen={config.frozen} must be 0 to {len(blocks) - 1}: the model has {len(blocks)} blocks"
            )
        above = tuple(f"{name}." for name in blocks[config.frozen :])
        return {name: module for name, module in modules.items() if f"{name}.".startswith(above) and own(module)}


def own(module: nn.Module) -> list[str]:
    """The parameters that a module has itself."""
    return [name for name, tensor in module._parameters.items() if tensor is not None and tensor.is_floating_point()]


@tuner(MethodInfo("telly", paper="2304.05216", trainable="the upper blocks", layers=("TransformerBlock",)), TellyConfig)
class Telly(SelectedTensors):
    """All that the blocks above the K lowest have, whole."""

    tuner_base = _TellyTuner

    def whole(self, config: TellyConfig) -> Sequence[str]:
        return own(self.host)
