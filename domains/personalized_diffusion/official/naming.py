"""Names of modules in other programs' files: underscored (kohya, LyCORIS), SGM's blocks, diffusers' and peft's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Literal

from suite.errors import InputError

Names = Literal["kohya", "sgm", "diffusers", "lycoris"]

_KOHYA: Mapping[str, str] = {
    "unet": "lora_unet",
    "transformer": "lora_transformer",
    "text_encoder": "lora_te",
    "text_encoder_2": "lora_te2",
}
_FLAT = re.compile(r"(lora_unet|lora_transformer|lora_te1|lora_te2|lora_te|lycoris)_(.+)")
_COMPONENTS = {
    "lora_unet": "unet",
    "lora_transformer": "transformer",
    "lora_te": "text_encoder",
    "lora_te1": "text_encoder",
    "lora_te2": "text_encoder_2",
}

# Segments of module names that hold an underscore; all others stand between two.
_SEGMENTS = (
    *("down_blocks", "mid_block", "up_blocks", "transformer_blocks", "single_transformer_blocks"),
    *("to_q", "to_k", "to_v", "to_out", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    *("proj_in", "proj_out", "proj_mlp", "ff_context", "norm_out", "norm1_context", "context_embedder"),
    *(
        "conv_in",
        "conv_out",
        "conv_shortcut",
        "time_emb_proj",
        "time_embedding",
        "add_embedding",
        "linear_1",
        "linear_2",
    ),
    *("text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", "text_projection"),
    *("input_blocks", "middle_block", "output_blocks", "in_layers", "out_layers", "emb_layers", "skip_connection"),
    *("time_embed", "label_emb", "double_blocks", "single_blocks", "img_attn", "txt_attn", "img_mlp", "txt_mlp"),
    *("img_mod", "txt_mod", "to_qkv_mlp_proj", "linear_in", "linear_out", "noise_refiner", "context_refiner"),
    *("feed_forward", "img_in", "txt_in", "time_text_embed", "adaLN_modulation", "single_stream_modulation"),
)
_WORDS = {tuple(segment.split("_")): segment for segment in _SEGMENTS}
_LONGEST = max(map(len, _WORDS))

# Blocks of Stable Diffusion 1, 2 and XL: two layers and a sampler in each.
_LAYERS = 2
_DOWN = re.compile(r"down_blocks\.(\d+)\.attentions\.(\d+)\.(.+)")
_UP = re.compile(r"up_blocks\.(\d+)\.attentions\.(\d+)\.(.+)")
_FLUX = ("double_blocks.", "single_blocks.")
_Z_IMAGE = ("layers.", "noise_refiner.", "context_refiner.")
_MIDDLE = "mid_block.attentions.0."
_SGM = re.compile(r"(input|output)_blocks\.(\d+)\.([012])\.(.+)")
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ENDS = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def foreign(component: str, module: str, names: Names, *, two_encoders: bool = False) -> str:
    """A module's name in a file.

    Args:
        component: `unet`, `transformer`, `text_encoder` or `text_encoder_2`.
        module: its name in diffusers or transformers.
        names: whose names.
        two_encoders: kohya numbers the text encoders of a base that has two (SDXL).

    Raises:
        InputError: the names have no word for it.
    """
    module = filed(component, module)
    if names == "diffusers":
        return f"{component}.{module}"
    if names == "lycoris":
        if component not in ("unet", "transformer"):
            raise InputError("names of LyCORIS's own wrapper have no text encoders; use --names kohya")
        return f"lycoris_{module.replace('.', '_')}"
    if component not in _KOHYA:
        raise InputError(f"{component} has no name in kohya's files; use --names diffusers")
    prefix = "lora_te1" if component == "text_encoder" and two_encoders else _KOHYA[component]
    module = to_sgm(module) if names == "sgm" and component == "unet" else module
    return f"{prefix}_{module.replace('.', '_')}"


def filed(component: str, module: str) -> str:
    """A module's name as files have it: a text encoder's with `text_model.`, whatever transformers calls it."""
    return f"text_model.{module.removeprefix('text_model.')}" if component.startswith("text_encoder") else module


def native(name: str) -> tuple[str, str]:
    """Component and module of a name in a file: `foreign` backwards, whatever the names.

    Raises:
        InputError: it is no name of a module of these networks.
    """
    name = re.sub(r"^(base_model\.model\.|diffusion_model\.)", "", name)
    if match := _FLAT.fullmatch(name):
        module = dotted(match[2])
        component = _COMPONENTS.get(match[1]) or _of_bare(module)
    else:
        first, _, rest = name.partition(".")
        known = first in ("unet", "transformer", "text_encoder", "text_encoder_2")
        module, component = (rest, first) if known else (name, _of_bare(name))
        module = module.removeprefix("base_model.model.")
    if component.startswith("text_encoder"):
        return component, text_module(component, module)
    if module.startswith(_FLUX):
        return "transformer", module  # kohya calls every denoiser unet
    return component, from_sgm(module)


def dotted(flat: str) -> str:
    """A module's name from its underscored form, by the segments that are known to hold underscores."""
    words = flat.split("_")
    found, position = [], 0
    while position < len(words):
        for length in range(min(_LONGEST, len(words) - position), 0, -1):
            segment = _WORDS.get(tuple(words[position : position + length]))
            if segment or length == 1:
                found.append(segment or words[position])
                position += length
                break
    return ".".join(found)


