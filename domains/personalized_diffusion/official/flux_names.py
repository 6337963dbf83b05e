"""Modules of Flux under its authors' names, as kohya's scripts and ComfyUI write them: several projections in one.

Their `qkv` is the rows of q, k and v one after the other; `linear1` of a single block is these and the feed-forward
layer's. A change of such a weight falls into changes of diffusers' modules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from domains.personalized_diffusion.official.changes import Change, Dense, LowRank
from suite.errors import InputError

_DOUBLE: Mapping[str, tuple[str, ...]] = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
}
_SINGLE: Mapping[str, tuple[str, ...]] = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
}
_BLOCK = re.compile(r"(double|single)_blocks\.(\d+)\.(.+)")


def is_name(module: str) -> bool:
    """Whether a module is named so."""
    return _BLOCK.fullmatch(module) is not None


def split(module: str, change: Change, where: str) -> dict[str, Change]:
    """The changes of diffusers' modules that one of such a module is.

    Raises:
        InputError: diffusers has no such module, or the change cannot be cut by rows.
    """
    match = _BLOCK.fullmatch(module)
    assert match is not None
    kind, number, part = match.groups()
    names = (_DOUBLE if kind == "double" else _SINGLE).get(part)
    if names is None:
        raise InputError(f"{where}: {module} is no module of Flux that diffusers has")
    block = f"{'transformer_blocks' if kind == 'double' else 'single_transformer_blocks'}.{number}"
    rows = [change.shape[0]]
    if len(names) > 1:
        # q, k and v map the width to itself; what remains is the feed-forward layer's.
        width = change.shape[1] if len(names) == 4 else change.shape[0] // 3
        rows = [width] * 3 + ([change.shape[0] - 3 * width] if len(names) == 4 else [])
    if sum(rows) != change.shape[0] or min(rows) < 1:
        raise InputError(f"{where}: {module} has {change.shape[0]} rows, which are not {', '.join(names)} of Flux")
    starts = [sum(rows[:place]) for place in range(len(rows))]
    return {
        f"{block}.{name}": change if len(names) == 1 else _rows(change, start, start + count, where)
        for name, start, count in zip(names, starts, rows, strict=True)
    }


def _rows(change: Change, start: int, end: int, where: str) -> Change:
    if isinstance(change, LowRank):
        magnitude = None if change.magnitude is None else change.magnitude[start:end]
        return replace(change, up=change.up[start:end], magnitude=magnitude)
    if isinstance(change, Dense):
        return Dense(change.weight[start:end])
    raise InputError(f"{where} changes several projections of Flux by one product, which falls into none of each")
