"""How many parameters train, and how many there are."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class ParameterCount(NamedTuple):
    """Parameters of a model; shared tensors count once, quantized weights by the values they stand for."""

    trainable: int
    total: int

    @property
    def percent(self) -> float:
        """Trainable parameters in percent of all."""
        return 100.0 * self.trainable / self.total if self.total else 0.0


def count(model: nn.Module) -> ParameterCount:
    """Count the parameters of `model`, adapters included. Works on the meta device."""
    trainable = total = 0
    for parameter in model.parameters():
        size = _logical_size(parameter)
        total += size
        trainable += size if parameter.requires_grad else 0
    # Our NF4 layers keep packed codes in buffers; they say themselves what they stand for.
    total += sum(getattr(module, "packed_parameters", 0) for module in model.modules())
    return ParameterCount(trainable, total)


def _logical_size(parameter: nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    if state is not None and getattr(state, "shape", None) is not None:  # bitsandbytes packs two 4-bit values per byte
        return int(state.shape.numel())
    return parameter.numel()
