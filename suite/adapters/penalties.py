"""Terms that adapter methods, ours and peft's, add to the loss; training adds them unasked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from suite.adapters.carriers.base import TunerLayer
from suite.adapters.handle import ATTRIBUTE, Handle, base_of, remembered
from suite.adapters.registry import method_of


def penalties(model: nn.Module) -> dict[str, Tensor]:
    """The terms that the active, trainable adapters of a model add to its loss, as scalars by `method/term`."""
    handle: Handle | None = getattr(model, ATTRIBUTE, None)
    if handle is None:
        return {}
    training = [handle.attachments[name] for name in handle.active if handle.attachments[name].trainable]
    adapters = {member.adapter for attachment in training for member in attachment.members}
    layers = remembered(model, "penalties", _has_terms)
    terms: dict[str, list[Tensor]] = {}
    for name, value in [*_own_terms(layers, adapters), *_peft_terms(model, layers, adapters)]:
        terms.setdefault(name, []).append(value)
    return {name: _whole(values) for name, values in terms.items()}


def _whole(values: list[Tensor]) -> Tensor:
    """What the layers' parts of a term make together: the sum of scalars, the mean of all entries of vectors."""
    return torch.cat(values).mean() if values[0].dim() else sum(values[1:], values[0])


def _has_terms(module: nn.Module) -> bool:
    """Whether a layer's method brings terms, and this layer what they are made of."""
    if isinstance(module, TunerLayer):
        return type(module).penalty is not TunerLayer.penalty
    info = method_of(module) if isinstance(module, BaseTunerLayer) else None
    return info is not None and info.name in _TERMS and bool(getattr(module, _TERMS[info.name].made_of, None))


def _own_terms(layers: Sequence[Any], adapters: set[str]) -> Iterator[tuple[str, Tensor]]:
    for layer in layers:
        if isinstance(layer, TunerLayer):
            for adapter in layer.present():
                if adapter in adapters:
                    for name, value in layer.penalty(adapter).items():
                        yield f"{layer.method}/{name}", value


def _peft_terms(model: nn.Module, layers: Sequence[Any], adapters: set[str]) -> Iterator[tuple[str, Tensor]]:
    """What peft adds in the forward of its wrapper, or leaves to the reader of its documentation."""
    bearing: dict[tuple[str, str], list[Any]] = {}
    for layer in layers:
        info = None if isinstance(layer, TunerLayer) else method_of(layer)
        if info is not None:
            for adapter in adapters.intersection(getattr(layer, _TERMS[info.name].made_of)):
                bearing.setdefault((info.name, adapter), []).append(layer)
    for (method, adapter), same in sorted(bearing.items(), key=lambda item: item[0]):
        config = base_of(model).peft_config[adapter]
        for layer in same:
            for name, value in _TERMS[method].terms(layer, adapter, config, len(same)):
                yield f"{method}/{name}", value


def _adalora(layer: Any, adapter: str, config: Any, layers: int) -> Iterator[tuple[str, Tensor]]:
    """Zhang et al., arXiv 2303.10512, equation 4: ||P^T P - I|| + ||Q Q^T - I||, the mean over all P and Q."""
    q, p = layer.lora_A[adapter].float(), layer.lora_B[adapter].float()  # (r, in), (out, r)
    for product in (q @ q.T, p.T @ p):
        distance = torch.linalg.norm(product - torch.eye(len(product), device=product.device))
        yield "orthogonality", config.orth_reg_weight * distance / (2 * layers)


def _lora(layer: Any, adapter: str, config: Any, layers: int) -> Iterator[tuple[str, Tensor]]:
    """MonteCLoRA's divergence and entropy, the mean over its layers. (KaSA, which has terms too, cuts the base.)"""
    yield "monteclora", sum(layer.lora_monteclora_sampler[adapter].get_variational_loss()) / layers


class _PeftTerm(NamedTuple):
    """A term of one of peft's methods, and the attribute of its layers that holds, by adapter, what it is made of."""

    terms: Callable[[Any, str, Any, int], Iterator[tuple[str, Tensor]]]
    made_of: str


_TERMS = {"adalora": _PeftTerm(_adalora, "lora_A"), "lora": _PeftTerm(_lora, "lora_monteclora_sampler")}
