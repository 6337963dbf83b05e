"""Training samples: photos cut to their buckets, their masks and latents, and the class images beside them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from domains.personalized_diffusion.data import buckets, photos
from domains.personalized_diffusion.data.buckets import Cropping, Size
from domains.personalized_diffusion.data.captions import Variation
from domains.personalized_diffusion.data.masks import Masks
from domains.personalized_diffusion.data.photos import Alpha, Photo
from domains.personalized_diffusion.model.bases import Base, identity
from domains.personalized_diffusion.model.latents import moments_of
from suite.training.caches import TensorCache

MASK_CELL = 8
"""Side in pixels of what one number of a mask stands for: the finest latents of any base here."""


@dataclass(frozen=True)
class Shot:
    """A photo, the bucket it is trained in, its caption, how often an epoch shows it, kohya's name of its folder."""

    photo: Photo
    bucket: Size
    caption: str
    repeats: int
    folder: str = ""


@dataclass(frozen=True)
class Encoder:
    """The VAE of a base, and what it made already."""

    base: Base
    cache: TensorCache

    @cached_property
    def name(self) -> str:
        """What tells the VAE from others."""
        return f"{identity(self.base.vae, self.base)}/{self.base.vae.dtype}"


@dataclass(frozen=True)
class Rendering:
    """How photos become tensors.

    Attributes:
        side: of the training square in pixels.
        alpha: what stands behind transparent pixels. crop: where a photo is cut.
        own_sizes: SDXL is told each picture's own size and crop, else constants of the run.
        masks: what of the photos trains. encoder: makes latents of them, each once.
    """

    side: int
    alpha: Alpha
    crop: Cropping
    own_sizes: bool
    masks: Masks | None
    encoder: Encoder | None

    def of(self, photo: Photo, bucket: Size, flip: bool, *, masked: bool) -> dict[str, Tensor]:
        """`moments` (2C, h, w) or `pixels` (3, H, W), `time_ids` (6,), and with masks `mask` (1, H / 8, W / 8).

        Args:
            masked: the photo has a mask; without one all of it trains.
        """
        if self.encoder is None:
            return self._pixels(photo, bucket, flip, masked)
        encoder = self.encoder
        told = "own" if self.own_sizes else "official"
        key: tuple[object, ...] = (photo.digest, bucket, flip, self.alpha, told, self.side, encoder.name)
        if self.masks is not None:
            key = (*key, "mask", self.masks.floor, self.masks.digest(photo) if masked else None)

        def make() -> dict[str, Tensor]:
            made = self._pixels(photo, bucket, flip, masked)
            with torch.no_grad():
                return {**made, "moments": moments_of(encoder.base.vae, made.pop("pixels")[None])[0]}

        return encoder.cache.get(key, make)

    def _pixels(self, photo: Photo, bucket: Size, flip: bool, masked: bool) -> dict[str, Tensor]:
        image = photos.open_photo(photo.path, self.alpha)
        pixels, crop = buckets.fit(image, bucket, crop=self.crop)
        true = (*crop.original, crop.top, crop.left, bucket[1], bucket[0])
        given = true if self.own_sizes else (self.side, self.side, 0, 0, self.side, self.side)
        made = {"pixels": pixels, "time_ids": torch.tensor(given)}
        if self.masks is not None:
            made["mask"] = self._mask(photo, bucket, crop, self.masks) if masked else _whole(bucket)
        return {name: value.flip(-1) if flip and name != "time_ids" else value for name, value in made.items()}

    def _mask(self, photo: Photo, bucket: Size, crop: photos.Crop, masks: Masks) -> Tensor:
        """The weights of a photo's cells, of mean 1, so that a small subject's loss is not small. (1, H / 8, W / 8)"""
        whole = buckets.cut(masks.open(photo), bucket, crop)  # (1, H, W) in [0, 1]
        cells = masks.floor + (1 - masks.floor) * functional.avg_pool2d(whole, MASK_CELL)
        mean = cells.mean()
        # Where the cut left nothing of the subject, nothing trains.
        return cells / mean if mean > 0 else cells


def _whole(bucket: Size) -> Tensor:
    return torch.ones(1, bucket[1] // MASK_CELL, bucket[0] // MASK_CELL)


class PhotoSamples(Dataset):
    """The shots of an epoch, each with its class image where there are any.

    Args:
        rendering: makes tensors of photos.
        shots: the photos.
        prior: class images, one drawn for each shot. said: what they show.
        variation: of captions.
        flip: mirror half of the pictures. repeated: as often as the shots say, as training does.
    """

    def __init__(
        self,
        rendering: Rendering,
        shots: Sequence[Shot],
        prior: Sequence[Photo],
        said: str,
        variation: Variation,
        *,
        flip: bool,
        repeated: bool,
    ) -> None:
        self.rendering, self.prior, self.said, self.variation, self.flip = rendering, list(prior), said, variation, flip
        self.shots = [shot for shot in shots for _ in range(shot.repeats if repeated else 1)]

    @property
    def buckets(self) -> list[Size]:
        return [shot.bucket for shot in self.shots]

    def __len__(self) -> int:
        return len(self.shots)

    def __getitem__(self, index: int) -> list[dict[str, Any]]:
        """The shot and, with prior preservation, a class image of the same bucket."""
        shot, rng = self.shots[index], random.Random(random.random())
        caption = self.variation.vary(shot.caption, rng)
        samples = [{**self._picture(shot.photo, shot.bucket, rng, masked=True), "caption": caption}]
        if self.prior:
            prior = self._picture(rng.choice(self.prior), shot.bucket, rng, masked=False)
            samples.append({**prior, "caption": self.said})
        return samples

    def encode(self) -> None:
        """Fill the cache of latents."""
        for photo, bucket in {(shot.photo, shot.bucket): None for shot in self.shots}:
            for other in [photo, *self.prior]:
                for flip in (False, True) if self.flip else (False,):
                    self.rendering.of(other, bucket, flip, masked=other is photo)

    def _picture(self, photo: Photo, bucket: Size, rng: random.Random, *, masked: bool) -> dict[str, Tensor]:
        return self.rendering.of(photo, bucket, self.flip and rng.random() < 0.5, masked=masked)


def collate(samples: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """A batch: the photos, then as many class images, as one run of the network sees them.

    Returns:
        `moments` (B, 2C, h, w) or `pixels` (B, 3, H, W), `time_ids` (B, 6), with masks `mask` (B, 1, H / 8, W / 8),
        `captions`, and `prior`: whether the second half are class images.
    """
    parts = len(samples[0])
    ordered = [sample[part] for part in range(parts) for sample in samples]
    batch: dict[str, Any] = {
        name: torch.stack([sample[name] for sample in ordered]) for name in ordered[0] if name != "caption"
    }
    return {**batch, "captions": [sample["caption"] for sample in ordered], "prior": parts == 2}
