"""A Stable Diffusion pipeline in one file under the names of Stability's own code, the way `from_single_file` reads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
PARTS = {
    "unet": ("diffusion_pytorch_model", "model.diffusion_model."),
    "vae": ("diffusion_pytorch_model", "first_stage_model."),
    "text_encoder": ("model", "cond_stage_model.transformer."),
}


def write(pipeline: Path, file: Path) -> Path:
    """The weights of a pipeline's folder as one file; without them the folder lies beside it, under its name."""
    state: dict[str, Tensor] = {}
    for part, (stem, prefix) in PARTS.items():
        weights = load_file(pipeline / part / f"{stem}.safetensors")
        rename = {"unet": unet, "vae": vae, "text_encoder": text}[part]
        state |= {prefix + rename(key, weights): value.clone() for key, value in weights.items()}
    save_file(state, file)
    shutil.copytree(pipeline, file.with_suffix(""), ignore=shutil.ignore_patterns("*.safetensors", "encoders"))
    return file


def unet(key: str, weights: Mapping[str, Tensor]) -> str:
    for theirs, old in UNET_ENDS.items():
        if key.startswith(f"{theirs}."):
            return old + key.removeprefix(theirs)
    layers = len({name.split(".")[3] for name in weights if name.startswith("down_blocks.0.resnets.")})
    step = layers + 1
    if found := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.+)", key):
        return f"input_blocks.{(int(found[1]) + 1) * step}.0.op.{found[2]}"
    if found := re.fullmatch(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.+)", key):
        attended = any(name.startswith(f"up_blocks.{found[1]}.attentions.") for name in weights)
        return f"output_blocks.{int(found[1]) * step + layers}.{2 if attended else 1}.conv.{found[2]}"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", key):
        resnet = found[1] == "resnets"
        return f"middle_block.{2 * int(found[2]) if resnet else 1}.{_inner(found[3]) if resnet else found[3]}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", key)
    assert found is not None, key
    number = int(found[2]) * step + int(found[4]) + (found[1] == "down")
    place, rest = (0, _inner(found[5])) if found[3] == "resnets" else (1, found[5])
    return f"{'input' if found[1] == 'down' else 'output'}_blocks.{number}.{place}.{rest}"


def _inner(rest: str) -> str:
    name, _, last = rest.rpartition(".")
    return f"{UNET_RESNET[name]}.{last}"


def vae(key: str, weights: Mapping[str, Tensor]) -> str:
    blocks = len({name.split(".")[2] for name in weights if name.startswith("decoder.up_blocks.")})
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if found := re.fullmatch(r"(.+)\.mid_block\.resnets\.(\d)\.(.+)", key):
        return f"{found[1]}.mid.block_{int(found[2]) + 1}.{found[3]}"
    if found := re.fullmatch(r"(.+)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)", key):
        return f"{found[1]}.mid.attn_1.{VAE_ATTENTION[found[2]]}.{found[3]}"
    if found := re.fullmatch(r"encoder\.down_blocks\.(\d+)\.(.+)", key):
        return f"encoder.down.{found[1]}.{_sampled(found[2])}"
    if found := re.fullmatch(r"decoder\.up_blocks\.(\d+)\.(.+)", key):
        return f"decoder.up.{blocks - 1 - int(found[1])}.{_sampled(found[2])}"
    return key


def _sampled(rest: str) -> str:
    return re.sub(r"(down|up)samplers\.0", r"\1sample", rest.replace("resnets.", "block."))


def text(key: str, weights: Mapping[str, Tensor]) -> str:
    return f"text_model.{key.removeprefix('text_model.')}"
