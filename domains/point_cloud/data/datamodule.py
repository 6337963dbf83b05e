"""Training data: labelled clouds to batches of points."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from domains.point_cloud.data.augment import AUGMENTATIONS, Augmentation
from domains.point_cloud.data.channels import layout
from domains.point_cloud.data.datasets.cloud_set import NO_PART, CloudSet, Options
from domains.point_cloud.data.sampling import farthest, pool_size, unit_sphere
from domains.point_cloud.data.sources import named_split, open_set
from suite.errors import InputError
from suite.training import loader

Sample = dict[str, Tensor]

KEPT = 100_000_000
"""Points of a set that stay in memory (2 GB with their parts); the clouds of a larger one are read again and again."""


class CloudSamples(Dataset):
    """Clouds of a set as a model sees them, each read once and kept, up to `KEPT` points.

    Classification: farthest points of the cloud in the order in which they are found; in training a random choice of
    `npoints` out of a few more of them, shuffled. Segmentation: a random choice of points, with replacement where the
    cloud has fewer; in evaluation its seed is the cloud's number, so that scores do not change from run to run.

    Args:
        npoints: points of a sample.
        training: whether samples are drawn anew each time.
        normalise: put each cloud into the unit sphere.
        parts: samples for segmentation.
    """

    def __init__(self, clouds: CloudSet, npoints: int, *, training: bool, normalise: bool, parts: bool) -> None:
        self.clouds, self.npoints, self.training = clouds, npoints, training
        self.normalise, self.parts = normalise, parts
        self._kept: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._room = KEPT

    def __len__(self) -> int:
        return len(self.clouds)

    def __getitem__(self, number: int) -> Sample:
        """`points` (npoints, 3 + channels); `label` (), or `category` () and `parts` (npoints,)."""
        points, parts = self.cloud(number)
        label = torch.tensor(int(self.clouds.labels[number]))
        if self.parts:
            assert parts is not None
            chosen = self._random(len(points), number)
            return {"points": points[chosen], "parts": parts[chosen], "category": label}
        if self.training:
            points = points[torch.randperm(len(points))[: self.npoints]]
        return {"points": points[: self.npoints], "label": label}

    def cloud(self, number: int) -> tuple[Tensor, Tensor | None]:
        """What samples of a cloud are drawn from: its points (N, 3) and parts (N,).

        Raises:
            InputError: the cloud cannot be read, has too few points, or its parts are not those of its category.
        """
        if number in self._kept:
            return self._kept[number]
        try:
            prepared = self._prepared(number)
        except InputError as error:
            name = self.clouds.names[number]
            raise InputError(str(error) if name in str(error) else f"{name}: {error}") from None
        if len(prepared[0]) <= self._room:
            self._kept[number] = prepared
            self._room -= len(prepared[0])
        return prepared

    def _prepared(self, number: int) -> tuple[Tensor, Tensor | None]:
        loaded, labels = self.clouds.load(number)
        placed = unit_sphere(loaded[:, :3].astype(np.float64)) if self.normalise else loaded[:, :3]
        placed = np.concatenate([placed, loaded[:, 3:]], 1) if loaded.shape[1] > 3 else placed
        points = torch.from_numpy(np.ascontiguousarray(placed, dtype=np.float32))
        if self.parts:
            return points, self._checked_parts(labels, len(points))
        if len(points) < self.npoints:
            raise InputError(f"the cloud has {len(points)} points, {self.npoints} needed; lower data.npoints")
        if self.training and len(points) == self.npoints:
            return points, None
        return farthest(points, pool_size(self.npoints) if self.training else self.npoints), None

    def _checked_parts(self, labels: Any, points: int) -> Tensor:
        if labels is None:
            raise InputError("the cloud has no part labels; segmentation needs one a point")
        if len(labels) != points:
            raise InputError(f"{len(labels)} labels for {points} points; give one a point")
        known = sum(map(len, self.clouds.parts.values()))
        if labels.min() < NO_PART or labels.max() >= known:
            wrong = int(labels[(labels < NO_PART) | (labels >= known)][0])
            raise InputError(f"part label {wrong} is outside the {known} known parts; check the labels")
        return torch.from_numpy(labels)

    def _random(self, points: int, number: int) -> Tensor:
        rng = None if self.training else torch.Generator().manual_seed(number)
        if points == self.npoints and not self.training:
            return torch.arange(points)
        if points < self.npoints:
            return torch.randint(points, (self.npoints,), generator=rng)
        return torch.randperm(points, generator=rng)[: self.npoints]


class PointCloudData(L.LightningDataModule):
    """Clouds of a made world, of a benchmark or of one's own, for classification or part segmentation.

    Args:
        task: what the samples are for.
        train: `shapes:SPLIT[:COUNT]`, `assemblies:SPLIT[:COUNT]`, or `PATH[:train|val|test|trainval]`.
        val: the same; None: no validation. A test split is accepted, and then said to have selected the model.
        format: of the files; `auto` finds it.
        variant: of ScanObjectNN: hardest (PB_T50_RS), objbg or objonly.
        npoints: points of a sample.
        batch_size: clouds of a batch; validation takes twice as many.
        augment: of training batches.
        normalise: put clouds into the unit sphere; None: as the set's protocol does.
        val_share: share of each class held out of `train` as `val`, where the set has no such split.
        categories: only these classes, in this order.
        noise, occluded: of the made world's shapes.
        samples: points drawn from a mesh.
        block: side in metres of the columns that scenes are cut into; None: the set's own, 1 for rooms, 10 for streets.
        up: z turns clouds whose z axis points up.
        drop_last: leave out a last training batch that is not full.
        num_workers: processes that load.
        inputs: what the model sees of a point beside its place: colour, normal, intensity. One's own clouds and the
            scenes of S3DIS, ScanNet and SemanticKITTI have such values.
        seed: of held-out shares and of drawing from meshes.
    """

    def __init__(
        self,
        task: Literal["classification", "segmentation"] = "classification",
        train: str = "shapes:train",
        val: str | None = "shapes:val",
        format: str = "auto",
        variant: Literal["hardest", "objbg", "objonly"] = "hardest",
        npoints: int = 1024,
        batch_size: int = 32,
        augment: Augmentation = "scale_translate",
        normalise: bool | None = None,
        val_share: float = 0.1,
        categories: list[str] | None = None,
        noise: float = 0.01,
        occluded: float = 0.3,
        samples: int = 8192,
        block: float | None = None,
        up: Literal["y", "z"] = "y",
        drop_last: bool = False,
        num_workers: int = 0,
        inputs: list[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if npoints < 1:
            raise InputError(f"data.npoints is {npoints}; give at least 1")
        if block is not None and not block > 0:
            raise InputError(f"data.block is {block}; give the side of a column in metres, above 0")
        if "normal" in (inputs or ()) and augment in ("rotate", "scale_rotate"):
            raise InputError(f"data.augment {augment} would turn places without their normals; choose another")
        self.sources: dict[str, str | None] = {"train": train, "val": val}
        self.task, self.format, self.npoints, self.batch_size = task, format, npoints, batch_size
        self.augment, self.normalise, self.drop_last, self.num_workers = augment, normalise, drop_last, num_workers
        self.options = Options(
            variant=variant,
            categories=None if categories is None else tuple(categories),
            val_share=val_share,
            samples=samples,
            up=up,
            noise=noise,
            occluded=occluded,
            npoints=npoints,
            parts=task == "segmentation",
            block=block,
            inputs=layout(inputs or ()),
            seed=seed,
        )
        self.sets: dict[str, CloudSet] = {}

    @property
    def classes(self) -> list[str]:
        """Names of the classes, for segmentation of the categories; known after `setup`."""
        return list(self.sets["train"].classes)

    @property
    def parts(self) -> dict[str, list[str]]:
        """Names of the parts of each category; ids count through in this order. Known after `setup`."""
        return {name: list(own) for name, own in self.sets["train"].parts.items()}

    @property
    def selected_on(self) -> str:
        """The split that validates, and so selects the model: `val`, or `test` where the user chose that."""
        source = self.sources["val"]
        if source is None:
            return "none"
        return "test" if named_split(source) == "test" else "val"

    def setup(self, stage: str | None = None) -> None:
        """Find the clouds; they are read when they are first asked for.

        Raises:
            InputError: a source cannot be read, or training and validation have other classes.
        """
        for split in ("train", "val"):
            source = self.sources[split]
            if source is not None and split not in self.sets:
                self.sets[split] = open_set(source, self.options, format=self.format, split=split)
        train, val = self.sets["train"], self.sets.get("val")
        if val is not None and val.classes != train.classes:
            raise InputError(
                f"data: training has the classes {', '.join(train.classes)} and validation {', '.join(val.classes)}; "
                "use the same, e.g. through data.categories"
            )
        if val is not None and self.task == "segmentation" and val.parts != train.parts:
            raise InputError("data: training and validation differ in their parts; name them in parts.json")
        if self.task == "segmentation" and not train.parts:
            raise InputError(f"data: {self.sources['train']} has no parts; segmentation needs a set with part labels")
        if self.selected_on == "test":
            line = "data: the test split validates, so scores of the selected model on it are optimistic"
            print(line, file=sys.stderr, flush=True)

    def samples(self, split: str, training: bool = False) -> CloudSamples:
        """The samples of a split; call `setup` first."""
        clouds = self.sets[split]
        normalise = clouds.normalise if self.normalise is None else self.normalise
        parts = self.task == "segmentation"
        return CloudSamples(clouds, self.npoints, training=training, normalise=normalise, parts=parts)

    def clouds(self, split: str = "train") -> Iterator[Tensor]:
        """Each cloud (npoints, 3) of a split as in evaluation: no augmentation, farthest points."""
        samples = self.samples(split)
        return (samples[number]["points"] for number in range(len(samples)))

    def train_dataloader(self) -> DataLoader:
        return loader(
            self.samples("train", training=True),
            self.batch_size,
            drop_last=self.drop_last,
            collate_fn=Collate(AUGMENTATIONS[self.augment]),
            num_workers=self.num_workers,
        )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if "val" not in self.sets:
            return []
        return DataLoader(self.samples("val"), 2 * self.batch_size, collate_fn=Collate(), num_workers=self.num_workers)


class Collate:
    """Samples to a batch: `points` (B, N, 3), `label` or `category` (B,), `parts` (B, N)."""

    def __init__(self, augment: Callable[..., Tensor] | None = None) -> None:
        self.augment = augment

    def __call__(self, samples: list[Sample]) -> Sample:
        batch = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
        if self.augment is not None:
            places, values = batch["points"].split([3, batch["points"].shape[-1] - 3], -1)
            batch["points"] = torch.cat([self.augment(places), values], -1)
        return batch
