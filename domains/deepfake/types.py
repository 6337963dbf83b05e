"""What a prediction is asked for and the values that users see. Imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from suite.prediction.options import normalise

DetectorName = Literal["auto", "yunet", "haar", "crops", "scrfd", "dlib"]
"""Who finds faces: `auto` is YuNet where its file is on this machine and OpenCV's Haar cascades elsewhere; `crops`
takes every picture as one aligned face."""

FaceChoice = Literal["all", "largest"]

Heatmap = Literal["none", "patches", "rollout"]

Protocol = Literal["deepfakebench", "gend"]

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic")

SCOPE = (
    "The score is a hint, no proof. It speaks of faces that were swapped or reenacted in otherwise real pictures, as "
    "in the data that the adapter was trained on ({trained_on}); pictures made up as a whole are out of its scope."
)


@dataclass(frozen=True)
class DetectionQuery:
    """What one prediction is asked for; the fields are the options of `suite deepfake predict`.

    Attributes:
        detector: who finds faces: auto, yunet, haar, crops (the pictures are aligned faces already), scrfd or dlib.
        detector_file: the detector's model file, for yunet, scrfd and dlib; yunet's is downloaded where it is left out.
        frames: of a video at most so many are looked at, evenly spread.
        faces: of a picture or frame at most so many, the largest.
        face: all follows every person by themselves, and the most suspicious one decides; largest looks at the largest
            face of each frame alone and takes the mean over all frames, as the benchmarks do.
        threshold: a score at or above it is called likely manipulated: a number, or a rule by which the adapter was
            calibrated (eer, youden, fpr1, fpr5, fpr10); the adapter's own where it is left out.
        heatmap: none, patches (the head's answer for each patch) or rollout (attention weighed by gradients).
        annotate: write a copy of each picture or video with boxes and scores drawn on.
        keep_crops: write the aligned faces too.
        batch_size: faces side by side; changes the speed, never the result.
    """

    takes_words: ClassVar[bool] = True
    """`webcam` is an input."""

    takes_streams: ClassVar[bool] = True
    """So are the addresses of streams."""

    takes_patterns: ClassVar[bool] = True
    """So is `clips/*.mp4`, in quotes."""

    takes_stdin: ClassVar[bool] = False

    detector: DetectorName = "auto"
    detector_file: Path | None = None
    frames: int = 32
    faces: int = 8
    face: FaceChoice = "all"
    threshold: float | str | None = None
    heatmap: Heatmap = "none"
    annotate: bool = True
    keep_crops: bool = False
    batch_size: int = 16

    def __post_init__(self) -> None:
        normalise(self)
