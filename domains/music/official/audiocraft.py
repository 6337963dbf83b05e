"""audiocraft's names of MusicGen's and EnCodec's tensors <-> those of transformers. audiocraft is not imported.

The maps are one to one, both ways, to the bit; fused projections are cut in three and put together again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from suite.errors import InputError

_LAYER = re.compile(r"transformer\.layers\.(\d+)\.(.+)")
_ATTENTION = {"self_attn": "self_attn", "cross_attention": "encoder_attn"}
_PLAIN = {
    "linear1": "fc1",
    "linear2": "fc2",
    "norm1": "self_attn_layer_norm",
    "norm_cross": "encoder_attn_layer_norm",
    "norm2": "final_layer_norm",
}
_INSIDE = "decoder.model.decoder"
_TEXT = "condition_provider.conditioners.description.output_proj."
PROJECTIONS = ("q_proj", "k_proj", "v_proj")
CODEC_BUFFERS = ("inited", "cluster_size", "embed_avg")


def transformers_names(key: str) -> list[str]:
    """Where a tensor of audiocraft's language model goes: one name, or three for a fused projection.

    Raises:
        InputError: it is of no such model (a melody model's chroma, for one).
    """
    if (match := re.fullmatch(r"emb\.(\d+)\.weight", key)) is not None:
        return [f"{_INSIDE}.embed_tokens.{match[1]}.weight"]
    if (match := re.fullmatch(r"linears\.(\d+)\.weight", key)) is not None:
        return [f"decoder.lm_heads.{match[1]}.weight"]
    if (match := re.fullmatch(r"out_norm\.(weight|bias)", key)) is not None:
        return [f"{_INSIDE}.layer_norm.{match[1]}"]
    if key.startswith(_TEXT):
        return [f"enc_to_dec_proj.{key.removeprefix(_TEXT)}"]
    if (match := _LAYER.fullmatch(key)) is not None:
        layer, rest = f"{_INSIDE}.layers.{match[1]}", match[2]
        part, _, tensor = rest.partition(".")
        if part in _PLAIN:
            return [f"{layer}.{_PLAIN[part]}.{tensor}"]
        # Built without the memory-efficient path, an attention is a module of its own inside.
        tensor = tensor.removeprefix("mha.")
        if part in _ATTENTION and tensor == "in_proj_weight":
            return [f"{layer}.{_ATTENTION[part]}.{name}.weight" for name in PROJECTIONS]
        if part in _ATTENTION and tensor == "out_proj.weight":
            return [f"{layer}.{_ATTENTION[part]}.out_proj.weight"]
    if "chroma" in key or "self_wav" in key:
        raise InputError(f"{key}: this is a melody model, which is not supported; take one without melody conditioning")
    raise InputError(f"{key} is no tensor of audiocraft's MusicGen language model")


def language_model(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """audiocraft's `best_state` as tensors of a `MusicGenLM`.

    Raises:
        InputError: a tensor is of something else.
    """
    ours: dict[str, Tensor] = {}
    for key, tensor in state.items():
        names = transformers_names(key)
        for name, part in zip(names, tensor.chunk(len(names)), strict=True):
            ours[name] = part.contiguous()
    return ours


def audiocraft_language_model(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back.

    Raises:
        InputError: a tensor has no name in audiocraft.
    """
    theirs: dict[str, Tensor] = {}
    fused: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        name, part = _audiocraft_name(key)
        if part:
            fused.setdefault(name, {})[part] = tensor
        else:
            theirs[name] = tensor
    for name, parts in fused.items():
        theirs[name] = torch.cat([parts[part] for part in PROJECTIONS])
    return theirs


def _audiocraft_name(key: str) -> tuple[str, str]:
    """A tensor's name in audiocraft, and which third of it where it is fused."""
    for pattern, name in (
        (rf"{_INSIDE}\.embed_tokens\.(\d+)\.weight", "emb.{}.weight"),
        (r"decoder\.lm_heads\.(\d+)\.weight", "linears.{}.weight"),
        (rf"{_INSIDE}\.layer_norm\.(weight|bias)", "out_norm.{}"),
        (r"enc_to_dec_proj\.(weight|bias)", _TEXT + "{}"),
    ):
        if (match := re.fullmatch(pattern, key)) is not None:
            return name.format(match[1]), ""
    if (match := re.fullmatch(rf"{_INSIDE}\.layers\.(\d+)\.(\w+)\.(.+)", key)) is not None:
        layer, part, tensor = f"transformer.layers.{match[1]}", match[2], match[3]
        plain = {ours: theirs for theirs, ours in _PLAIN.items()}
        attention = {ours: theirs for theirs, ours in _ATTENTION.items()}
        if part in plain:
            return f"{layer}.{plain[part]}.{tensor}", ""
        name = tensor.removesuffix(".weight")
        if part in attention and name in PROJECTIONS:
            return f"{layer}.{attention[part]}.in_proj_weight", name
        if part in attention and name == "out_proj":
            return f"{layer}.{attention[part]}.out_proj.weight", ""
    raise InputError(f"{key} has no name in audiocraft; merge or detach adapters first")


def codec_name(key: str) -> str:
    """An EnCodec tensor's name in transformers."""
    name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", key)
    name = name.replace(".conv.conv.", ".conv.").replace(".convtr.convtr.", ".conv.")
    name = re.sub(r"\.weight_([gv])$", lambda m: f".parametrizations.weight.original{'gv'.index(m[1])}", name)
    return name.replace("quantizer.vq.layers.", "quantizer.layers.").replace("._codebook.", ".codebook.")


def codec(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """audiocraft's EnCodec as tensors of transformers' `EncodecModel`; what only its training needs is filled in."""
    ours = {codec_name(key): tensor for key, tensor in state.items()}
    for key in [key for key in ours if key.endswith(".codebook.embed")]:
        front = key.removesuffix("embed")
        ours.setdefault(f"{front}inited", torch.ones(1))
        ours.setdefault(f"{front}cluster_size", torch.zeros(len(ours[key])))
        ours.setdefault(f"{front}embed_avg", ours[key].clone())
    return ours


def audiocraft_codec(state: Mapping[str, Tensor], transposed: Sequence[str]) -> dict[str, Tensor]:
    """The way back.

    Args:
        transposed: names in `state`'s spelling of the modules that upsample, which audiocraft calls `convtr`.
    """
    theirs: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = re.sub(r"\.parametrizations\.weight\.original([01])$", lambda m: f".weight_{'gv'[int(m[1])]}", key)
        inner = "convtr.convtr" if any(key.startswith(f"{module}.") for module in transposed) else "conv.conv"
        name = re.sub(r"\.conv\.(weight_[gv]|bias)$", rf".{inner}.\1", name)
        name = re.sub(r"^(encoder|decoder)\.layers\.", r"\1.model.", name)
        theirs[name.replace("quantizer.layers.", "quantizer.vq.layers.").replace(".codebook.", "._codebook.")] = tensor
    return theirs


def upsampling(model: nn.Module) -> list[str]:
    """Names of an `EncodecModel`'s layers that upsample."""
    return [name for name, module in model.named_modules() if type(module).__name__ == "EncodecConvTranspose1d"]
