"""The photos of a subject as training data: folders as users have them, buckets, captions, latents, class images."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch.utils.data import DataLoader

from domains.personalized_diffusion.data import buckets, photos
from domains.personalized_diffusion.data.buckets import BucketBatches, Cropping, Size
from domains.personalized_diffusion.data.captions import CaptionSource, Trigger, Variation, captions_of, kohya_folder
from domains.personalized_diffusion.data.class_images import ClassImages
from domains.personalized_diffusion.data.masks import Masks
from domains.personalized_diffusion.data.photos import Alpha, Photo
from domains.personalized_diffusion.data.samples import Encoder, PhotoSamples, Rendering, Shot, collate
from domains.personalized_diffusion.data.sources import photo_folders
from domains.personalized_diffusion.model.bases import Base, lent
from suite.errors import InputError
from suite.training.batching import ResumableLoader, Seeded
from suite.training.caches import TensorCache


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
        tag_dropout: share of times that each part of a caption between commas is left out.
        keep_first: so many parts in front keep their place, and stay.
        resolution: side of the training square in pixels, or of the largest bucket's square; the base's by default. A
            list trains every photo at each of them.
        bucketing: keep the photos' shapes, in buckets.
        bucket_step: sides of buckets are its multiples.
        bucket_shortest: smallest side; half the resolution by default.
        bucket_longest: largest side; twice the resolution by default.
        upscale: enlarge photos smaller than their bucket; otherwise they get a smaller bucket (with `bucketing` alone).
        crop: `center`, or `random` as the official code does, which latents cannot be cached for.
        flip: mirror half of the pictures.
        alpha: what stands behind transparent pixels: `white`, or `official` (whatever colour lies under them).
        masks: what of the photos trains: `alpha` (what is not transparent), or a folder with a picture of the same name
            for each photo, white where it trains, black where it does not. All of them by default.
        unmasked_weight: how much what the masks leave out trains, 0 to 1.
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
        tag_dropout: float = 0.0,
        keep_first: int = 1,
        resolution: int | list[int] | None = None,
        bucketing: bool = False,
        bucket_step: int = 64,
        bucket_shortest: int | None = None,
        bucket_longest: int | None = None,
        upscale: bool = True,
        crop: Cropping = "center",
        flip: bool = False,
        alpha: Alpha = "white",
        masks: str | None = None,
        unmasked_weight: float = 0.0,
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
        self.caption_source, self.variation = (
            captions,
            Variation(caption_dropout, caption_shuffle, keep_first, tag_dropout),
        )
        self.resolutions = [resolution] if isinstance(resolution, int) else list(resolution or ())
        self.bucketing, self.upscale = bucketing, upscale
        self.bucket_limits = {"step": bucket_step, "shortest": bucket_shortest, "longest": bucket_longest}
        self.crop, self.flip, self.alpha, self.time_ids, self.unreadable = crop, flip, alpha, time_ids, unreadable
        self.masks = None if masks is None else Masks(masks, unmasked_weight)
        self.repeats, self.batch_size, self.num_workers = repeats, batch_size, num_workers
        self.prior = ClassImages(class_images, class_folder, class_prompt, class_steps, class_guidance)
        self.cache_latents = cache_latents and crop == "center"
        self.cache = TensorCache(None if cache is None else Path(cache).expanduser())
        self.shots: dict[str, list[Shot]] = {}
        self.base: Base | None = None
        self.seed = 0
        self._told = False
        if any(side < 1 for side in self.resolutions):
            raise InputError(f"data.resolution is {resolution}; give a number of pixels, or several")
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
        """Side of the training square in pixels, of the largest where there are several."""
        return max(self.sides)

    @property
    def sides(self) -> list[int]:
        """Sides of the training squares in pixels."""
        return self.resolutions or [512 if self.base is None else self.base.resolution]

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
        rounds = [self._sizes(side) for side in self.sides]
        shots: list[Shot] = []
        for folder in photo_folders(source):
            found = photos.list_photos(folder, self.unreadable)
            # The folder that was given is no folder of kohya's, however it is called.
            below = folder != Path(source).expanduser()
            paths = [photo.path for photo in found]
            said = captions_of(paths, self.trigger, self.caption_source, folder_says=below)
            named = kohya_folder(folder) if below else None
            repeats = self.repeats * (named[0] if named else 1)
            name = f"{repeats}_{named[1] if named else self.trigger.phrase}"
            for photo, caption in zip(found, said, strict=True):
                if self.masks is not None:
                    self.masks.check(photo)
                for sizes in rounds:
                    shots.append(Shot(photo, self._bucket(photo.size, sizes), caption, repeats, name))
        return shots

    def _bucket(self, size: Size, sizes: Sequence[Size]) -> Size:
        if not self.bucketing:
            return sizes[0]
        return buckets.choose(size, sizes, upscale=self.upscale, step=self.bucket_limits["step"] or 64)

    def _sizes(self, side: int) -> list[Size]:
        factor = 8 if self.base is None else self.base.unit
        if side % factor:
            raise InputError(f"data.resolution is {side}; give a multiple of {factor}, as the base draws them")
        if not self.bucketing:
            return [(side, side)]
        return buckets.bucket_sizes(side, **{k: v for k, v in self.bucket_limits.items() if v is not None})

    def _tell(self, base: Base) -> None:
        shots = self.shots["train"]
        files = list({shot.photo.path: shot.photo for shot in shots}.values())
        lines = list(photos.notices(files, self.side, upscale=self.upscale))
        if self.bucketing:
            lines.append(f"buckets: {buckets.histogram([shot.bucket for shot in shots])}")
        lines.append(f"{len(files)} photos, e.g. {shots[0].caption!r}")
        lines += self.trigger.notices(base.tokenizers[0])
        if base.family == "tiny" and max(min(shot.photo.size) for shot in shots) >= 4 * base.resolution:
            lines.append(
                f"this base draws {base.resolution} px pictures of a made world and cannot learn photographs; "
                "take a real one, e.g. --config configs/personalized_diffusion/sd15.yaml or sdxl.yaml"
            )
        print("\n".join(f"data: {line}" for line in lines), file=sys.stderr, flush=True)

    def captions(self) -> list[str]:
        """Every caption that training may say, where captions are not shuffled or cut; empty where they are."""
        if self.variation.shuffle or self.variation.tag_dropout:
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
        assert self.base is not None or not self.cache_latents, "call bind before encoding"
        varied = split == "train"
        rendering = Rendering(
            side=self.side,
            alpha=self.alpha,
            crop=self.crop if varied else "center",
            own_sizes=self.time_ids == "own",
            masks=self.masks,
            encoder=Encoder(self.base, self.cache) if self.base is not None and self.cache_latents else None,
        )
        said = self.prior.prompt_of(self.trigger) if prior else ""
        variation = self.variation if varied else Variation()
        samples = PhotoSamples(
            rendering, self.shots[split], prior, said, variation, flip=self.flip and varied, repeated=varied
        )
        if self.cache_latents:
            samples.encode()
        return samples

    def record(self) -> dict[str, Any]:
        """What an adapter says of the photos that it was trained on: their number, captions and buckets."""
        shots = self.shots.get("train", [])
        tags: dict[str, Counter[str]] = {}
        seen: set[Path] = set()
        for shot in (shot for shot in shots if shot.photo.path not in seen):
            seen.add(shot.photo.path)
            parts = (part.strip() for part in shot.caption.split(","))
            tags.setdefault(shot.folder, Counter()).update(part for part in parts if part)
        sizes = Counter(shot.bucket for shot in shots)
        return {
            "images": len(seen),
            "shown": sum(shot.repeats for shot in shots),
            "class_images": self.prior.count,
            "batch_size": self.batch_size,
            "tags": {name: dict(counts) for name, counts in tags.items()},
            "buckets": [[*size, count] for size, count in sorted(sizes.items())],
        }

    def _beside_the_denoiser(self) -> AbstractContextManager[None]:
        """The whole base on one device: training has moved the denoiser alone when it asks for the loaders."""
        if self.base is None:
            return nullcontext()
        return lent([*self.base.text_encoders, self.base.vae], self.base.unet.device)
