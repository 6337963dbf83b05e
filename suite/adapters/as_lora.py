"""An adapter whose change of every weight is of low rank, written as a LoRA that plain peft loads.

Some are one exactly: SoRA once its gates are folded in, AdaLoRA its singular values, IncreLoRA and TriAdaptLoRA their
matrix in the middle, PEGO its group. Of any other change of weights the best LoRA of a rank is written (Eckart and
Young, 1936), and how far it is from the change is said.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils import SAFETENSORS_WEIGHTS_NAME as WEIGHTS
from safetensors.torch import save_file
from torch import Tensor, nn

from suite.adapters.carriers.base import TunerLayer
from suite.adapters.carriers.low_rank import LowRankChange
from suite.adapters.carriers.weight_change import WeightChange
from suite.adapters.carriers.weights import is_transposed, kind_of, read_weight
from suite.adapters.handle import adapter_layers, adapters_on, handle_of, public_name
from suite.adapters.state import PREFIX
from suite.errors import InputError
from suite.files import ADAPTER, atomic_folder

LINEAR = ("Linear", "Conv1D", "Linear4bit")


@dataclass(frozen=True)
class LoraExport:
    """What was written.

    Attributes:
        folder: the peft folder.
        ranks: rank by layer; layers that the adapter no longer changes are left out.
        errors: by layer, ||change - LoRA||_F / ||change||_F; 0 where the change is a LoRA.
    """

    folder: Path
    ranks: dict[str, int]
    errors: dict[str, float]


def export_lora(
    model: nn.Module, folder: str | os.PathLike[str], *, name: str | None = None, rank: int | None = None
) -> LoraExport:
    """Write an adapter as a LoRA of peft's, all or nothing.

    Args:
        model: a model with adapters.
        folder: where to.
        name: which adapter; the active one by default.
        rank: of the layers whose change is no LoRA as it is.

    Raises:
        InputError: there is no such adapter, it is a bundle, it changes other than linear layers' weights, or a rank is
            needed and missing.
    """
    members = handle_of(model).attachment(name).members
    if len(members) != 1:
        raise InputError(f"a LoRA is one method, and the adapter is a bundle of {len(members)}: export its parts")
    (member,) = members
    terms: dict[str, tuple[Tensor, Tensor]] = {}
    errors: dict[str, float] = {}
    for place, layer in adapter_layers(model):
        if member.adapter in adapters_on(layer):
            key = public_name(model, place)
            a, b, errors[key] = _low_rank(layer, member.adapter, key, rank)
            if len(a):
                terms[key] = a, b
    if not terms:
        raise InputError("the adapter changes nothing: there is no LoRA to write")
    ranks = {key: len(a) for key, (a, _) in terms.items()}
    most = max(ranks.values())
    pattern = {re.escape(key): own for key, own in ranks.items() if own != most}
    # Scales are in B: alpha is the rank, layer by layer.
    config = LoraConfig(
        r=most,
        lora_alpha=most,
        target_modules=sorted(terms),
        rank_pattern=pattern,
        alpha_pattern=dict(pattern),
        fan_in_fan_out=any(is_transposed(_base(model, key)) for key in terms),
        inference_mode=True,
    )
    state = {}
    for key, (a, b) in terms.items():
        state[f"{PREFIX}{key}.lora_A.weight"], state[f"{PREFIX}{key}.lora_B.weight"] = a, b
    with atomic_folder(folder, ADAPTER) as target:
        config.save_pretrained(target)
        save_file({key: tensor.cpu().clone().contiguous() for key, tensor in state.items()}, target / WEIGHTS)
    return LoraExport(Path(folder), ranks, errors)


def _base(model: nn.Module, key: str) -> nn.Module:
    layers = {public_name(model, place): layer for place, layer in adapter_layers(model)}
    return layers[key].get_base_layer()


@torch.no_grad()
def _low_rank(layer: Any, adapter: str, key: str, rank: int | None) -> tuple[Tensor, Tensor, float]:
    """A (r, in), B (out, r) whose product is a layer's change, and by how much it is not.

    Raises:
        InputError: the change is none of a linear layer's weight alone, or its rank is not said.
    """
    if isinstance(layer, LowRankChange):
        term = layer.factors(adapter)
        kept = term.a.any(1) & term.b.any(0)  # a closed gate leaves a row of zeros
        return term.a[kept].float(), term.scale * term.b[:, kept].float(), 0.0
    if hasattr(layer, "lora_E"):  # peft's AdaLoRA
        kept = layer.lora_E[adapter].flatten().ne(0)
        scale = layer.scaling[adapter] / (float(layer.ranknum[adapter]) + 1e-5)
        a = (layer.lora_A[adapter] * layer.lora_E[adapter])[kept].float()
        return a, scale * layer.lora_B[adapter][:, kept].float(), 0.0
    if not isinstance(layer, TunerLayer) or not isinstance(layer, WeightChange):
        raise InputError(f"{key}: {type(layer).__name__} is no change of a weight that a LoRA could be")
    weight, bias = read_weight(layer.get_base_layer())
    if kind_of(layer.get_base_layer()) not in LINEAR:
        raise InputError(f"{key}: {type(layer.get_base_layer()).__name__} is not linear, as a LoRA of peft's must be")
    new, new_bias = layer.changed(weight, bias, adapter)
    if new_bias is not bias and not (bias is not None and new_bias is not None and torch.equal(new_bias, bias)):
        raise InputError(f"{key}: {layer.method} changes the bias, too, which no LoRA does: merge it instead")
    if rank is None:
        raise InputError(f"{key}: the change of {layer.method} is no LoRA as it is: give the rank of its best one")
    delta = new - weight
    u, sigma, v = torch.linalg.svd(delta, full_matrices=False)
    kept_norm, norm = sigma[rank:].square().sum().sqrt(), sigma.square().sum().sqrt()
    root = sigma[:rank].sqrt()
    return root[:, None] * v[:rank], u[:, :rank] * root, float(kept_norm / norm) if norm > 0 else 0.0
