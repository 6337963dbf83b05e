"""Published adapters of Mustango <-> ours, and the names of the UNet's own tensors.

The published file holds the whole model with the adapters inside, under `unet.`; of it only what has `.adapter.` in its
name is an adapter's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from domains.music.model.mustango_adapters import POINT, UNET, published
from suite import adapters
from suite.adapters.handle import handle_of
from suite.adapters.methods.additive.linear_adapter import official_tensors
from suite.errors import InputError


def split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """The UNet's own tensors, and those of its adapters by the module that each is in (empty: the UNet itself)."""
    own: dict[str, Tensor] = {}
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        name = key.removeprefix(UNET)
        if (match := re.fullmatch(r"(?:(.+)\.)?adapter\.adapter\.(.+)", name)) is not None:
            found.setdefault(match[1] or "", {})[match[2]] = tensor
        else:
            own[name] = tensor
    return own, found


def attach(
    model: nn.Module,
    found: Mapping[str, Mapping[str, Tensor]],
    *,
    front: str = "",
    name: str = "default",
    assign: bool = False,
) -> nn.Module:
    """Put published adapters on our UNet, with their weights; return the model to use.

    Args:
        model: the UNet, or with `front="unet."` the UNet and its conditions.
        found: as `split` gives it. assign: take the tensors themselves, as a model on the meta device needs.

    Raises:
        InputError: an adapter is of a module that the UNet does not have, or tensors are missing or unknown.
    """
    widths: dict[str, tuple[int, int]] = {}
    for module, tensors in found.items():
        down = [key for key in tensors if key.endswith("adapter_proj_down.weight")]
        if not down:
            raise InputError(
                f"the adapter of {module or 'the UNet'} has no bottleneck_blocks.*.adapter_proj_down.weight"
            )
        widths[f"{front}{module}.{POINT}" if module else f"{front}{POINT}"] = (len(tensors[down[0]]), len(down))
    model = adapters.attach(model, *published(widths), name=name)
    # Of several widths, each is a member with a name of its own.
    members = {member.adapter for member in handle_of(model).attachment(name).members}
    for _, layer in adapters.layers(model, "linear_adapter"):
        module = layer.target.removeprefix(UNET).removesuffix(POINT).removesuffix(".")
        [own] = [member for member in members if member in layer.settings]
        branch = layer.tensor("branch", own)
        try:
            branch.load_state_dict(official_tensors(dict(found[module])), assign=assign)
        except RuntimeError as error:
            raise InputError(f"the adapter of {module or 'the UNet'}: {str(error).splitlines()[-1].strip()}") from error
    return model


def released(model: nn.Module, *, name: str = "default") -> dict[str, Tensor]:
    """The tensors of published adapters under the names of the published file."""
    members = {member.adapter for member in handle_of(model).attachment(name).members}
    state: dict[str, Tensor] = {}
    for _, layer in adapters.layers(model, "linear_adapter"):
        front = f"{UNET}{layer.target.removeprefix(UNET).removesuffix(POINT)}adapter.adapter."
        [own] = [member for member in members if member in layer.settings]
        for key, tensor in layer.tensor("branch", own).state_dict().items():
            first, *rest = key.split(".")
            if first == "norm":
                state[front + key] = tensor
                continue
            number, end, kind = rest
            # Our linear layer on the channels is their 1 x 1 convolution.
            theirs = tensor[..., None, None] if kind == "weight" else tensor
            state[f"{front}bottleneck_blocks.{number}.adapter_proj_{end}.{kind}"] = theirs
    return state
