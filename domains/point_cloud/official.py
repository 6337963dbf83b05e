"""The authors' checkpoints <-> ours: prefixes, key names, and what must and must not be missing.

Files hold `{base_model | model | model_state_dict: state, ...}`, with `module.` before every key of a parallel run.
They are read with `weights_only`, whatever else they hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from suite import adapters
from suite.errors import InputError
from suite.hub import weights

PREFIXES = ("MAE_encoder.", "ACT_encoder.", "base_model.", "GPT_Transformer.", "transformer_q.")
"""What pre-training puts before the keys of the part that fine-tuning keeps."""

_UNUSED = re.compile(
    r"(mask_token|decoder_pos_embed\.|MAE_decoder\.|ACT_decoder\.|increase_dim\.|.*cls_head_finetune\.)"
)
_OWN = re.compile(
    r"blocks\.blocks\.(\d+)\.(ad_gate|prompt_embeddings|cp_adapter\.|adapter\.|adapter1\.|out_transform\.)(.*)"
)


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


def load_base(model: nn.Module, state: Mapping[str, Tensor], where: str = "the file") -> list[str]:
    """Put a pre-trained state into a backbone; return the keys of the file that were not used.

    Class token, its position, the head and adapters may be missing: they are trained. Decoder parts may be left over.

    Raises:
        InputError: a tensor of the encoder or its blocks is missing or of another shape. The model is unchanged.
    """
    own = {key: value for key, value in model.state_dict().items() if ".suite_" not in key}
    found: dict[str, Tensor] = {}
    unused = []
    for key, value in state.items():
        name = next((key.removeprefix(prefix) for prefix in PREFIXES if key.startswith(prefix)), key)
        if name in own and not re.match(r".*cls_head_finetune\.", name):
            found[name] = value
        else:
            unused.append(key)
    needed = [key for key in own if key.startswith(("blocks.", "encoder.", "pos_embed.")) and "cls_" not in key]
    missing = [key for key in needed if key not in found and not key.endswith("num_batches_tracked")]
    wrong = [f"{key} {tuple(found[key].shape)}" for key in found if found[key].shape != own[key].shape]
    unknown = [key for key in unused if not _UNUSED.match(key)]
    if missing or wrong or unknown:
        parts = {"missing": missing, "of another shape": wrong, "unknown": unknown}
        listed = "; ".join(f"{len(keys)} {what}: {', '.join(keys[:4])}" for what, keys in parts.items() if keys)
        raise InputError(f"{where} is not a base of this backbone ({listed}); check the file and the architecture")
    model.load_state_dict(found, strict=False)
    return unused


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
