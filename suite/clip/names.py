"""OpenAI's names of CLIP's weights and transformers', both ways, for whole models and for any part of one.

OpenAI's files keep the query, key and value of a layer as one tensor, and both projections transposed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from suite.errors import InputError

_PLAIN = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}

_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}

_IN_A_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}

_PARTS = ("q_proj", "k_proj", "v_proj")
"""Of the fused projection, in the order of its rows."""

_TOWERS = {
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "transformer.resblocks.": "text_model.encoder.layers.",
}

_NO_WEIGHTS = re.compile(r"(.*\.)?(input_resolution|context_length|vocab_size|position_ids|attn_mask)")
"""Numbers and masks that some files keep among the weights and that follow from the architecture."""


def to_huggingface(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under transformers' names; the tensors are OpenAI's own, or views of them.

    Raises:
        InputError: a name is none of CLIP's.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if _NO_WEIGHTS.fullmatch(name):
            continue
        targets = huggingface_names(name)
        if name in _TRANSPOSED:
            tensor = tensor.T
        # The fused projection's rows: (3 * width, ...) -> three of (width, ...).
        parts = tensor.chunk(len(targets)) if len(targets) > 1 else (tensor,)
        result.update(zip(targets, parts, strict=True))
    return {name: tensor.contiguous() for name, tensor in result.items()}


def to_openai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under OpenAI's names.

    Raises:
        InputError: a name is none of CLIP's, or only some of a layer's query, key and value are there.
    """
    result: dict[str, Tensor] = {}
    fused: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if _NO_WEIGHTS.fullmatch(name):
            continue
        target = openai_name(name)
        if ".attn.in_proj_" in target:
            fused.setdefault(target, {})[name.rsplit(".", 2)[-2]] = tensor
            result[target] = tensor  # holds its place
        else:
            result[target] = (tensor.T if target in _TRANSPOSED else tensor).contiguous()
    for target, parts in fused.items():
        if absent := [part for part in _PARTS if part not in parts]:
            raise InputError(f"{target} cannot be made: {', '.join(absent)} is missing beside {', '.join(parts)}")
        result[target] = torch.cat([parts[part] for part in _PARTS])
    return result


def huggingface_names(name: str) -> tuple[str, ...]:
    """transformers' name of one of OpenAI's tensors; three, in the order of rows, for a fused projection.

    Raises:
        InputError: it is none of CLIP's names.
    """
    if found := _PLAIN.get(name) or _TRANSPOSED.get(name):
        return (found,)
    for theirs, ours in _TOWERS.items():
        number, _, rest = name.removeprefix(theirs).partition(".")
        if not name.startswith(theirs) or not number.isdecimal():
            continue
        if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
            kind = rest.rpartition("_")[2]
            return tuple(f"{ours}{number}.self_attn.{part}.{kind}" for part in _PARTS)
        module, _, kind = rest.rpartition(".")
        if module in _IN_A_LAYER and kind in ("weight", "bias"):
            return (f"{ours}{number}.{_IN_A_LAYER[module]}.{kind}",)
    raise InputError(f"{name!r} is no name of a weight in OpenAI's CLIP with vision transformer")


def openai_name(name: str) -> str:
    """OpenAI's name of the tensor that one of transformers' is, or is part of.

    Raises:
        InputError: it is none of CLIP's names.
    """
    if found := _BACK.get(name):
        return found
    for theirs, ours in _TOWERS.items():
        number, _, rest = name.removeprefix(ours).partition(".")
        if not name.startswith(ours) or not number.isdecimal():
            continue
        module, _, kind = rest.rpartition(".")
        if module.removeprefix("self_attn.") in _PARTS and kind in ("weight", "bias"):
            return f"{theirs}{number}.attn.in_proj_{kind}"
        if module in _LAYER_BACK and kind in ("weight", "bias"):
            return f"{theirs}{number}.{_LAYER_BACK[module]}.{kind}"
    raise InputError(f"{name!r} is no name of a weight in transformers' CLIPModel")


def architecture(state: Mapping[str, Tensor]) -> dict[str, dict[str, int | str] | int]:
    """The keywords of a `CLIPConfig` that OpenAI's weights fit in, read off their shapes.

    OpenAI's heads are 64 wide and its activation is the quick GELU; neither is in the file.

    Raises:
        InputError: it is no whole CLIP with a vision transformer.
    """
    needed = ("visual.conv1.weight", "visual.positional_embedding", "token_embedding.weight", "positional_embedding")
    if absent := [name for name in (*needed, "text_projection") if name not in state]:
        raise InputError(f"no whole CLIP with a vision transformer: {absent[0]} is missing")
    patches = state["visual.conv1.weight"]  # (width, 3, side, side)
    side = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    vocabulary, width = state["token_embedding.weight"].shape
    vision_width, patch = patches.shape[0], patches.shape[-1]

    def tower(prefix: str, width: int) -> dict[str, int | str]:
        layers = {name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)}
        return {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": len(layers),
            "num_attention_heads": max(1, width // 64),
            "hidden_act": "quick_gelu",
        }

    visual, text = _TOWERS
    return {
        "projection_dim": state["text_projection"].shape[1],
        "vision_config": {**tower(visual, vision_width), "image_size": side * patch, "patch_size": patch},
        "text_config": {
            **tower(text, width),
            "vocab_size": vocabulary,
            "max_position_embeddings": len(state["positional_embedding"]),
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
        },
    }


_BACK = {ours: theirs for theirs, ours in {**_PLAIN, **_TRANSPOSED}.items()}
_LAYER_BACK = {ours: theirs for theirs, ours in _IN_A_LAYER.items()}