def to_sgm(module: str) -> str:
    """A UNet module's name under Stability's own block names.

    Raises:
        InputError: it stands in no attention block, or in a block that Stable Diffusion has not.
    """
    if module.startswith(_MIDDLE):
        return f"middle_block.1.{module.removeprefix(_MIDDLE)}"
    for pattern, side, first, layers in ((_DOWN, "input", 1, _LAYERS), (_UP, "output", 0, _LAYERS + 1)):
        match = pattern.fullmatch(module)
        if match and int(match[2]) < layers:
            number = first + int(match[1]) * (_LAYERS + 1) + int(match[2])
            return f"{side}_blocks.{number}.1.{match[3]}"
    raise InputError(f"{module} has no SGM name; use --names kohya")


def from_sgm(module: str) -> str:
    """The diffusers name of a UNet module; what has no SGM name is returned as it is."""
    if module in _ENDS:
        return _ENDS[module]
    for number in (0, 2):  # resnets stand before and after the attention of the middle block
        if module.startswith(f"middle_block.{number}."):
            return f"mid_block.resnets.{number // 2}.{_of_resnet(module.removeprefix(f'middle_block.{number}.'))}"
    if module.startswith("middle_block.1."):
        return _MIDDLE + module.removeprefix("middle_block.1.")
    match = _SGM.fullmatch(module)
    if match is None:
        return module
    side, first = ("down", 1) if match[1] == "input" else ("up", 0)
    block, layer = divmod(int(match[2]) - first, _LAYERS + 1)
    place, part = match[3], match[4]
    if part == "op":
        return f"down_blocks.{block}.downsamplers.0.conv"
    if part == "conv":
        return f"up_blocks.{block}.upsamplers.0.conv"
    if place == "0":
        return f"{side}_blocks.{block}.resnets.{layer}.{_of_resnet(part)}"
    return f"{side}_blocks.{block}.attentions.{layer}.{part}"


def _of_resnet(part: str) -> str:
    return _RESNET.get(part, part)


def text_module(component: str, module: str) -> str:
    """A text encoder's module as the installed transformers names it: version 5 left `text_model.` out of one class."""
    bare = module.removeprefix("text_model.")
    return f"text_model.{bare}" if _has_text_model(component) and bare != "text_projection" else bare


@cache
def _has_text_model(component: str) -> bool:
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    made = CLIPTextModel if component == "text_encoder" else CLIPTextModelWithProjection
    with torch.device("meta"):
        model = made(CLIPTextConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
    return any(name.startswith("text_model.") for name, _ in model.named_modules())


def _of_bare(module: str) -> str:
    """The component of a module named without one."""
    if module.startswith(("text_model.", "encoder.layers.")):
        return "text_encoder"
    transformer = ("transformer_blocks.", "single_transformer_blocks.", *_FLUX, *_Z_IMAGE)
    return "transformer" if module.startswith(transformer) else "unet"
