"""Training samples: three templates and two search crops of one object, as the model and its losses take them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from domains.tracking.data import crops
from domains.tracking.data.augment import augmented
from domains.tracking.data.crops import Box, Geometry, Pixels
from domains.tracking.data.sampling import FrameSampling, SequenceOrder
from domains.tracking.data.sequences import AnnotatedSequence, SequenceSet, Track
from suite.errors import InputError

Sample = dict[str, Tensor]

JITTERS = 11
"""Tries to keep an object in its search crop, before another sample is taken."""

CLEANED = 4096
"""Tracks whose cleaned boxes are kept: those of all data sets would fill the memory of every worker."""

SKIPS = 200
"""Sequences in turn that give no sample, before the data are refused."""


@dataclass(frozen=True)
class CropSettings:
    """The sizes of crops, and how far search crops are moved.

    Attributes:
        template_size, search_size: sides in pixels. stride: pixels of a cell.
        template_area_factor, search_area_factor: margin around the box.
        min_object_size: least side of the clipped box in a search crop, pixels.
        scale_jitter: deviation of the logarithm of each axis' scale.
        translation_jitter: most shift, in mean sides of the box.
    """

    template_size: int = 196
    search_size: int = 378
    stride: int = 14
    template_area_factor: float = 2.0
    search_area_factor: float = 5.0
    min_object_size: float = 10.0
    scale_jitter: float = 0.25
    translation_jitter: float = 3.0

    def __post_init__(self) -> None:
        for name in ("template_size", "search_size"):
            if getattr(self, name) < self.stride or getattr(self, name) % self.stride:
                raise InputError(f"{name} is {getattr(self, name)}; give a multiple of the patch, {self.stride}")

    def jittered(self, box: Box, rng: np.random.Generator) -> Geometry | None:
        """The geometry of a search crop, moved and scaled at random; None where the object does not stay in."""
        plain = crops.around(box, self.search_area_factor, self.search_size)
        for _ in range(JITTERS):
            factors = 1 / np.exp(self.scale_jitter * rng.standard_normal(2))
            most = self.translation_jitter * float(((box[2:] - box[:2]) * plain.scale * factors).mean())
            moved = plain.jittered(factors, most * rng.uniform(-1, 1, 2), box)
            inside = crops.clipped(moved.into(box), self.search_size, self.search_size)
            if (inside[2:] - inside[:2] >= self.min_object_size).all():
                return moved
        return None


class TrackingSamples(Dataset):
    """Samples of several sets with equal weight; which sequence comes when is fixed, which frames of it are drawn.

    Args:
        length: samples an epoch.
        fixed: an index always gives the same sample, for validation.
        augment: flips, colours and blurs; without it search crops are still moved, unless `fixed`.
        seed: of the order of sequences, and of fixed samples.

    Attributes:
        epoch: set by the loader before each sample.
    """

    def __init__(
        self,
        sets: Sequence[SequenceSet],
        settings: CropSettings,
        length: int,
        *,
        sampling: FrameSampling | None = None,
        augment: bool = True,
        fixed: bool = False,
        seed: int = 0,
    ) -> None:
        self.sets, self.settings, self.length = list(sets), settings, length
        self.sampling = sampling or FrameSampling()
        self.augment, self.fixed, self.seed = augment and not fixed, fixed, seed
        self.order = SequenceOrder(self.sets, seed)
        self.epoch = 0
        self._visible: dict[tuple[int, int, str], tuple[Track, NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        `templates` (3, 3, side, side), `masks` (3, grid, grid) int64, `searches` (2, 3, side, side), `positives`
        (2, grid, grid) bool, `boxes` (2, 4) corners in parts of the search crop.

        Raises:
            InputError: no sequence of the data gives a sample.
        """
        draw = index if self.fixed else self.epoch * self.length + index
        # The loader has seeded torch's generator for this sample.
        rng = np.random.default_rng([self.seed, index] if self.fixed else int(torch.randint(2**62, ())))
        for skip in range(SKIPS):
            place = self.order.at(draw + skip * len(self.sets))
            sequence = self.sets[place.set].sequences[place.sequence]
            sample = self._sample(sequence, (place.set, place.sequence), rng)
            if sample is not None:
                return sample
        raise InputError(
            f"{self.sets[draw % len(self.sets)].name}: {SKIPS} sequences in turn have no five frames to train on; "
            "an object must be in sight in at least five frames"
        )

    def _sample(self, sequence: AnnotatedSequence, key: tuple[int, int], rng: np.random.Generator) -> Sample | None:
        name = list(sequence.tracks)[int(rng.integers(len(sequence.tracks)))]
        track, visible = self._cleaned(sequence, (*key, name))
        frames = self.sampling.frames(visible, len(sequence.frames), rng)
        if frames is None:
            return None
        moved = [self._search_geometry(track.boxes[frame], rng) for frame in frames[3:]]
        if any(one is None for one in moved):
            return None
        made = self.settings
        shots: list[tuple[Tensor, Box]] = []
        for place, frame in enumerate(frames):
            picture, box = self._picture(sequence, (*key, name), int(frame)), track.boxes[frame]
            if picture is None:
                return None
            size = made.template_size if place < 3 else made.search_size
            geometry = crops.around(box, made.template_area_factor, size) if place < 3 else moved[place - 3]
            assert geometry is not None
            crop, actual = crops.cut(picture, geometry, size, crops.mean_colour(picture))
            shots.append((crop / 255, crops.clipped(actual.into(box), size, size)))
        pictures, boxes = [crop for crop, _ in shots], [box for _, box in shots]
        if self.augment:
            pictures, boxes = augmented(pictures, boxes, rng)
        return self._tensors([picture * 255 for picture in pictures], boxes)

    def _cleaned(self, sequence: AnnotatedSequence, key: tuple[int, int, str]) -> tuple[Track, NDArray[np.int64]]:
        if key not in self._visible:
            if len(self._visible) >= CLEANED:
                del self._visible[next(iter(self._visible))]  # the one that came first
            track = sequence.tracks[key[2]].cleaned(sequence.frames.size)
            self._visible[key] = track, np.flatnonzero(track.present)
        return self._visible[key]

    def _picture(self, sequence: AnnotatedSequence, key: tuple[int, int, str], frame: int) -> Pixels | None:
        """A frame; one that cannot be read is said, and not asked for again."""
        try:
            return sequence.frames.picture(frame)
        except InputError as error:
            track, visible = self._visible[key]
            self._visible[key] = track, visible[visible != frame]
            print(f"left out of training: {error}", file=sys.stderr, flush=True)
            return None

    def _search_geometry(self, box: Box, rng: np.random.Generator) -> Geometry | None:
        return self.settings.jittered(box, rng)

    def _tensors(self, pictures: list[Tensor], boxes: list[Box]) -> Sample:
        made = self.settings
        masks = [crops.mask(box, made.template_size, made.stride) for box in boxes[:3]]
        positives = [crops.mask(box, made.search_size, made.stride).bool() for box in boxes[3:]]
        return {
            "templates": crops.normalised(torch.stack(pictures[:3])),
            "masks": torch.stack(masks),
            "searches": crops.normalised(torch.stack(pictures[3:])),
            "positives": torch.stack(positives),
            "boxes": torch.tensor(np.stack(boxes[3:]) / made.search_size, dtype=torch.float32),
        }
