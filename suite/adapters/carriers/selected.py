"""Methods that train chosen parts of what the model has, in place.

While an adapter is on, the host's own tensor holds its values; switching, disabling and detaching exchange them with
the originals, so the base comes back to the bit. Two ways: `SelectedTensors` takes tensors whole, `SelectedEntries`
single entries of the weight.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import check_adapters_to_merge
from torch import nn

from suite.adapters.carriers.child import ChildLayer, ChildTuner
from suite.errors import InputError


class SelectedTuner(ChildTuner):
    """The peft tuner of layers that train what their hosts have."""

    def _keep_tied(self, layers: list[Any], adapter: str, sharing: dict[nn.Parameter, list[str]]) -> None:
        taken: dict[nn.Parameter, list[tuple[Any, str]]] = {}
        for layer in layers:
            for name, parameter in layer.bases(adapter).items():
                if parameter in sharing:
                    taken.setdefault(parameter, []).append((layer, name))
        for parameter, places in taken.items():
            names = [f"{layer.target}.{name}".lstrip(".") for layer, name in places]
            others = [name for name in sharing[parameter] if name not in names]
            places[0][0].tie(adapter, names, others, places)


class Selected(ChildLayer):
    """A child of its host that owns the trained values of some of the host's tensors."""

    tuner_base: ClassVar[type[ChildTuner]] = SelectedTuner

    def bases(self, adapter: str) -> dict[str, nn.Parameter]:
        """The host's own parameters, by name, of which an adapter trains something, as they are without it."""
        raise TypeError(f"{type(self).__name__} must define bases")

    def tie(self, adapter: str, names: list[str], others: list[str], places: list[tuple[Any, str]]) -> None:
        """Keep one weight of the base one weight: at `places` the adapter trains it, `others` it leaves.

        Raises:
            InputError: the weight would be several from then on, or train where it should not.
        """
        raise InputError(
            f"{names[0]} is {(names[1:] + others)[0]} as well (tied weights), which would change with "
            "it: adapt other layers, or untie the model first"
        )

    def sync(self) -> None:
        """Make the host hold what it should: the active adapters' values, or the originals."""
        raise TypeError(f"{type(self).__name__} must define sync")

    def restore(self) -> None:
        """Make the host hold the originals."""
        raise TypeError(f"{type(self).__name__} must define restore")

    def trains(self, name: str) -> bool:
        """Whether values of the host's tensor `name` train here."""
        raise TypeError(f"{type(self).__name__} must define trains")

    def standing(self) -> list[str]:
        """The adapters whose values should stand in the host: what is merged, then what is active."""
        standing = [] if self.disable_adapters else dict.fromkeys((*self.merged_adapters, *self.present()))
        return [adapter for adapter in standing if self.strength(adapter)]

    def install(self) -> None:
        self.register_load_state_dict_post_hook(_reload)
        self._hooks: list[Any] = []

    def uninstall(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self.restore()
        super().uninstall()

    def set_adapter(self, adapter_names: str | list[str], inference_mode: bool = False) -> None:
        super().set_adapter(adapter_names, inference_mode)
        self.sync()

    def enable_adapters(self, enabled: bool) -> None:
        if not enabled and self.merged:
            self.unmerge()
        super().enable_adapters(enabled)
        self.sync()

    def set_strength(self, adapter: str, strength: float) -> None:
        super().set_strength(adapter, strength)
        self.sync()

    def delete_adapter(self, adapter_name: str) -> None:
        super().delete_adapter(adapter_name)
        self.sync()

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Nothing moves: the values are in the base already. Marks them, after the check that `safe_merge` asks for."""
        for adapter in check_adapters_to_merge(self, adapter_names):
            if adapter not in self.settings:
                continue
            for name in self._tensor_names():
                container = getattr(self, self.prefix + name)
                if safe_merge and adapter in container and not torch.isfinite(container[adapter]).all():
                    raise ValueError(f"{self.target}: NaNs detected in {name}. The adapter {adapter} is broken")
            self.merged_adapters.append(adapter)
        self.sync()

    def unmerge(self) -> None:
        """Values stay in place as long as the adapter is active."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
        self.merged_adapters.clear()
        self.sync()

    def _tensor_names(self) -> list[str]:
        return [
            name.removeprefix(self.prefix)
            for name in (*self.adapter_layer_names, *self.other_param_names)
            if name not in ("settings", "strengths")
        ]

    def _moved(self, fn: Any, tensor: Any) -> Any:
        """What `Module._apply` makes of a tensor of the host that is kept aside."""
        with torch.no_grad():
            moved = fn(tensor.detach())
        return nn.Parameter(moved, False) if isinstance(tensor, nn.Parameter) else moved


def _reload(layer: Selected, _incompatible: Any) -> None:
    layer.sync()
