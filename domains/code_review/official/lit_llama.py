"""Lit-LLaMA's tensors <-> those of transformers and peft.

Lit-LLaMA keeps query, key and value in one `c_attn`, and turns neighbouring pairs (x0, x1) in its rotary embedding
where transformers turns halves (x0, x_{d/2}): whatever makes rows of queries or keys is permuted within each head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from suite.errors import InputError

_LORA = re.compile(r"transformer\.h\.(\d+)\.attn\.c_attn\.lora_([AB])")
_PEFT = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.self_attn\.([qv])_proj\.lora_([AB])\.weight")
_PREFIX = re.compile(r"transformer\.h\.(\d+)\.attn\.(adapter_wte\.weight|gating_factor)")
_OWN = "base_model.model.model.layers.{number}.self_attn.suite_llama_adapter.llama_adapter_"
_LAYER = re.compile(r"transformer\.h\.(\d+)\.(.+)")

# Names within a layer and above; the fused c_attn is cut in three beside this table.
_WITHIN = {
    "rms_1.scale": "input_layernorm.weight",
    "attn.c_proj.weight": "self_attn.o_proj.weight",
    "rms_2.scale": "post_attention_layernorm.weight",
    "mlp.c_fc1.weight": "mlp.gate_proj.weight",
    "mlp.c_fc2.weight": "mlp.up_proj.weight",
    "mlp.c_proj.weight": "mlp.down_proj.weight",
}
_ABOVE = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ln_f.scale": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
_FUSED = "attn.c_attn.weight"


def halves(rows: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys from Lit-LLaMA's order to that of transformers.

    Args:
        rows: (heads * d, ...), d the width of a head.
    """
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def pairs(rows: Tensor, heads: int) -> Tensor:
    """The way back from `halves`."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def base_to_transformers(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """A Lit-LLaMA base under the names of `LlamaForCausalLM`; tensors of adapters are passed over.

    Raises:
        InputError: a name is none of Lit-LLaMA's.
    """
    result = {}
    for name, value in state.items():
        if _LORA.fullmatch(name) or name.endswith((".adapter_wte.weight", ".gating_factor")):
            continue
        match = _LAYER.fullmatch(name)
        if name in _ABOVE:
            result[_ABOVE[name]] = value
        elif match and match[2] == _FUSED:
            query, key, own = value.chunk(3)  # each (d, d)
            start = f"model.layers.{match[1]}.self_attn"
            result[f"{start}.q_proj.weight"] = halves(query, heads)
            result[f"{start}.k_proj.weight"] = halves(key, heads)
            result[f"{start}.v_proj.weight"] = own
        elif match and match[2] in _WITHIN:
            result[f"model.layers.{match[1]}.{_WITHIN[match[2]]}"] = value
        else:
            raise InputError(f"{name}: no tensor of Lit-LLaMA's; is this another program's file?")
    return result


def base_to_lit(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """The way back from `base_to_transformers`.

    Raises:
        InputError: a name is none of `LlamaForCausalLM`'s, or a layer lacks one of its projections.
    """
    above = {ours: theirs for theirs, ours in _ABOVE.items()}
    within = {ours: theirs for theirs, ours in _WITHIN.items()}
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name)
        if name in above:
            result[above[name]] = value
        elif match and match[2] == "self_attn.q_proj.weight":
            start = f"model.layers.{match[1]}.self_attn"
            try:
                key, own = state[f"{start}.k_proj.weight"], state[f"{start}.v_proj.weight"]
            except KeyError as error:
                raise InputError(f"layer {match[1]} lacks {error}: give the whole base") from None
            if len(key) != len(value):
                raise InputError(f"layer {match[1]} shares keys among queries, which Lit-LLaMA's c_attn cannot hold")
            fused = torch.cat([pairs(value, heads), pairs(key, heads), own])  # (3 d, d)
            result[f"transformer.h.{match[1]}.{_FUSED}"] = fused
        elif match and match[2] in within:
            result[f"transformer.h.{match[1]}.{within[match[2]]}"] = value
        elif not (match and match[2] in ("self_attn.k_proj.weight", "self_attn.v_proj.weight")):
            raise InputError(f"{name}: no tensor of a LlamaForCausalLM without biases")
    return result


def lora_to_peft(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """LoRA on queries and values from Lit-LLaMA's file to peft's names.

    `lora_A` (2 r, d) holds two blocks and `lora_B` (2 d, r) two more: the first r rows of A feed the first d rows of B,
    the queries', the others the values'. It is a grouped product, not one of rank 2 r.

    Raises:
        InputError: a tensor is none of it, has no partner, or is of another shape; names the key.
    """
    layers: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        match = _LORA.fullmatch(name)
        if match is None:
            raise InputError(f"{name}: no tensor of a LoRA of Lit-LLaMA's")
        layers.setdefault(int(match[1]), {})[match[2]] = value
    result = {}
    for number, parts in sorted(layers.items()):
        start = f"transformer.h.{number}.attn.c_attn.lora_"
        if parts.keys() != {"A", "B"}:
            raise InputError(f"{start}{'A' if 'B' in parts else 'B'} is missing")
        down, up = parts["A"], parts["B"]
        rank, width = up.shape[1], down.shape[1]
        if down.shape[0] != 2 * rank or up.shape[0] != 2 * width:
            raise InputError(
                f"{start}A {tuple(down.shape)} and B {tuple(up.shape)} are no LoRA of queries and values: expected "
                f"{(2 * rank, width)} and {(2 * width, rank)}"
            )
        key = f"base_model.model.model.layers.{number}.self_attn"
        result[f"{key}.q_proj.lora_A.weight"] = down[:rank]
        result[f"{key}.q_proj.lora_B.weight"] = halves(up[:width], heads)
        result[f"{key}.v_proj.lora_A.weight"] = down[rank:]
        result[f"{key}.v_proj.lora_B.weight"] = up[width:]
    return {name: value.contiguous() for name, value in result.items()}


def lora_to_lit(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """The way back from `lora_to_peft`.

    Raises:
        InputError: a tensor adapts anything but queries and values, or one of a layer's four is missing.
    """
    layers: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        match = _PEFT.fullmatch(name)
        if match is None:
            raise InputError(f"{name}: Lit-LLaMA's LoRA adapts queries and values only")
        layers.setdefault(int(match[1]), {})[match[2] + match[3]] = value
    result = {}
    for number, parts in sorted(layers.items()):
        missing = sorted({"qA", "qB", "vA", "vB"} - parts.keys())
        if missing:
            raise InputError(f"layer {number} lacks {missing[0][0]}_proj.lora_{missing[0][1]}")
        start = f"transformer.h.{number}.attn.c_attn.lora_"
        result[f"{start}A"] = torch.cat([parts["qA"], parts["vA"]])
        result[f"{start}B"] = torch.cat([pairs(parts["qB"], heads), parts["vB"]])
    return result


def is_prefix(name: str) -> bool:
    """Whether a tensor of Lit-LLaMA's belongs to LLaMA-Adapter."""
    return _PREFIX.fullmatch(name) is not None


