"""The published adapter of MusicGen, a linear bottleneck on the waveform, <-> ours.

Its file is a dictionary of `musicgen_state_dict`, `adapter_state_dict` and `optimizer_state_dict`; the whole model in
it is the base's, unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from suite.adapters.methods.additive.linear_adapter import official_tensors
from suite.errors import InputError

FRONT = "adapter_state_dict."
KEYS = tuple(f"adapter_{end}.{kind}" for end in ("down", "up") for kind in ("weight", "bias"))


def ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a `LinearBranch`.

    Raises:
        InputError: tensors are missing or unknown.
    """
    bare = {key.removeprefix(FRONT): tensor for key, tensor in state.items()}
    if wrong := set(bare) ^ set(KEYS):
        raise InputError(
            f"a waveform adapter has {', '.join(KEYS)}; this one differs in {', '.join(sorted(wrong)[:3])}"
        )
    return official_tensors(bare)


def released(branch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back."""
    return {
        f"{FRONT}adapter_{end}.{kind}": branch[f"blocks.0.{end}.{kind}"]
        for end in ("down", "up")
        for kind in ("weight", "bias")
    }
