"""The keys of the authors' attention-processor files, and telling KronA files from LoRA files, which share their keys.

A file holds `unet.<attention>.processor.{to_q,to_k,to_v,to_out}_lora.{down,up}.weight`: `down` is (a2, a1), `up` is
(b1, b2), and nothing says so; the layout is the official one (`suite.adapters`' krona, `layout="official"`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.methods.reparameterized.krona import Krona
from suite.errors import InputError

Component = Literal["unet", "text_encoder", "text_encoder_2"]
Kind = Literal["krona", "lora"]

_UNET = re.compile(r"unet\.(.+)\.processor\.(to_[qkv]|to_out)_lora\.(down|up)\.weight")
_TEXT = re.compile(r"(text_encoder(?:_2)?)\.(.+\.self_attn)\.([qkv]|out)_proj\.lora_linear_layer\.(down|up)\.weight")
_OLD_TEXT = re.compile(r"(text_encoder(?:_2)?)\.(.+\.self_attn)\.to_([qkv]|out)_lora\.(down|up)\.weight")
_LISTED = 5


@dataclass(frozen=True)
class Pair:
    """The two tensors of one projection, as stored."""

    down: Tensor
    up: Tensor


def parse(state: Mapping[str, Tensor]) -> dict[Component, dict[str, Pair]]:
    """The pairs of a file by component and module name.

    Raises:
        InputError: a key is unknown, lacks its partner, or a tensor is no matrix of finite numbers.
    """
    halves: dict[tuple[Component, str], dict[str, Tensor]] = {}
    unknown = []
    for key, value in state.items():
        if match := _UNET.fullmatch(key):
            module, half = f"{match[1]}.{'to_out.0' if match[2] == 'to_out' else match[2]}", match[3]
            component: Component = "unet"
        elif match := _TEXT.fullmatch(key) or _OLD_TEXT.fullmatch(key):
            module, half = f"{match[2]}.{match[3]}_proj", match[4]
            component = "text_encoder_2" if match[1] == "text_encoder_2" else "text_encoder"
        else:
            unknown.append(key)
            continue
        if value.dim() != 2 or not torch.isfinite(value).all():
            raise InputError(f"{key}: a matrix of finite numbers is needed, found {tuple(value.shape)}")
        halves.setdefault((component, module), {})[half] = value
    if unknown:
        raise InputError(f"{len(unknown)} keys of no known layout: {', '.join(unknown[:_LISTED])}")
    pairs: dict[Component, dict[str, Pair]] = {}
    for (component, module), found in halves.items():
        if len(found) != 2:
            raise InputError(f"{component}: {module} has only its {next(iter(found))} tensor; the file is incomplete")
        pairs.setdefault(component, {})[module] = Pair(found["down"], found["up"])
    if not pairs:
        raise InputError("the file holds no adapter tensors")
    return pairs


def is_key(key: str) -> bool:
    """Whether a tensor's name is one of this layout."""
    return any(pattern.fullmatch(key) for pattern in (_UNET, _TEXT, _OLD_TEXT))


def kind_of_file(pairs: Mapping[Component, Mapping[str, Pair]], where: str = "the file") -> Kind:
    """What a file is by its shapes alone: all but cross-attention's keys and values map a width to itself.

    Raises:
        InputError: it could be both, or neither.
    """
    found: set[Kind] = set()
    for modules in pairs.values():
        for module, pair in modules.items():
            (a2, a1), (b1, b2) = pair.down.shape, pair.up.shape
            square = "attn2.to_k" not in module and "attn2.to_v" not in module and "add_" not in module
            is_lora = b2 == a2 and (a1 == b1 or not square)
            is_krona = a2 * b2 == a1 * b1 or not square
            if is_lora != is_krona:
                found.add("lora" if is_lora else "krona")
    if len(found) != 1:
        what = "mixes LoRA and KronA" if found else "fits LoRA and KronA alike; say which with kind="
        raise InputError(f"{where} {what}")
    return found.pop()