def prefix_to_ours(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """LLaMA-Adapter from Lit-LLaMA's file to the names of the method `llama_adapter`.

    Prompts need no other order: they pass through the layer's own projections. A gate of shape (1,), as older files
    have it, becomes one of each head.

    Raises:
        InputError: a tensor is none of it, has no partner, or is of another shape; names the key.
    """
    layers: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        match = _PREFIX.fullmatch(name)
        if match is None:
            raise InputError(f"{name}: no tensor of a LLaMA-Adapter of Lit-LLaMA's")
        layers.setdefault(int(match[1]), {})[match[2]] = value
    result = {}
    for number, parts in sorted(layers.items()):
        start = f"transformer.h.{number}.attn."
        for name in ("adapter_wte.weight", "gating_factor"):
            if name not in parts:
                raise InputError(f"{start}{name} is missing")
        gate = parts["gating_factor"].flatten()
        if gate.numel() not in (1, heads):
            raise InputError(f"{start}gating_factor has {gate.numel()} gates; expected 1, or {heads}, one a head")
        key = _OWN.format(number=number)
        result[f"{key}prompt"] = parts["adapter_wte.weight"]
        result[f"{key}gate"] = gate.expand(heads).contiguous() if gate.numel() == 1 else gate
    return result


def prefix_to_lit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back from `prefix_to_ours`.

    Raises:
        InputError: a tensor is none of the method's on a `LlamaForCausalLM`.
    """
    result = {}
    for name, value in state.items():
        match = re.fullmatch(_OWN.format(number=r"(\d+)").replace(".", r"\.") + "(prompt|gate)", name)
        if match is None:
            raise InputError(f"{name}: no tensor of llama_adapter on a Llama")
        start = f"transformer.h.{match[1]}.attn."
        if match[2] == "prompt":
            result[f"{start}adapter_wte.weight"] = value
        else:
            result[f"{start}gating_factor"] = value.reshape(1, -1, 1, 1)
    return result
