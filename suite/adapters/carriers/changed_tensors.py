"""Whole tensors that train in place and of which a file holds the entries that changed: values and places."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners._buffer_dict import BufferDict
from torch import Tensor, nn

from suite.adapters.carriers.selected import SelectedTuner
from suite.adapters.carriers.selected_tensors import SelectedTensors

PLACES = "_places"


class ChangedTuner(SelectedTuner):
    """Writes and reads sparse files; its config has `counts`, how many entries of each tensor a file holds."""

    @classmethod
    def _tensors(cls, model: nn.Module, adapter: str) -> list[tuple[str, str, Any]]:
        """Of every tensor that an adapter trains: the start of its keys, its name, and the layer."""
        return [
            (f"{start}{name}", name, layer)
            for start, layer, _ in cls._places(model, adapter)
            for name in layer._names_of(adapter)
        ]

    @classmethod
    def _get_adapter_state_dict(
        cls, model: nn.Module, config: Any, adapter_name: str, state_dict: dict[str, Tensor], *args: Any, **kwargs: Any
    ) -> dict[str, Tensor]:
        state = super()._get_adapter_state_dict(model, config, adapter_name, state_dict, *args, **kwargs)
        counts = {}
        for key, name, layer in cls._tensors(model, adapter_name):
            dense = state[f"{key}.{adapter_name}"]
            own = f"{layer.target}.{name}"
            places = layer.changed(name, adapter_name, config.counts.get(own))  # (n,)
            state[f"{key}.{adapter_name}"] = dense.flatten()[places]
            state[f"{key}{PLACES}.{adapter_name}"] = places.to(torch.int32)
            counts[own] = len(places)
        config.counts = counts
        return state

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: Any, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        state = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)
        for key, name, layer in cls._tensors(model, adapter_name):
            places = state.get(f"{key}{PLACES}.{adapter_name}")
            if places is not None:
                state[f"{key}{PLACES}.{adapter_name}"] = places.new_zeros(0)
                dense = layer.original(name).detach().flatten().clone()
                values = state[f"{key}.{adapter_name}"]
                dense[places.long().to(dense.device)] = values.to(dense)
                state[f"{key}.{adapter_name}"] = dense.reshape(layer.original(name).shape)
        return state


class ChangedTensors(SelectedTensors):
    """Takes tensors whole, and knows which of their entries are no longer the base's."""

    tuner_base = ChangedTuner

    def _take(self, name: str, adapter: str, config: Any) -> None:
        super()._take(name, adapter, config)
        attribute = self.prefix + name + PLACES
        if not hasattr(self, attribute):  # gives the places of a file a name; in the model they are not kept
            setattr(self, attribute, BufferDict(persistent=True))
            self.other_param_names = (*self.other_param_names, attribute)
        self.set_tensor(name + PLACES, adapter, torch.zeros(0, dtype=torch.int32))

    def _tensor_names(self) -> list[str]:
        return [name for name in super()._tensor_names() if not name.endswith(PLACES)]

    def original(self, name: str) -> Tensor:
        """The host's own tensor, whatever stands in its place."""
        taken = self._taken.get(name)
        return getattr(self.host, name) if taken is None else taken

    def changed(self, name: str, adapter: str, count: int | None = None) -> Tensor:
        """Flat places of the entries that an adapter changed, ascending: (places,).

        Args:
            count: how many a file holds. An adapter that still is as it was made, for that file, says the first ones.
        """
        value, base = self.tensor(name, adapter).detach(), self.original(name).detach()
        if value.is_meta or base.is_meta:
            return torch.arange(value.numel() if count is None else count)
        places = (value != base).flatten().nonzero()[:, 0]
        return places if len(places) or not count else torch.arange(count, device=places.device)
