"""Methods that turn a layer's weight W into another one: W' = change(W).

The base class does the layer types, dtypes, several adapters, exact unmerging and quantized bases, once for all.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft.tuners.tuners_utils import check_adapters_to_merge
from torch import Tensor, nn

from suite.adapters.carriers.base import CarrierTuner, TunerConfig, TunerLayer
from suite.adapters.carriers.weights import (
    effective_weight,
    kind_of,
    read_weight,
    restore,
    run,
    sizes,
    snapshot,
    write_weight,
)
from suite.adapters.registry import method_info


class WeightChange(TunerLayer):
    """A layer around a weighted layer, whose weight it changes.

    A method states `parameter_names`, `create` and `change`; and `apply` where the live forward is cheaper without
    the changed weight. Both are relative to the current W: what adapters attached earlier made of it.
    """

    tuner_base = CarrierTuner

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: TunerConfig, target: str = "") -> None:
        super().__init__()
        self.base_layer = base_layer
        self._prepare(target)
        self._check_layer()
        self.in_features, self.out_features = sizes(self.get_base_layer())
        self._kept: list[dict[str, object]] = []
        self._active_adapter = [adapter_name]
        self.update_layer(adapter_name, config)

    def _check_layer(self) -> None:
        base, info = self.get_base_layer(), method_info(self.method)
        kind = kind_of(base)
        allowed = (*info.layers, *(("Linear4bit",) if info.quantizable else ()))
        if kind not in allowed:
            raise ValueError(f"{self.target}: {type(base).__name__} cannot be adapted, only {', '.join(allowed)}")

    def create(self, adapter: str, config: Any) -> dict[str, Tensor]:
        """The tensors of a new adapter, by the names in `parameter_names` and `buffer_names`.

        Raises:
            ValueError: a setting does not fit this layer; the message names the layer and the value.
        """
        raise TypeError(f"{type(self).__name__} must define create")

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        """The changed weight (out, in, ...) and bias (out,), in the dtype given; must not write to its arguments."""
        raise TypeError(f"{type(self).__name__} must define change")

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        """The changed layer's output, from its input `x` and the unchanged layer's output `y`."""
        raise TypeError(f"{type(self).__name__} has no live form of its own")

    def update_layer(self, adapter_name: str, config: TunerConfig, **_: Any) -> None:
        """Add an adapter to this layer."""
        self.store(adapter_name, self.create(adapter_name, config))
        self.finish_update(adapter_name, config)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.disable_adapters and self.merged:
            self.unmerge()
        adapters = [] if self.disable_adapters or self.merged else self.present()
        if not adapters:
            return self.base_layer(x, *args, **kwargs)
        if type(self).apply_to is WeightChange.apply_to:
            weight, bias = effective_weight(self.base_layer)
            for adapter in adapters:
                weight, bias = self.change(weight, bias, adapter)
            return run(self.get_base_layer(), x, weight, bias)
        y = self.base_layer(x, *args, **kwargs)
        dtype = y.dtype
        for adapter in adapters:
            y = self.apply_to(x, y, adapter)
        return y.to(dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Fold adapters into the base weight, in float32; the original is kept for `unmerge`.

        Raises:
            ValueError: with `safe_merge`, the merged weight holds NaN or Inf. The layer is unchanged then.
        """
        base = self.get_base_layer()
        for adapter in check_adapters_to_merge(self, adapter_names):
            if adapter not in self.settings:
                continue
            with torch.no_grad():
                weight, bias = self.change(*read_weight(base), adapter)
            tensors = [tensor for tensor in (weight, bias) if tensor is not None]
            if safe_merge and not all(torch.isfinite(tensor).all() for tensor in tensors):
                raise ValueError(f"{self.target}: NaNs detected in the merged weights. The adapter {adapter} is broken")
            self._kept.append(snapshot(base))
            write_weight(base, weight, bias)
            self.merged_adapters.append(adapter)

    def unmerge(self) -> None:
        """Put the original weight back, exact to the bit."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        restore(self.get_base_layer(), self._kept[0])
        self._kept.clear()
        self.merged_adapters.clear()

    def get_delta_weight(self, adapter: str) -> Tensor:
        """W' - W of one adapter on the bare base weight, in float32, in the base layer's own layout."""
        weight, bias = read_weight(self.get_base_layer())
        delta = self.change(weight, bias, adapter)[0] - weight
        return delta.T if kind_of(self.get_base_layer()) == "Conv1D" else delta
