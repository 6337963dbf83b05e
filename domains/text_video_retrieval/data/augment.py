"""RandAugment (arXiv 1909.13719) of whole videos: every frame gets the same operations at the same strength."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from suite.errors import InputError

Pixels = NDArray[np.uint8]

PUBLISHED = "rand-m7-n4-mstd0.5-inc1"
"""In timm's words: magnitude 7 of 10 with a deviation of 0.5, four operations that grow stronger with it."""


class VideoAugment:
    """Draws operations for each video, and applies them to all of its frames.

    Args:
        policy: in timm's words. side: of the model's square, which translations are counted by.
    """

    def __init__(self, policy: str = PUBLISHED, side: int = 224) -> None:
        from timm.data.auto_augment import rand_augment_transform

        settings = {"translate_const": int(0.45 * side), "interpolation": Image.Resampling.BICUBIC}
        try:
            self.policy = rand_augment_transform(policy, settings)
        except (AssertionError, ValueError, KeyError) as error:
            raise InputError(f"augment is {policy!r}; give a policy of timm, e.g. {PUBLISHED}") from error

    def __call__(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        """Other pictures of the same sizes."""
        images = [Image.fromarray(picture) for picture in pictures]
        chosen = np.random.choice(len(self.policy.ops), self.policy.num_layers)
        for operation in (self.policy.ops[number] for number in chosen):
            if random.random() > operation.prob:
                continue
            magnitude = operation.magnitude
            if operation.magnitude_std > 0:
                magnitude = random.gauss(magnitude, operation.magnitude_std)
            magnitude = max(0.0, min(magnitude, operation.magnitude_max or 10.0))
            # Strength and sign are drawn here, once for all frames.
            level = operation.level_fn(magnitude, operation.hparams) if operation.level_fn is not None else ()
            images = [operation.aug_fn(image, *level, **operation.kwargs) for image in images]
        return [np.asarray(image) for image in images]