def kind_of(pair: Pair, in_features: int, out_features: int) -> Kind | None:
    """What a pair is on a projection of these sizes; None when it fits neither.

    Raises:
        InputError: it could be both.
    """
    (a2, a1), (b1, b2) = pair.down.shape, pair.up.shape
    is_lora = b2 == a2 and a1 == in_features and b1 == out_features
    is_krona = a2 * b2 == in_features and a1 * b1 == out_features
    if is_lora and is_krona:
        raise InputError("the tensors fit LoRA and KronA alike; say which with kind=")
    return "lora" if is_lora else "krona" if is_krona else None


def check(pairs: Mapping[str, Pair], model: nn.Module, where: str = "the file") -> None:
    """See that every pair is KronA for the model's own projections.

    Raises:
        InputError: it is LoRA, or made for another base; the message says which.
    """
    modules = dict(model.named_modules())
    for name, pair in pairs.items():
        module = modules.get(name)
        if not isinstance(module, nn.Linear):
            raise InputError(
                f"{where} adapts {name}, which {type(model).__name__} does not have: it is for another base"
            )
        kind = kind_of(pair, module.in_features, module.out_features)
        if kind == "lora":
            raise InputError(f"{where} is LoRA (rank {pair.down.shape[0]}), not KronA; load it with diffusers or peft")
        if kind is None:
            (a2, a1), (b1, b2) = pair.down.shape, pair.up.shape
            raise InputError(
                f"{where} is for {a2 * b2} -> {a1 * b1} at {name}, and the loaded model has {module.in_features} -> "
                f"{module.out_features}: it was made for another base (cross-attention width of the loaded one: "
                f"{_width(model)})"
            )


def _width(model: nn.Module) -> int | str:
    return getattr(getattr(model, "config", None), "cross_attention_dim", "unknown")


def attach(model: nn.Module, pairs: Mapping[str, Pair], name: str = "default", scaling: float = 1.0) -> nn.Module:
    """Put the pairs of one component on its model as a KronA adapter of the official layout.

    Raises:
        InputError: they do not fit; the model is unchanged.
    """
    check(pairs, model)
    factors = {module: [pair.down.shape[1], pair.down.shape[0]] for module, pair in pairs.items()}
    a1, a2 = next(iter(factors.values()))
    settings = {"a1": a1, "a2": a2, "a_pattern": {re.escape(module): pair for module, pair in factors.items()}}
    model = adapters.attach(
        model, "krona", targets=list(pairs), layout="official", scaling=scaling, name=name, **settings
    )
    with torch.no_grad():
        for module, pair in pairs.items():
            layer = model.get_submodule(module)
            layer.tensor("a", name).copy_(pair.down.T)
            layer.tensor("b", name).copy_(pair.up)
    return model


def key_of(component: Component, module: str, half: Literal["down", "up"]) -> str:
    """The official key of a projection's tensor."""
    if component == "unet":
        attention, _, projection = module.removesuffix(".0").rpartition(".")
        return f"unet.{attention}.processor.{projection}_lora.{half}.weight"
    return f"{component}.{module}.lora_linear_layer.{half}.weight"


def to_official(model: nn.Module, component: Component = "unet", name: str = "default") -> dict[str, Tensor]:
    """The KronA adapter of a model under the official keys.

    Raises:
        InputError: the adapter has the paper's layout, which the official code computes differently, or there is none.
    """
    state: dict[str, Tensor] = {}
    for module, layer in model.named_modules():
        if not isinstance(layer, Krona) or name not in layer.settings:
            continue
        if layer.settings[name].layout != "official":
            raise InputError(
                "an adapter of layout 'kron' is another map than the official code's; export it as LoKr or LoRA instead"
            )
        state[key_of(component, module, "down")] = layer.tensor("a", name).detach().T.contiguous()
        state[key_of(component, module, "up")] = layer.tensor("b", name).detach().clone()
    if not state:
        raise InputError(f"the model has no KronA adapter called {name!r}")
    return state
