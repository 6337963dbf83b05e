"""Series and parallel bottleneck adapters on linear layers.

Hu et al., LLM-Adapters, arXiv 2304.01933, section 3.1; Houlsby et al., arXiv 1902.00751. With
f(h) = s * up(act(down(dropout(h)))), without biases unless they are asked for:

    series, on the input:    y = W(x + f(x))
    series, on the output:   y = Wx + f(Wx)
    parallel:                y = Wx + f(x)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional
from transformers.activations import ACT2FN

from suite.adapters.carriers import Site, TunerConfig, tuner
from suite.adapters.carriers.child import ChildTuner
from suite.adapters.carriers.weights import kind_of, sizes
from suite.adapters.registry import MethodInfo
from suite.errors import InputError

LINEAR = ("Linear", "Conv1D", "Linear4bit")


@dataclass
class BottleneckConfig(TunerConfig):
    """Settings of bottleneck adapters."""

    bottleneck_size: int = field(default=256, metadata={"help": "Width in the middle."})
    non_linearity: str = field(default="tanh", metadata={"help": "Name of the activation, as transformers calls it."})
    dropout: float = field(default=0.0, metadata={"help": "On the adapter's input.", "live": True})
    scaling: float | str = field(
        default=1.0,
        metadata={"help": "A number, or `learned` for one trained factor per layer that starts at 1.", "live": True},
    )
    init: Literal["bert", "mam_adapter"] = field(
        default="bert",
        metadata={
            "help": (
                "`bert` draws both matrices from N(0, 0.02) and does not start at the identity; `mam_adapter` "
                "starts with up = 0 and does."
            ),
            "live": True,
        },
    )

    biases: bool = field(default=False, metadata={"help": "Both matrices have a bias, 0 at the start."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bottleneck_size < 1:
            raise ValueError(f"bottleneck_size={self.bottleneck_size} must be at least 1")
        if self.non_linearity not in ACT2FN:
            raise ValueError(f"non_linearity {self.non_linearity!r} is none of {', '.join(sorted(ACT2FN)[:12])}, ...")
        if isinstance(self.scaling, str) and self.scaling != "learned":
            raise ValueError(f"scaling {self.scaling!r} must be a number or 'learned'")


@dataclass
class SeriesAdapterConfig(BottleneckConfig):
    """Settings of series adapters."""

    output_modules: list[str] = field(
        default_factory=lambda: ["down_proj", "fc_out", "dense_4h_to_h", "fc2", "wo"],
        metadata={"help": "Endings of the targets whose output is adapted; the others' input is."},
    )


@dataclass
class ParallelAdapterConfig(BottleneckConfig):
    """Settings of parallel adapters."""


class _BottleneckTuner(ChildTuner):
    target_module_mapping: ClassVar = {"llama": ["gate_proj", "up_proj", "down_proj"]}


class Bottleneck(Site):
    """What the placements share: the two matrices and f."""

    tuner_base = _BottleneckTuner
    parameter_names: ClassVar = ("down", "up", "down_bias", "up_bias", "factor")

    def ends(self, config: BottleneckConfig) -> tuple[int, int]:
        """Sizes of what f reads and of what it adds to."""
        return sizes(self.host)

    def create(self, adapter: str, config: BottleneckConfig) -> dict[str, Tensor]:
        if kind_of(self.host) not in LINEAR:
            raise InputError(f"{self.target}: bottlenecks sit on linear layers, not on {type(self.host).__name__}")
        read, added = self.ends(config)
        down, up = torch.empty(config.bottleneck_size, read), torch.zeros(added, config.bottleneck_size)
        if config.init == "bert" or not config.init_weights:
            torch.nn.init.normal_(down, std=0.02 if config.init_weights else 0.3)
            torch.nn.init.normal_(up, std=0.02 if config.init_weights else 0.3)
        else:
            torch.nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        tensors = {"down": down, "up": up}
        if config.biases:
            tensors |= {"down_bias": torch.zeros(len(down)), "up_bias": torch.zeros(added)}
        if config.scaling == "learned":
            tensors["factor"] = torch.ones(1)
        return tensors

    def branch(self, h: Tensor, adapter: str) -> Tensor:
        """f(h), in the dtype of `h`."""
        config, down = self.settings[adapter], self.tensor("down", adapter)
        hidden = functional.dropout(self._cast_input_dtype(h, down.dtype), config.dropout, self.training)
        inner, outer = (self.tensor(name, adapter) if config.biases else None for name in ("down_bias", "up_bias"))
        hidden = ACT2FN[config.non_linearity](functional.linear(hidden, down, inner))
        change = functional.linear(hidden, self.tensor("up", adapter), outer)
        if config.scaling != 1.0:  # else a pass over all of the output, and of its gradient, for nothing
            change = change * (self.tensor("factor", adapter) if config.scaling == "learned" else config.scaling)
        return change.to(h.dtype)


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The fork's `adapter_down.weight` and `adapter_up.weight` of one layer as our tensors."""
    return {"down": state["adapter_down.weight"], "up": state["adapter_up.weight"]}


def _info(name: str, trainable: str) -> MethodInfo:
    return MethodInfo(
        name,
        paper="2304.01933",
        trainable=trainable,
        identity_at_start=False,
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
    )


@tuner(_info("series_adapter", "2 * bottleneck_size * in"), SeriesAdapterConfig)
class SeriesAdapter(Bottleneck):
    """y = W(x + f(x)), or y = Wx + f(Wx) for `output_modules`."""

    def _on_output(self, config: SeriesAdapterConfig) -> bool:
        return any(self.target == name or self.target.endswith(f".{name}") for name in config.output_modules)

    def ends(self, config: BottleneckConfig) -> tuple[int, int]:
        size = sizes(self.host)[1 if self._on_output(config) else 0]
        return size, size

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any], adapter: str) -> tuple[tuple[Any, ...], dict]:
        if self._on_output(self.settings[adapter]):
            return args, kwargs
        x, *rest = args
        return (x + self.branch(x, adapter), *rest), kwargs

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor, adapter: str) -> Tensor:
        return output + self.branch(output, adapter) if self._on_output(self.settings[adapter]) else output


@tuner(_info("parallel_adapter", "bottleneck_size * (in + out)"), ParallelAdapterConfig)
class ParallelAdapter(Bottleneck):
    """y = Wx + f(x)."""

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor, adapter: str) -> Tensor:
        return output + self.branch(args[0], adapter).to(output.dtype)
