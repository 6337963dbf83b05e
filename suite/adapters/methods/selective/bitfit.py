"""BitFit: only the biases train.

Ben Zaken et al., BitFit, arXiv 2106.10199:

    W x + b,    b trains
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from suite.adapters.carriers import SelectedTensors, TunerConfig, tuner
from suite.adapters.carriers.child import exactly
from suite.adapters.carriers.selected import SelectedTuner
from suite.adapters.carriers.weights import bias_dtype
from suite.adapters.handle import base_modules
from suite.adapters.registry import MethodInfo
from suite.errors import InputError

# Section 4.2 of the paper: the query and the MLP's first projection, half of all biases, by the names in use.
SUBSET = r"(.*\.)?(query|q_proj|q_lin|intermediate\.dense|fc1|c_fc|lin1|wi)"


@dataclass
class BitfitConfig(TunerConfig):
    """Settings of BitFit. Without `target_modules` every module that has a bias is meant."""

    subset: bool = field(default=False, metadata={"help": "Only query and intermediate biases, half of them."})
    add_missing: bool = field(
        default=False, metadata={"help": "Give targeted linear layers without a bias one that starts at 0."}
    )


class _BitfitTuner(SelectedTuner):
    def _prepare_adapter_config(self, peft_config: BitfitConfig, model_config: dict[str, Any]) -> BitfitConfig:
        if peft_config.target_modules is None:
            found = [name for name, module in base_modules(self.model).items() if name and _biases(module, peft_config)]
            if peft_config.subset:
                found = [name for name in found if re.fullmatch(SUBSET, name)]
            if not found:
                raise InputError("bitfit: no module has a bias to train; add_missing=True creates them")
            peft_config.target_modules = exactly(found)
        return peft_config


def _biases(module: nn.Module, config: BitfitConfig) -> list[str]:
    names = [name for name, tensor in module._parameters.items() if name.endswith("bias") and tensor is not None]
    if not names and config.add_missing and isinstance(module, nn.Linear):
        return ["bias"]
    return names


@tuner(
    MethodInfo("bitfit", paper="2106.10199", trainable="the biases", quantizable=True, layers=("*",)),
    BitfitConfig,
)
class Bitfit(SelectedTensors):
    """The host's biases, whole."""

    tuner_base = _BitfitTuner

    def whole(self, config: BitfitConfig) -> Sequence[str]:
        names = _biases(self.host, config)
        if not names:
            raise InputError(f"{self.target} ({type(self.host).__name__}) has no bias; add_missing=True creates it")
        return names

    def missing(self, name: str) -> Tensor:
        return torch.zeros(self.host.out_features, device=self.host.weight.device, dtype=bias_dtype(self.host))
