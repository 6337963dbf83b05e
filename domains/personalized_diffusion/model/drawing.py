"""One call of a base's pipeline: pictures of one prompt, each with a seed of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from domains.personalized_diffusion.model.bases import Base
from domains.personalized_diffusion.model.conditioning import words_for
from domains.personalized_diffusion.model.families import FAMILIES
from domains.personalized_diffusion.types import Settings
from suite.errors import InputError


def draw(base: Base, text: str, seeds: Sequence[int], settings: Settings, side_by_side: int) -> list[Image.Image]:
    """The pictures of a prompt, one a seed.

    Args:
        side_by_side: pictures that go through the denoiser together.

    Raises:
        InputError: they came out as NaN.
    """
    pipe = base.pipeline()
    images: list[Image.Image] = []
    family = FAMILIES[base.family]
    for start in range(0, len(seeds), side_by_side):
        some = seeds[start : start + side_by_side]
        # Noise from the CPU, an own generator a picture: the same picture on every device, in every batch.
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in some]
        given = words_for(base.pipe, base.family, text, settings.negative, len(some), base.clip_skip)
        if not family.negative:
            del given["negative_prompt"]
        with torch.no_grad():  # not inference mode: what the networks keep of this may meet gradients in training
            found = pipe(
                width=settings.width,
                height=settings.height,
                num_inference_steps=settings.steps,
                generator=generators,
                output_type="pt",
                **{family.guide: settings.guidance},
                **given,
            ).images
        images += to_pictures(found)
    return images


def to_pictures(found: Tensor) -> list[Image.Image]:
    """(B, 3, H, W) in [0, 1] as pictures.

    Raises:
        InputError: they hold NaN, as of a VAE in half precision.
    """
    if not torch.isfinite(found).all():
        raise InputError(
            "the pictures came out as NaN: use --dtype float32 or bfloat16 (SDXL's VAE overflows in float16), "
            "or an adapter trained with a lower rate"
        )
    pixels = (found.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(np.ascontiguousarray(one)) for one in pixels]
