"""The photos of a subject as training data: folders as users have them, buckets, captions, latents, class images."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from domains.personalized_diffusion.data import buckets, photos
from domains.personalized_diffusion.data.buckets import BucketBatches, Cropping, Size
from domains.personalized_diffusion.data.captions import CaptionSource, Trigger, Variation, captions_of, kohya_folder
from domains.personalized_diffusion.data.class_images import ClassImages
from domains.personalized_diffusion.data.photos import Alpha, Photo
from domains.personalized_diffusion.data.sources import photo_folders
from domains.personalized_diffusion.model.bases import Base, identity, lent
from domains.personalized_diffusion.model.latents import moments_of
from suite.errors import InputError
from suite.training.batching import ResumableLoader, Seeded
from suite.training.caches import TensorCache


@dataclass(frozen=True)
class Shot:
    """A photo, the bucket it is trained in, its caption, and how often an epoch shows it."""

    photo: Photo
    bucket: Size
    caption: str
    repeats: int


class PhotoData(L.LightningDataModule):
    """Photos of one subject, by the folder.

    Args:
        photos: folder of the photos; or of folders named as kohya's scripts want them (`10_sks dog`); or
            `sprites:NAME[:COUNT[:SEED]]`, pictures of the tiny base's held-out subjects.
        val: the same for photos that only measure the loss.
        token: the rare word that will call the subject.
        noun: the class of the subject, e.g. `dog`.
        template: the instance prompt.
        captions: `auto` (what lies beside a photo, else the instance prompt), `trigger` (the instance prompt for all),
            `files`, `filename`. The token is put into captions that lack it.
        caption_dropout: share of times that a caption is left out.
        caption_shuffle: order the parts of a caption between commas anew each time.
        keep_first: so many parts in front keep their place.
        resolution: side of the training square in pixels, or of the largest bucket's square; the base's by default.
        bucketing: keep the photos' shapes, in buckets.
        bucket_step: sides of buckets are its multiples.
        bucket_shortest: smallest side; half the resolution by default.
        bucket_longest: largest side; twice the resolution by default.
        upscale: enlarge photos smaller than their bucket; otherwise they get a smaller bucket (with `bucketing` alone).
        crop: `center`, or `random` as the official code does, which latents cannot be cached for.
        flip: mirror half of the pictures.
        alpha: what stands behind transparent pixels: `white`, or `official` (whatever colour lies under them).
        time_ids: SDXL's size and crop conditioning: each picture's `own`, or `official` (constants of the run).
        unreadable: `fail` at a photo that cannot be read, or `skip` it and say so.
        repeats: how often an epoch shows each photo; a kohya folder's own number multiplies it.
        batch_size: photos a batch; with class images the batch holds as many of these besides.
        class_images: pictures of the class for prior preservation; 0 trains without.
        class_folder: where they are, or are put; by default a folder of the suite's cache that every run with the same
            base, prompt and seed shares.
        class_prompt: what they show; the instance prompt without the token by default.
        class_steps: denoising steps of the class images that are drawn.
        class_guidance: guidance of the class images that are drawn.
        cache_latents: encode each picture once.
        cache: folder that keeps latents and text states from run to run.
        num_workers: processes that load.
    """

    def __init__(
        self,
        photos: str = "sprites:robot:5",
        val: str | None = None,
        token: str | None = "sks",
        noun: str | None = "",
        template: str = "a photo of {token} {noun}",
        captions: CaptionSource = "auto",
        caption_dropout: float = 0.0,
        caption_shuffle: bool = False,
        keep_first: int = 1,
        resolution: int | None = None,
        bucketing: bool = False,
        bucket_step: int = 64,
        bucket_shortest: int | None = None,
        bucket_longest: int | None = None,
        upscale: bool = True,
        crop: Cropping = "center",
        flip: bool = False,
        alpha: Alpha = "white",
        time_ids: Literal["own", "official"] = "own",
        unreadable: Literal["fail", "skip"] = "fail",
        repeats: int = 1,
        batch_size: int = 1,
        class_images: int = 0,
        class_folder: str | None = None,
        class_prompt: str | None = None,
        class_steps: int = 25,
        class_guidance: float = 7.5,
        cache_latents: bool = True,
        cache: str | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if not photos:
            raise InputError("data.photos is empty; give the folder of the subject's photos")
        self.sources = {"train": photos, "val": val}
        self.trigger = Trigger(token or "", noun or "", template or "")
        self.caption_source, self.variation = captions, Variation(caption_dropout, caption_shuffle, keep_first)
        self.resolution, self.bucketing, self.upscale = resolution, bucketing, upscale
        self.bucket_limits = {"step": bucket_step, "shortest": bucket_shortest, "longest": bucket_longest}
        self.crop, self.flip, self.alpha, self.time_ids, self.unreadable = crop, flip, alpha, time_ids, unreadable
        self.repeats, self.batch_size, self.num_workers = repeats, batch_size, num_workers
        self.prior = ClassImages(class_images, class_folder, class_prompt, class_steps, class_guidance)
        self.cache_latents = cache_latents and crop == "center"
        self.cache = TensorCache(None if cache is None else Path(cache).expanduser())
        self.shots: dict[str, list[Shot]] = {}
        self.base: Base | None = None
        self.seed = 0
        self._told = False
        if repeats < 1 or batch_size < 1:
            raise InputError("data.repeats and data.batch_size are at least 1")
        if not upscale and not bucketing:
            raise InputError("data.upscale: false gives small photos buckets of their own; set data.bucketing: true")

    def bind(self, base: Base, seed: int) -> None:
        """Say on which base the pictures are trained; the recipe does so before training."""
        self.base, self.seed = base, seed
        self.shots.clear()

    @property
    def side(self) -> int:
        """Side of the training square in pixels."""
        if self.resolution is not None:
            return self.resolution
        return 512 if self.base is None else self.base.resolution

    def setup(self, stage: str | None = None) -> None:
        """Find and check the photos; say what the user should know of them.

        Raises:
            InputError: there are none, or one cannot be read.
        """
        for split, source in self.sources.items():
            if source is not None and split not in self.shots:
                self.shots[split] = self._shots(source)
        if stage == "fit" and self.base is not None and not self._told:
            self._told = True
            self._tell(self.base)

    def _shots(self, source: str) -> list[Shot]:
        sizes = self._sizes()
        shots: list[Shot] = []
        for folder in photo_folders(source):
            found = photos.list_photos(folder, self.unreadable)
            # The folder that was given is no folder of kohya's, however it is called.
            below = folder != Path(source).expanduser()
            paths = [photo.path for photo in found]
            said = captions_of(paths, self.trigger, self.caption_source, folder_says=below)
            named = kohya_folder(folder) if below else None
            repeats = self.repeats * (named[0] if named else 1)
            for photo, caption in zip(found, said, strict=True):
                bucket = self._bucket(photo.size, sizes)
                shots.append(Shot(photo, bucket, caption, repeats))
        return shots

    def _bucket(self, size: Size, sizes: Sequence[Size]) -> Size:
        if not self.bucketing:
            return sizes[0]
        return buckets.choose(size, sizes, upscale=self.upscale, step=self.bucket_limits["step"] or 64)

    def _sizes(self) -> list[Size]:
        factor = 8 if self.base is None else self.base.unit
        if self.side % factor:
            raise InputError(f"data.resolution is {self.side}; give a multiple of {factor}, as the base draws them")
        if not self.bucketing:
            return [(self.side, self.side)]
        return buckets.bucket_sizes(self.side, **{k: v for k, v in self.bucket_limits.items() if v is not None})

    def _tell(self, base: Base) -> None:
        shots = self.shots["train"]
        lines = list(photos.notices([shot.photo for shot in shots], self.side, upscale=self.upscale))
        if self.bucketing:
            lines.append(f"buckets: {buckets.histogram([shot.bucket for shot in shots])}")
        lines.append(f"{len(shots)} photos, e.g. {shots[0].caption!r}")
        lines += self.trigger.notices(base.tokenizers[0])
        if base.family == "tiny" and max(min(shot.photo.size) for shot in shots) >= 4 * base.resolution:
            lines.append(
                f"this base draws {base.resolution} px pictures of a made world and cannot learn photographs; "
                "take a real one, e.g. --config configs/personalized_diffusion/sd15.yaml or sdxl.yaml"
            )
        print("\n".join(f"data: {line}" for line in lines), file=sys.stderr, flush=True)

    def captions(self) -> list[str]:
        """Every caption that training may say, where captions are not shuffled; empty where they are."""
        if self.variation.shuffle:
            return []
        said = [shot.caption for shot in self.shots["train"]]
        left_out = [""] if self.variation.dropout else []
        prior = [self.prior.prompt_of(self.trigger)] if self.prior.count else []
        return list(dict.fromkeys([*said, *left_out, *prior]))

    def train_dataloader(self) -> ResumableLoader:
        with self._beside_the_denoiser():
            samples = self._samples("train")
        return ResumableLoader(
            Seeded(samples),
            batch_sampler=BucketBatches(samples.buckets, self.batch_size, seed=self.seed),
            collate_fn=collate,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if self.sources["val"] is None:
            return []
        with self._beside_the_denoiser():
            samples = self._samples("val")
        # The same draws each time, so that losses of different steps compare.
        batches = list(BucketBatches(samples.buckets, self.batch_size, shuffle=False))
        return DataLoader(Seeded(samples), batch_sampler=batches, collate_fn=collate)

    def _samples(self, split: str) -> PhotoSamples:
        prior: list[Photo] = []
        if split == "train" and self.prior.count:
            assert self.base is not None, "call bind before drawing class images"
            prior = self.prior.photos(self.base, self.trigger, self.side, self.seed)
        samples = PhotoSamples(self, self.shots[split], prior, varied=split == "train")
        if self.cache_latents:
            samples.encode()
        return samples

    def _beside_the_denoiser(self) -> AbstractContextManager[None]:
        """The whole base on one device: training has moved the denoiser alone when it asks for the loaders."""
        if self.base is None:
            return nullcontext()
        return lent([*self.base.text_encoders, self.base.vae], self.base.unet.device)


class PhotoSamples(Dataset):
    """The shots of an epoch, each with its class image where there are any.

    Args:
        data: the settings.
        shots: the photos.
        prior: class images, one drawn for each shot.
        varied: vary captions and mirror pictures, as training does.
    """

    def __init__(self, data: PhotoData, shots: Sequence[Shot], prior: Sequence[Photo], *, varied: bool) -> None:
        self.data, self.prior, self.varied = data, list(prior), varied
        self.shots = [shot for shot in shots for _ in range(shot.repeats if varied else 1)]
        self.said = data.prior.prompt_of(data.trigger) if self.prior else ""

    @property
    def buckets(self) -> list[Size]:
        return [shot.bucket for shot in self.shots]

    def __len__(self) -> int:
        return len(self.shots)

    def __getitem__(self, index: int) -> list[dict[str, Any]]:
        """The shot and, with prior preservation, a class image of the same bucket."""
        shot, rng = self.shots[index], random.Random(random.random())
        caption = self.data.variation.vary(shot.caption, rng) if self.varied else shot.caption
        samples = [{**self._picture(shot.photo, shot.bucket, rng), "caption": caption}]
        if self.prior:
            samples.append({**self._picture(rng.choice(self.prior), shot.bucket, rng), "caption": self.said})
        return samples

    def encode(self) -> None:
        """Fill the cache of latents."""
        flips = (False, True) if self.data.flip and self.varied else (False,)
        for photo, bucket in {(shot.photo, shot.bucket): None for shot in self.shots}:
            for other in [photo, *self.prior]:
                for flip in flips:
                    self._latents(other, bucket, flip)

    def _picture(self, photo: Photo, bucket: Size, rng: random.Random) -> dict[str, Any]:
        flip = self.data.flip and self.varied and rng.random() < 0.5
        return self._latents(photo, bucket, flip) if self.data.cache_latents else self._pixels(photo, bucket, flip)

    def _pixels(self, photo: Photo, bucket: Size, flip: bool) -> dict[str, Tensor]:
        image = photos.open_photo(photo.path, self.data.alpha)
        pixels, crop = buckets.fit(image, bucket, crop=self.data.crop if self.varied else "center")
        side = self.data.side
        true = (*crop.original, crop.top, crop.left, bucket[1], bucket[0])
        given = true if self.data.time_ids == "own" else (side, side, 0, 0, side, side)
        return {"pixels": pixels.flip(-1) if flip else pixels, "time_ids": torch.tensor(given)}

    def _latents(self, photo: Photo, bucket: Size, flip: bool) -> dict[str, Tensor]:
        base = self.data.base
        assert base is not None, "call bind before encoding"
        key = (photo.digest, bucket, flip, self.data.alpha, self.data.time_ids, self.data.side, self._vae_id())

        def make() -> dict[str, Tensor]:
            made = self._pixels(photo, bucket, flip)
            with torch.no_grad():
                return {**made, "moments": moments_of(base.vae, made.pop("pixels")[None])[0]}

        return self.data.cache.get(key, make)

    def _vae_id(self) -> str:
        if not hasattr(self, "_identity"):
            assert self.data.base is not None
            self._identity = f"{identity(self.data.base.vae, self.data.base)}/{self.data.base.vae.dtype}"
        return self._identity


def collate(samples: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """A batch: the photos, then as many class images, as one run of the network sees them.

    Returns:
        `moments` (B, 2C, h, w) or `pixels` (B, 3, H, W), `time_ids` (B, 6), `captions`, and `prior`: whether the
        second half are class images.
    """
    parts = len(samples[0])
    ordered = [sample[part] for part in range(parts) for sample in samples]
    batch: dict[str, Any] = {
        name: torch.stack([sample[name] for sample in ordered]) for name in ordered[0] if name != "caption"
    }
    return {**batch, "captions": [sample["caption"] for sample in ordered], "prior": parts == 2}
