"""Named parameters and buffers, trained as they are: heads, class tokens, BatchNorm statistics.

    theta,    the chosen ones train

This is what `attach(train=..., buffers=...)` attaches. A pattern that matches nothing is an error: peft's
`modules_to_save=["cls_token"]` silently trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import nn

from suite.adapters.carriers import SelectedTensors, TunerConfig, tuner
from suite.adapters.carriers.selected import SelectedTuner
from suite.adapters.handle import base_modules
from suite.adapters.naming import matches, select
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class ParametersConfig(TunerConfig):
    """Which parameters and buffers train."""

    parameters: list[str] = field(
        default_factory=list, metadata={"help": "Globs over parameter names; a module's name means all it has."}
    )
    buffers: list[str] = field(default_factory=list, metadata={"help": "Globs over buffer names."})


class _ParametersTuner(SelectedTuner):
    def _prepare_adapter_config(self, peft_config: ParametersConfig, model_config: dict[str, Any]) -> ParametersConfig:
        peft_config.target_modules = DUMMY_TARGET_MODULES
        return peft_config

    def hosts(self, model: nn.Module, config: ParametersConfig) -> dict[str, nn.Module]:
        return hosts(model, config)


def hosts(model: nn.Module, config: ParametersConfig) -> dict[str, nn.Module]:
    """The modules that own what the patterns match, by name.

    Raises:
        InputError: nothing is named, or a pattern matches nothing.
    """
    if not config.parameters and not config.buffers:
        raise InputError("parameters: name what to train")
    modules = base_modules(model)

    def owned(kind: Literal["_parameters", "_buffers"]) -> list[str]:
        return [
            f"{name}.{tensor}".lstrip(".")
            for name, module in modules.items()
            for tensor, value in getattr(module, kind).items()
            if value is not None
        ]

    chosen = select(config.parameters, owned("_parameters"), "train") + select(
        config.buffers, owned("_buffers"), "buffers"
    )
    owners = dict.fromkeys(name.rpartition(".")[0] for name in chosen)
    return {name: modules[name] for name in owners}


@tuner(
    MethodInfo("parameters", trainable="what the patterns match", quantizable=True, layers=("*",)),
    ParametersConfig,
)
class Parameters(SelectedTensors):
    """The host's tensors that the patterns match, whole."""

    tuner_base = _ParametersTuner

    def whole(self, config: ParametersConfig) -> Sequence[str]:
        def chosen(patterns: list[str], tensors: dict[str, Any]) -> list[str]:
            own = {f"{self.target}.{name}".lstrip("."): name for name, value in tensors.items() if value is not None}
            return [own[full] for full in own if any(matches(full, pattern) for pattern in patterns)]

        return chosen(config.parameters, self.host._parameters) + chosen(config.buffers, self.host._buffers)
