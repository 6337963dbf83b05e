"""Key names of the authors' files <-> ours, and their states read and put into models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from suite import adapters
from suite.errors import InputError
from suite.hub import weights


def read(path: str | Path) -> dict[str, Tensor]:
    """The state of a released file, without the prefix of a parallel run.

    Raises:
        InputError: the file is no file of plain tensors, or has no state under a known key.
    """
    contents = weights.contents(path)
    for key in ("base_model", "model", "model_state_dict", "state_dict"):
        if isinstance(contents.get(key), Mapping):
            contents = dict(contents[key])
            break
    state = {key.removeprefix("module."): value for key, value in contents.items() if isinstance(value, Tensor)}
    if not state:
        raise InputError(
            f"{path}: no model state (looked for base_model, model, model_state_dict; found {list(contents)[:5]})"
        )
    return state


def official_name(key: str) -> str | None:
    """The released name of a key of one of our models with adapters; None for what exists on our side only."""
    if match := re.fullmatch(r"(.*)\.suite_pcsa\.pcsa_adapter\.[^.]+\.(.*)", key):
        return f"{match[1]}.gft_adapter.{match[2]}"
    if match := re.fullmatch(r"blocks\.suite_point_peft\.point_peft_modules\.[^.]+\.(.*)", key):
        inner = match[1]
        if inner.startswith("blocks."):
            return f"blocks.{inner}"
        return inner if inner == "prompt_cor" else f"blocks.{inner}"
    return None if ".suite_" in key or key.startswith("suite_") else key


def load_full(model: nn.Module, state: Mapping[str, Tensor], where: str = "the file") -> None:
    """Put a released fine-tuned model, backbone included, into a model with the method's adapters attached.

    Raises:
        InputError: keys are missing, unknown, or of another shape; the message lists them. The model is unchanged.
    """
    names = {official: key for key in model.state_dict() if (official := official_name(key)) is not None}
    own = model.state_dict()
    optional = {name for name in names if name.endswith("num_batches_tracked")}
    weights.check_keys(state.keys() | optional, names.keys(), where)
    wrong = [
        f"{n} {tuple(state[n].shape)}, not {tuple(own[names[n]].shape)}"
        for n in state
        if state[n].shape != own[names[n]].shape
    ]
    if wrong:
        raise InputError(
            f"{where}: {len(wrong)} tensors of another shape: {'; '.join(wrong[:4])}; check the architecture"
        )
    model.load_state_dict({names[name]: value for name, value in state.items()}, strict=False)


def full_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model with adapters under the released names."""
    return {n: value for key, value in model.state_dict().items() if (n := official_name(key)) is not None}


def trainable_names(model: nn.Module) -> set[str]:
    """The released names of what trains."""
    adapters.count(model)
    return {
        n
        for key, parameter in model.named_parameters()
        if parameter.requires_grad and (n := official_name(key)) is not None
    }
