"""Methods that turn a layer's weight W into another one: W' = change(W).

The base class does the layer types, dtypes, several adapters, exact unmerging and quantized bases, once for all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from peft.tuners.tuners_utils import check_adapters_to_merge
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from suite.adapters.carriers.base import CarrierTuner, TunerLayer
from suite.adapters.carriers.config import TunerConfig
from suite.adapters.carriers.weights import (
    CONVS,
    effective_weight,
    is_transposed,
    kind_of,
    read_weight,
    restore,
    run,
    sizes,
    snapshot,
    write_weight,
)
from suite.adapters.fused.frozen import autocast_dtype, is_bare
from suite.adapters.handle import ROWS
from suite.adapters.registry import method_info


class WeightChange(TunerLayer):
    """A layer around a weighted layer, whose weight it changes.

    A method states `parameter_names`, `create` and `change`; and, where the live forward is cheaper without the changed
    weight, `apply_to` or `apply_around`. All are relative to the current W: what adapters attached earlier made of it.
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
        if kind not in allowed and any(parameter.dim() == 3 for parameter in base.parameters(recurse=False)):
            raise ValueError(
                f"{self.target}: {type(base).__name__} keeps the weights of all its experts in one tensor, which "
                "only lora adapts, with target_parameters=[...] (docs of peft)"
            )
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

    def apply_around(self, x: Tensor, inner: Callable[[Tensor], Tensor], adapter: str) -> Tensor:
        """The changed layer's output for `x`, by one call of the unchanged layer, adapters attached earlier included.

        For methods that change what goes in; `apply_to` is simpler for those that only add to what comes out.
        """
        return self.apply_to(x, inner(x), adapter)

    def update_layer(self, adapter_name: str, config: TunerConfig, **_: Any) -> None:
        """Add an adapter to this layer."""
        self.store(adapter_name, self.create(adapter_name, config))
        self.finish_update(adapter_name, config)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.disable_adapters and self.merged:
            self.unmerge()
        groups = None if self.merged else self.groups(x.shape[0], whole=not self.is_live())
        if groups is not None:
            return self._by_row(x, groups, *args, **kwargs)
        adapters = [] if self.disable_adapters or self.merged else self.present()
        return self._adapted(x, adapters, *args, **kwargs)

    def _adapted(self, x: Tensor, adapters: Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output with exactly these adapters."""
        if not adapters:
            return self.base_layer(x, *args, **kwargs)
        if not self.is_live() or (not (args or kwargs) and self.makes_weight() and self._trains_plainly(x)):
            weight, bias = effective_weight(self.base_layer, self.context.get(ROWS))
            for adapter in adapters:
                weight, bias = self.changed(weight, bias, adapter)
            return run(self.get_base_layer(), x, weight, bias)
        dtypes: list[torch.dtype] = []

        def unchanged(x: Tensor) -> Tensor:
            y = self.base_layer(x, *args, **kwargs)
            dtypes.append(y.dtype)
            return y

        run_inner: Callable[[Tensor], Tensor] = unchanged
        for adapter in adapters:
            run_inner = partial(self._around, run_inner, adapter)
        y = run_inner(x)
        return y.to(dtypes[0])

    def is_live(self) -> bool:
        """Whether the method calls the layer, instead of computing with its changed weight."""
        kind = type(self)
        return kind.apply_to is not WeightChange.apply_to or kind.apply_around is not WeightChange.apply_around

    def makes_weight(self) -> bool:
        """Whether the live form makes a weight of the layer's size, so that one product with the changed weight is
        cheaper than the layer's own and one more beside it."""
        return False

    def _trains_plainly(self, x: Tensor) -> bool:
        """Whether the layer trains frozen and in float32, where the sum of two weights loses nothing of either, and
        nothing but this layer sees its product. Predictions keep the order of operations that they always had."""
        base = self.base_layer
        if not (isinstance(base, (nn.Linear, *CONVS)) and base.training and torch.is_grad_enabled() and is_bare(base)):
            return False
        weight = base.weight
        plain = not is_traceable_wrapper_subclass(weight) and not weight.requires_grad
        return plain and weight.dtype is x.dtype is torch.float32 and autocast_dtype(x) is None

    def _around(self, inner: Callable[[Tensor], Tensor], adapter: str, x: Tensor) -> Tensor:
        strength = self.outer_strength(adapter)
        if strength == 1.0:
            return self.apply_around(x, inner, adapter)
        y = inner(x)
        changed = self.apply_around(x, lambda other: y if other is x else inner(other), adapter)
        return y + strength * (changed - y)

    def _by_row(self, x: Tensor, groups: Sequence[tuple[list[str], list[int]]], *args: Any, **kwargs: Any) -> Tensor:
        """Every row with its own adapters: one product for each group of rows that have the same."""
        outputs: list[Tensor] = []
        for adapters, rows in groups:
            with self.context.narrowed(rows):
                outputs.append(self._adapted(x[rows], adapters, *args, **kwargs))
        order = torch.tensor([row for _, rows in groups for row in rows], device=x.device)
        return torch.cat(outputs)[order.argsort()]

    def changed(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        """`change` at the adapter's strength."""
        new, new_bias = self.change(weight, bias, adapter)
        strength = self.outer_strength(adapter)
        if strength == 1.0:
            return new, new_bias
        if new_bias is not None:
            old = torch.zeros_like(new_bias) if bias is None else bias
            new_bias = old + strength * (new_bias - old)
        return weight + strength * (new - weight), new_bias

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
                weight, bias = self.changed(*read_weight(base), adapter)
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
        delta = self.changed(weight, bias, adapter)[0] - weight
        return delta.T if is_transposed(self.get_base_layer()) else delta
