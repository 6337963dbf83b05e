"""Training data: labelled frames to batches of normalised pictures."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from domains.deepfake.data.alignment import SCALE
from domains.deepfake.data.datasets.own_folder import file_of
from domains.deepfake.data.datasets.own_videos import Cutting
from domains.deepfake.data.frame_set import FrameSet, LabelledFrame, open_picture, shuffled
from domains.deepfake.data.sources import Options, Source, open_sets
from domains.deepfake.types import DetectorName, Protocol
from suite.clip.pictures import Preprocessing
from suite.errors import InputError
from suite.training import loader

Sample = dict[str, Any]

Augmentation = Literal["published", "gend", "flip", "none"]


class FrameSamples(Dataset):
    """Frames as a model sees them.

    Args:
        preprocessing: of the base.
        augment: None for evaluation.
    """

    def __init__(self, frames: FrameSet, preprocessing: Preprocessing, augment: Any = None) -> None:
        self.frames, self.preprocessing, self.augment = frames, preprocessing, augment
        self._videos = {video: number for number, video in enumerate(frames.videos)}
        self._sources = frames.sources()

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, number: int) -> Sample:
        """`image` (3, side, side), `label` (), `source` (), `video` () and `number` (), which tells it from others."""
        frame = self.frames.frames[number]
        picture = opened(self.frames, frame)
        if self.augment is not None:
            picture = self.augment(picture)
        return {
            "image": self.preprocessing(picture),
            "label": torch.tensor(frame.label),
            "source": torch.tensor(self._sources[frame.source] if frame.label else 0),
            "video": torch.tensor(self._videos[frame.video]),
            "number": torch.tensor(number),
        }


def opened(frames: FrameSet, frame: LabelledFrame) -> Image.Image:
    """The picture of a frame.

    Raises:
        InputError: it cannot be read.
    """
    return open_picture(file_of(frame)) if frames.open is open_picture else frames.open(frame)


class DeepfakeData(L.LightningDataModule):
    """Frames of the made world, of a benchmark or of one's own.

    Args:
        train: `faces:SPLIT[:CLIPS]`, or `PATH[:train|val|test]`: a list of frames (.txt), DeepfakeBench's .json, the
            folder of a data set, or a folder with real/ and fake/ that hold pictures of faces, or videos, whose faces
            are cut out first. Several as a list; or lists by the name of the data set that each is scored as.
        val: the same; None: no validation.
        format: of the files; `auto` finds it.
        compression: of FaceForensics++'s family: c23, c40 or raw.
        batch_size: frames of a batch; validation takes twice as many.
        augment: of training frames: `published` (flip, affine, blur, light, JPEG), `gend` (the same, but a softer blur
            of one picture in ten), `flip` or none.
        alignment: the template that the crops were cut with; kept for prediction.
        scale: how much is around the face, of the crops; kept for prediction.
        val_share: share of the identities held out of an own folder.
        limit_train, limit_val: at most so many frames of lists, by whole videos.
        frames: of a made clip.
        faces: folder of the faces that are cut out of videos; `<videos>-faces` beside them where it is left out.
        detector, detector_file: who finds them, as in prediction.
        video_frames: of a video that are looked at for faces.
        num_workers: processes that load.
        seed: of what is held out.
    """

    def __init__(
        self,
        train: str | list[str] | dict[str, list[str]] = "faces:train",
        val: str | list[str] | dict[str, list[str]] | None = "faces:val",
        format: str = "auto",
        compression: str = "c23",
        batch_size: int = 32,
        augment: Augmentation = "published",
        alignment: Protocol = "deepfakebench",
        scale: float = SCALE,
        val_share: float = 0.1,
        limit_train: int | None = None,
        limit_val: int | None = None,
        frames: int = 4,
        faces: str | None = None,
        detector: DetectorName = "auto",
        detector_file: str | None = None,
        video_frames: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.sources: dict[str, Source | None] = {"train": train, "val": val}
        self.limits = {"train": limit_train, "val": limit_val}
        self.format, self.batch_size, self.augment, self.alignment = format, batch_size, augment, alignment
        if not 0 < scale < math.inf:
            raise InputError(f"data.scale is {scale}; the crop's side over the template's is above 0, published 1.3")
        self.scale, self.num_workers = scale, num_workers
        cutting = Cutting(
            faces=None if faces is None else Path(faces).expanduser(),
            protocol=alignment,
            detector=detector,
            detector_file=None if detector_file is None else Path(detector_file).expanduser(),
            frames=video_frames,
            scale=scale,
        )
        self.options = Options(compression, val_share, frames=frames, seed=seed, cutting=cutting)
        self.preprocessing = Preprocessing(cut="transformers")
        self.sets: dict[str, FrameSet] = {}

    def setup(self, stage: str | None = None) -> None:
        """Find the frames; they are read when they are first asked for.

        Raises:
            InputError: a source cannot be read.
        """
        for split, source in self.sources.items():
            if source is None or split in self.sets:
                continue
            options = Options(**{**vars(self.options), "limit": self.limits[split]})
            found = open_sets(source, options, format=self.format, split=split)
            self.sets[split] = shuffled(found) if split == "val" else found
            for notice in found.notices:
                print(f"data: {notice}", file=sys.stderr, flush=True)

    def train_dataloader(self) -> DataLoader:
        samples = FrameSamples(self.sets["train"], self.preprocessing, augmentation(self.augment))
        return loader(samples, self.batch_size, num_workers=self.num_workers, collate_fn=collate)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if "val" not in self.sets:
            return []
        samples = FrameSamples(self.sets["val"], self.preprocessing)
        return DataLoader(samples, 2 * self.batch_size, num_workers=self.num_workers, collate_fn=collate)


def collate(samples: list[Sample]) -> dict[str, Tensor]:
    """Samples to a batch: `image` (batch, 3, side, side), the rest (batch,)."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def augmentation(name: Augmentation) -> Any:
    """What is done to training crops before they are scaled: PIL in, PIL out; None for nothing.

    `published` is the released code's: the blur is one kernel of 3 x 7 pixels for every picture, what an affine map
    uncovers is black, and JPEG comes last, before the bicubic scaling. `gend` blurs one picture in ten, by 7 x 7.
    """
    if name == "none":
        return None
    from torchvision.transforms import v2

    flip = v2.RandomHorizontalFlip(p=0.5)
    if name == "flip":
        return flip
    blur = v2.GaussianBlur(kernel_size=(3, 7), sigma=(0.1, 2.0))
    if name == "gend":
        blur = v2.RandomApply([v2.GaussianBlur(kernel_size=7, sigma=(0.1, 2.0))], p=0.1)
    return v2.Compose(
        [
            flip,
            v2.RandomAffine(degrees=10, translate=(0.1, 0.1), scale=(0.9, 1.1)),
            blur,
            v2.ColorJitter(brightness=0.1, contrast=0.1),
            v2.JPEG((40, 100)),
        ]
    )
