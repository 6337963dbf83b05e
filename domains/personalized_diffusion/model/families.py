"""The families of text-to-image bases: whatever is known of one stands in its row. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Component = Literal["unet", "transformer"]


@dataclass(frozen=True)
class Family:
    """What the bases of one architecture share.

    Attributes:
        title: for people.
        pipeline: diffusers' class of its pipeline.
        steps, guidance: of sampling where they are not told.
        tag, licence: the hub's name and the full name of the licence that its weights were released under.
        component: what the pipeline calls its denoiser. network: diffusers' class of a transformer.
        mark: regular expression that a name of its denoiser's modules holds and no other family's does.
        hidden: widths of its transformers, by which those are told whose modules are named alike.
        patch: latents to a side of what its denoiser sees as one token.
        guide: what the pipeline calls its guidance. negative: whether it takes negative prompts.
        width: of the text states that its cross-attention reads, by which a file without facts is known.
        usual: the base that a file of the family was most likely trained on, where it does not say.
        version: kohya's `ss_base_model_version`. architecture: Stability's `modelspec.architecture`.
    """

    title: str
    pipeline: str
    steps: int
    guidance: float
    tag: str
    licence: str
    component: Component = "unet"
    network: str | None = None
    mark: str | None = None
    hidden: tuple[int, ...] = ()
    patch: int = 1
    guide: str = "guidance_scale"
    negative: bool = True
    width: int | None = None
    usual: str | None = None
    version: str | None = None
    architecture: str | None = None


# Steps and guidance are the authors' for Stable Diffusion, diffusers' defaults for the others.
FAMILIES: Mapping[str, Family] = {
    "tiny": Family("the embedded default", "StableDiffusionPipeline", 10, 2.0, "apache-2.0", "Apache-2.0"),
    "sd15": Family(
        "SD 1.x",
        "StableDiffusionPipeline",
        50,
        7.0,
        "creativeml-openrail-m",
        "CreativeML Open RAIL-M",
        width=768,
        usual="hf:stable-diffusion-v1-5/stable-diffusion-v1-5",
        version="sd_v1",
        architecture="stable-diffusion-v1",
    ),
    "sd21": Family(
        "SD 2.x",
        "StableDiffusionPipeline",
        50,
        7.0,
        "openrail++",
        "CreativeML Open RAIL++-M",
        width=1024,
        usual="hf:stabilityai/stable-diffusion-2-1-base",
        version="sd_v2",
        architecture="stable-diffusion-v2-512",
    ),
    "sdxl": Family(
        "SDXL",
        "StableDiffusionXLPipeline",
        50,
        5.0,
        "openrail++",
        "CreativeML Open RAIL++-M",
        width=2048,
        usual="hf:stabilityai/stable-diffusion-xl-base-1.0",
        version="sdxl_base_v1-0",
        architecture="stable-diffusion-xl-v1-base",
    ),
    "sd3": Family(
        "SD 3",
        "StableDiffusion3Pipeline",
        28,
        7.0,
        "other",
        "the Stability AI Community License",
        component="transformer",
        network="SD3Transformer2DModel",
        hidden=(1536, 2432),
        patch=2,
        usual="hf:stabilityai/stable-diffusion-3.5-medium",
        version="sd3",
        architecture="stable-diffusion-3-medium",
    ),
    "flux": Family(
        "Flux",
        "FluxPipeline",
        28,
        3.5,
        "other",
        "the licence of its FLUX.1 release",
        component="transformer",
        network="FluxTransformer2DModel",
        mark=r"^single_transformer_blocks\.\d+\.(attn\.to_[kqv]$|proj_|norm)",
        patch=2,
        negative=False,
        usual="hf:black-forest-labs/FLUX.1-dev",
        version="flux1",
        architecture="flux-1-dev",
    ),
    "flux2": Family(
        "Flux.2",
        "Flux2Pipeline",
        50,
        4.0,
        "other",
        "the licence of its FLUX.2 release",
        component="transformer",
        network="Flux2Transformer2DModel",
        mark=r"\.attn\.to_qkv_mlp_proj$",
        patch=2,
        negative=False,
        usual="hf:black-forest-labs/FLUX.2-dev",
    ),
    "flux2_klein": Family(
        "Flux.2 klein",
        "Flux2KleinPipeline",
        50,
        4.0,
        "other",
        "the licence of its FLUX.2 release",
        component="transformer",
        network="Flux2Transformer2DModel",
        patch=2,
        negative=False,
        usual="hf:black-forest-labs/FLUX.2-klein-base-4B",
    ),
    "qwen_image": Family(
        "Qwen-Image",
        "QwenImagePipeline",
        50,
        4.0,
        "apache-2.0",
        "Apache-2.0",
        component="transformer",
        network="QwenImageTransformer2DModel",
        mark=r"\.img_mlp\.",
        hidden=(3072,),
        patch=2,
        guide="true_cfg_scale",
        usual="hf:Qwen/Qwen-Image",
    ),
    "z_image": Family(
        "Z-Image",
        "ZImagePipeline",
        50,
        5.0,
        "apache-2.0",
        "Apache-2.0",
        component="transformer",
        network="ZImageTransformer2DModel",
        mark=r"\.attention\.to_",
        patch=2,
        usual="hf:Tongyi-MAI/Z-Image",
    ),
}

PIPELINES: Mapping[str, tuple[str, ...]] = {
    pipeline: tuple(name for name, family in FAMILIES.items() if family.pipeline == pipeline)
    for pipeline in dict.fromkeys(family.pipeline for family in FAMILIES.values())
}
"""Families by the class of pipeline that a base's folder names."""


def of_width(width: int | None) -> str | None:
    """The family whose cross-attention reads text states of this width, or None."""
    return next((name for name, family in FAMILIES.items() if width and family.width == width), None)


def of_modules(names: Iterable[str], width: int | None = None) -> str | None:
    """The family of a transformer by its modules' names, or by its width among those that are named alike."""
    listed = list(names)
    marked = ((name, family.mark) for name, family in FAMILIES.items() if family.mark)
    found = (name for name, mark in marked if any(re.search(mark, module) for module in listed))
    return next(found, None) or next((name for name, family in FAMILIES.items() if width in family.hidden), None)


def of_pipeline(pipeline: str, width: int | None) -> str:
    """The family of a pipeline; Stable Diffusion's versions are told apart by the width of their text states.

    Any other width under that class is a small base of somebody's own: `tiny`.
    """
    several = PIPELINES[pipeline]
    return several[0] if len(several) == 1 else next((n for n in several if FAMILIES[n].width == width), "tiny")
