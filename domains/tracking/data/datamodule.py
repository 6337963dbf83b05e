"""Training data: sequences of any source to batches of template and search crops."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from domains.tracking.data.samples import CropSettings, TrackingSamples
from domains.tracking.data.sampling import FrameSampling
from domains.tracking.data.sequences import SequenceSet
from domains.tracking.data.sources import open_set
from suite.errors import InputError
from suite.training import loader


class TrackingData(L.LightningDataModule):
    """Sequences of the made world, of benchmarks or of one's own.

    Args:
        train: one or several of `world:SPLIT[:COUNT]`, or `PATH[:SPLIT]`; all count the same.
        val: the same; None: no validation.
        format: of the paths: auto, got10k, trackingnet, uav, nfs, otb, lasot, tnl2k, coco, vot, own or corners.
        samples_per_epoch: samples of five frames that an epoch has. val_samples: of the validation, always the same.
        batch_size: samples a batch.
        template_size, search_size: sides of the crops in pixels; the base's own where left out.
        template_area_factor, search_area_factor: margin around the box.
        min_object_size: least side of the object in a search crop, pixels.
        scale_jitter, translation_jitter: of search crops.
        max_gap, max_sample_interval: frames between those of a sample.
        augment: flips, colours and blurs.
        seed: of the order of sequences.
        num_workers: processes that read and cut.
    """

    def __init__(
        self,
        train: str | list[str] = "world:train",
        val: str | list[str] | None = "world:val",
        format: str = "auto",
        samples_per_epoch: int = 131072,
        val_samples: int = 200,
        batch_size: int = 128,
        template_size: int | None = None,
        search_size: int | None = None,
        template_area_factor: float = 2.0,
        search_area_factor: float = 5.0,
        min_object_size: float = 10.0,
        scale_jitter: float = 0.25,
        translation_jitter: float = 3.0,
        max_gap: int = 200,
        max_sample_interval: int = 400,
        augment: bool = True,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("samples_per_epoch", samples_per_epoch), ("batch_size", batch_size)):
            if value < 1:
                raise InputError(f"data.{name} is {value}; give at least 1")
        self.sources = {"train": _several(train), "val": _several(val)}
        self.format, self.samples_per_epoch, self.val_samples = format, samples_per_epoch, val_samples
        self.batch_size, self.augment, self.seed, self.num_workers = batch_size, augment, seed, num_workers
        self.sampling = FrameSampling(max_gap, max_sample_interval)
        self._sizes = {"template_size": template_size, "search_size": search_size}
        self._margins = {
            "template_area_factor": template_area_factor,
            "search_area_factor": search_area_factor,
            "min_object_size": min_object_size,
            "scale_jitter": scale_jitter,
            "translation_jitter": translation_jitter,
        }
        self.settings: CropSettings | None = None
        self.sets: dict[str, list[SequenceSet]] = {}

    def meet(self, template_size: int, search_size: int, stride: int) -> CropSettings:
        """Take over the base's geometry where the configuration says none; return what holds."""
        sizes = {"template_size": template_size, "search_size": search_size}
        stated = {name: value for name, value in self._sizes.items() if value is not None}
        self.settings = CropSettings(stride=stride, **(sizes | stated), **self._margins)  # type: ignore[arg-type]
        return self.settings

    def setup(self, stage: str = "fit") -> None:
        """Open the sources, once each; what is unusual about them is said once."""
        for name, sources in self.sources.items():
            if name in self.sets:
                continue
            self.sets[name] = [open_set(source, format=self.format, split=name) for source in sources]
            for notice in (notice for one in self.sets[name] for notice in one.notices):
                print(notice, file=sys.stderr, flush=True)

    def samples(self, name: str) -> TrackingSamples:
        """The samples of `train` or `val`."""
        self.setup()
        made, fixed = self.settings or CropSettings(), name == "val"
        length = self.val_samples if fixed else self.samples_per_epoch
        return TrackingSamples(
            self.sets[name], made, length, sampling=self.sampling, augment=self.augment, fixed=fixed, seed=self.seed
        )

    def train_dataloader(self) -> DataLoader:
        return loader(self.samples("train"), self.batch_size, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader | list[Any]:
        if not self.sources["val"]:
            return []
        return loader(self.samples("val"), self.batch_size, shuffle=False, num_workers=self.num_workers)


def _several(sources: str | Sequence[str] | None) -> list[str]:
    return [sources] if isinstance(sources, str) else list(sources or ())
