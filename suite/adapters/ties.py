"""Parameters that an adapter shares between layers. Ties are configuration: every load or move re-establishes them."""

from __future__ import annotations

import torch
from torch import nn

from suite.adapters.carriers.base import TunerLayer, share
from suite.adapters.handle import Attachment, adapter_layers, base_of, handle_of
from suite.adapters.naming import select
from suite.adapters.state import adapter_keys, with_storage
from suite.errors import InputError


def tie(model: nn.Module, attachment: Attachment) -> None:
    """Make what the attachment's layers share one parameter, and of each tie group the first that matches.

    Raises:
        InputError: a pattern matches nothing, or the parameters differ in shape.
    """
    for member in attachment.members:
        share(model, member.adapter)
    if not attachment.tie_groups:
        return
    keys: dict[str, str] = {}
    for member in attachment.members:
        keys.update(adapter_keys(model, member))
    for group in attachment.tie_groups:
        source: nn.Parameter | None = None
        for saved in select(group, keys, "tie_groups"):
            owner_name, _, attribute = keys[saved].rpartition(".")
            owner = model.get_submodule(owner_name)
            parameter = owner._parameters.get(attribute)
            if parameter is None:
                raise InputError(f"tie_groups: {saved} is a buffer, only parameters can be tied")
            if source is None:
                source = parameter
            elif source.shape != parameter.shape:
                raise InputError(f"tie_groups: {saved} is {tuple(parameter.shape)}, the first {tuple(source.shape)}")
            owner._parameters[attribute] = source


def retie(model: nn.Module) -> None:
    """Re-establish every tie, after anything that replaced parameters (a load, a move, a materialise)."""
    for attachment in handle_of(model).attachments.values():
        tie(model, attachment)


def materialise(model: nn.Module, device: torch.device | str) -> nn.Module:
    """Give what is on the meta device storage on `device`, its ties kept; what has values keeps them.

    Tensors are uninitialised. What adapters derive from the base's weights is made anew whenever weights are loaded
    into their layers from then on.
    """
    model._apply(lambda tensor: with_storage(tensor, device))
    if hasattr(base_of(model), "tie_weights"):
        base_of(model).tie_weights()
    retie(model)
    for _, layer in adapter_layers(model):
        if isinstance(layer, TunerLayer):
            layer.rebuild_after_loading()
    return model
