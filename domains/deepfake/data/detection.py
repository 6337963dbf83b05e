"""Faces in pictures, by detectors behind one interface; which one found a face is said in every result.

YuNet (Wu et al. 2023, MIT) is the one to use; its file of 230 KB is downloaded by its sha256 or given as a path. OpenCV
brings Haar cascades, which need no file, miss more, and know no landmarks. SCRFD and dlib are there for those who have
their files: what the papers' data were cut with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from domains.deepfake.data.alignment import Pixels, Points, ordered
from domains.deepfake.types import DetectorName
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.hub.references import Url

_ZOO = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_"

YUNET = {
    4: f"{_ZOO}2023mar.onnx#sha256=8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    5: f"{_ZOO}2026may.onnx#sha256=ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
}
"""YuNet's file by OpenCV's major version: the same weights for pictures of one size, and for those of any."""

SMALL = 40
"""Side in pixels under which a face is too small to say much about."""

DOUBTFUL = 0.7
"""A detector's own score under which what it found may be no face."""

MOST_SIDE = 1280
"""Longer pictures are looked at in this size: detectors cost by the pixel, and faces worth scoring stay large."""

FILLS = 0.6
"""Share of a picture's side from which on the larger side of a face fills it: the picture may be a crop already."""


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    Attributes:
        box: left, top, right, bottom, pixels. score: the detector's, 0 to 1.
        landmarks: (5, 2), eyes, nose and corners of the mouth, by the side of the picture.
        estimated: the landmarks are an average face's, put into the box.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: Points
    estimated: bool = False

    @property
    def side(self) -> float:
        """The box's mean side, pixels."""
        return ((self.box[2] - self.box[0]) + (self.box[3] - self.box[1])) / 2

    @property
    def area(self) -> float:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def low_quality(self) -> bool:
        """Whether it is small or doubtful."""
        return self.side < SMALL or self.score < DOUBTFUL


class FaceDetector(Protocol):
    """What every detector is.

    Attributes:
        id: its name and version, for results. notice: what a user should know of it, or empty.
    """

    id: str
    notice: str

    def __call__(self, picture: Pixels) -> list[Face]:
        """The faces of a picture (height, width, 3), the largest first."""
        ...


def detector(name: DetectorName, file: Path | None = None, least_score: float | None = None) -> FaceDetector:
    """A detector by its name.

    Args:
        file: its model, where it needs one. least_score: faces that it is less sure of are left out; its own bar where
            left out.

    Raises:
        InputError: the file is missing or of something else, or the package is not installed.
    """
    if name == "auto":
        name = "yunet" if file is not None or _yunet_here() is not None else "haar"
    if name in ("haar", "crops") and file is not None:
        raise InputError(f"--detector {name} needs no file; leave --detector-file out")
    if least_score is not None and not 0 <= least_score <= 1:
        raise InputError(f"detector score {least_score}: give 0 to 1")
    if name == "yunet":
        return YuNet(file, 0.5 if least_score is None else least_score)
    if name == "scrfd":
        return Scrfd(file, 0.4 if least_score is None else least_score)
    found = _DETECTORS[name](file)
    return found if least_score is None else Sure(found, least_score)


def largest(faces: list[Face], most: int) -> list[Face]:
    """At most so many, the largest first; equally large ones from the left."""
    return sorted(faces, key=lambda face: (-face.area, face.box))[:most]


def overlapping(faces: list[Face], mask: np.ndarray) -> Face | None:
    """The face that overlaps a mask (height, width) of what was forged most; None where none does.

    Several people may be in a picture of which one was forged (DFD).
    """

    def shared(face: Face) -> int:
        left, top, right, bottom = (max(0, int(side)) for side in face.box)
        return int((mask[top:bottom, left:right] > 1).sum())

    best = max(faces, key=shared, default=None)
    return best if best is not None and shared(best) else None


class Sure:
    """A detector of which only the faces are taken that it is sure enough of."""

    def __init__(self, detect: FaceDetector, least: float) -> None:
        self.id, self.notice = detect.id, detect.notice
        self._detect, self._least = detect, least

    def __call__(self, picture: Pixels) -> list[Face]:
        return [face for face in self._detect(picture) if face.score >= self._least]


class YuNet:
    """OpenCV's `FaceDetectorYN`."""

    notice = ""

    def __init__(self, file: Path | None, least: float = 0.5) -> None:
        cv2 = opencv()
        if file is None:
            from suite.hub import download

            file = download.fetch(_yunet_url())
        elif not file.is_file():
            raise InputError(f"{file}: no such file; give YuNet's .onnx, or leave it out to have it downloaded")
        try:
            # A low bar: doubtful faces are flagged, not lost.
            self._net = cv2.FaceDetectorYN.create(str(file), "", (320, 320), least, 0.3, 100)
        except cv2.error as error:
            wanted = _yunet_url().address.rpartition("/")[2]
            raise InputError(
                f"{file}: OpenCV {cv2.__version__} reads no YuNet in it; get the file anew, for this version {wanted}"
            ) from error
        self.id = f"yunet:{file.stem}"

    def __call__(self, picture: Pixels) -> list[Face]:
        cv2 = opencv()
        small, factor = _reduced(picture)
        height, width = small.shape[:2]
        self._net.setInputSize((width, height))
        _, found = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        faces = []
        for row in found if found is not None else ():
            x, y, w, h = (float(value) / factor for value in row[:4])
            landmarks = ordered(row[4:14].reshape(5, 2).astype(np.float64) / factor)
            faces.append(Face((x, y, x + w, y + h), min(1.0, float(row[14])), landmarks))
        return largest(faces, len(faces))


_AVERAGE = np.array([[0.31, 0.42], [0.69, 0.42], [0.50, 0.62], [0.35, 0.80], [0.65, 0.80]])
"""Landmarks of an upright face in the box that the cascades find, in its sides."""


class Haar:
    """OpenCV's cascade of Haar features for upright faces (Viola and Jones 2001), with eyes by a second one."""

    id = "haar:frontalface_alt2"
    notice = (
        "faces were found by OpenCV's Haar cascades, which miss turned faces and give no landmarks; --detector yunet "
        "(downloads 230 KB once) finds more and cuts better"
    )

    def __init__(self, file: Path | None = None) -> None:
        cv2 = opencv()
        if not hasattr(cv2, "CascadeClassifier"):
            raise InputError(
                f"OpenCV {cv2.__version__} has no cascades; pip install 'opencv-contrib-python-headless<5', or take "
                "--detector yunet"
            )
        folder = Path(cv2.data.haarcascades)
        self._faces = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_alt2.xml"))
        self._eyes = cv2.CascadeClassifier(str(folder / "haarcascade_eye.xml"))

    def __call__(self, picture: Pixels) -> list[Face]:
        cv2 = opencv()
        small, factor = _reduced(picture)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        found, _, weights = self._faces.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=4, minSize=(24, 24), outputRejectLevels=True
        )
        faces = []
        for (x, y, w, h), weight in zip(found, np.ravel(weights), strict=True):
            box = tuple(float(value) / factor for value in (x, y, x + w, y + h))
            landmarks = (np.array([x, y]) + self._landmarks(grey[y : y + h, x : x + w]) * (w, h)) / factor
            # The cascade's weight has no scale of its own; about 1 to 4 for faces.
            score = float(np.clip(0.5 + 0.15 * float(weight), 0.5, 0.99))
            faces.append(Face((box[0], box[1], box[2], box[3]), score, landmarks, estimated=True))
        return largest(faces, len(faces))

    def _landmarks(self, grey: np.ndarray) -> Points:
        """In sides of the box: an average face's, turned and scaled to the eyes where both are found."""
        side = max(grey.shape)
        upper = grey[: int(0.6 * len(grey))]
        eyes = self._eyes.detectMultiScale(upper, scaleFactor=1.1, minNeighbors=4, minSize=(max(8, side // 8),) * 2)
        middles = [((x + w / 2) / grey.shape[1], (y + h / 2) / grey.shape[0]) for x, y, w, h in eyes]
        left = [eye for eye in middles if eye[0] < 0.5]
        right = [eye for eye in middles if eye[0] >= 0.5]
        if len(left) != 1 or len(right) != 1:
            return _AVERAGE.copy()
        a, b = np.array(left[0]), np.array(right[0])
        if not 0.25 < np.linalg.norm(b - a) < 0.55:
            return _AVERAGE.copy()
        return _carried(_AVERAGE, a, b)


def _carried(points: Points, left: np.ndarray, right: np.ndarray) -> Points:
    """Points turned, scaled and moved so that the first two come to lie on `left` and `right`."""
    own = points[1] - points[0]
    wanted = right - left
    turn = complex(*wanted) / complex(*own)
    moved = (points - points[0]) @ np.array([[turn.real, turn.imag], [-turn.imag, turn.real]])
    return moved + left


class Crops:
    """Every picture is one aligned face already."""

    id = "crops"
    notice = ""

    def __init__(self, file: Path | None = None) -> None:
        pass

    def __call__(self, picture: Pixels) -> list[Face]:
        height, width = picture.shape[:2]
        # What is not to be found is where an aligned crop has it.
        return [Face((0.0, 0.0, float(width), float(height)), 1.0, _AVERAGE * (width, height), estimated=True)]


class Scrfd:
    """SCRFD's `det_10g.onnx` (Guo et al. 2022), as in GenD's preprocessing; of one's own file alone."""

    notice = "SCRFD's weights are for non-commercial research only (insightface)"

    def __init__(self, file: Path | None, least: float = 0.4) -> None:
        self._least = least
        if file is None:
            raise InputError(
                "--detector scrfd needs its file with --detector-file det_10g.onnx; its licence is for non-commercial "
                "research, so it is not downloaded for you"
            )
        if not file.is_file():
            raise InputError(f"{file}: no such file; give SCRFD's det_10g.onnx")
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError("--detector scrfd needs onnxruntime; pip install 'peft-suite[onnx]'") from error
        self._session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        if len(self._session.get_outputs()) != 9:
            raise InputError(f"{file}: not SCRFD with landmarks, which has 9 outputs; give det_10g.onnx")
        self.id = f"scrfd:{file.stem}"

    def __call__(self, picture: Pixels, side: int = 640) -> list[Face]:
        cv2 = opencv()
        height, width = picture.shape[:2]
        factor = min(side / height, side / width)
        small = cv2.resize(picture, (max(1, int(width * factor)), max(1, int(height * factor))))
        framed = np.zeros((side, side, 3), dtype=np.float32)
        framed[: small.shape[0], : small.shape[1]] = small
        blob = ((framed - 127.5) / 128.0).transpose(2, 0, 1)[None]  # (1, 3, side, side), red first
        found = self._session.run(None, {self._input: blob})
        boxes, scores, points = [], [], []
        for level, stride in enumerate((8, 16, 32)):
            count = side // stride
            grid = np.stack(np.meshgrid(np.arange(count), np.arange(count)), -1).reshape(-1, 2) * stride
            centres = np.repeat(grid, 2, axis=0)  # two anchors a place
            kept = found[level][:, 0] >= self._least
            centre, reach = centres[kept], found[level + 3][kept] * stride
            boxes.append(np.hstack([centre - reach[:, :2], centre + reach[:, 2:]]))
            scores.append(found[level][kept, 0])
            offsets = found[level + 6][kept].reshape(-1, 5, 2) * stride
            points.append(centre[:, None] + offsets)
        box, score, point = np.concatenate(boxes), np.concatenate(scores), np.concatenate(points)
        faces = []
        for row in suppressed(box, score, 0.4):
            left, top, right, bottom = (float(value) / factor for value in box[row])
            faces.append(Face((left, top, right, bottom), float(score[row]), ordered(point[row] / factor)))
        return largest(faces, len(faces))


def suppressed(boxes: np.ndarray, scores: np.ndarray, most: float) -> list[int]:
    """Rows of boxes (n, 4) that no surer one overlaps by more than `most`, the surest first.

    As SCRFD's code counts, a box from 0 to 3 covers four pixels.
    """
    left, top, right, bottom = boxes.T
    areas = (right - left + 1) * (bottom - top + 1)
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        first, rest = int(order[0]), order[1:]
        kept.append(first)
        width = np.minimum(right[first], right[rest]) - np.maximum(left[first], left[rest]) + 1
        height = np.minimum(bottom[first], bottom[rest]) - np.maximum(top[first], top[rest]) + 1
        shared = np.clip(width, 0, None) * np.clip(height, 0, None)
        order = rest[shared / (areas[first] + areas[rest] - shared) <= most]
    return kept


class Dlib:
    """dlib's frontal detector with 81 landmarks, as DeepfakeBench cuts its data; of one's own file alone."""

    notice = "dlib's landmarks were trained on iBUG 300-W, which excludes commercial use"
    _FIVE = (37, 44, 30, 49, 55)

    def __init__(self, file: Path | None) -> None:
        if file is None or not file.is_file():
            raise InputError(
                "--detector dlib needs --detector-file shape_predictor_81_face_landmarks.dat (DeepfakeBench links it)"
            )
        try:
            import dlib
        except ImportError as error:
            raise InputError("--detector dlib needs dlib; pip install dlib, or take --detector yunet") from error
        self._find, self._predict = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(file))
        self.id = f"dlib:{file.stem}"

    def __call__(self, picture: Pixels) -> list[Face]:
        faces = []
        boxes, scores, _ = self._find.run(picture, 1, 0.0)
        for rect, score in zip(boxes, scores, strict=True):
            shape = self._predict(picture, rect)
            points = np.array([[shape.part(n).x, shape.part(n).y] for n in self._FIVE], dtype=np.float64)
            box = (float(rect.left()), float(rect.top()), float(rect.right()), float(rect.bottom()))
            faces.append(Face(box, float(np.clip(0.6 + 0.2 * score, 0, 1)), points))
        return largest(faces, len(faces))


_DETECTORS: Mapping[str, Callable[[Path | None], FaceDetector]] = {"haar": Haar, "crops": Crops, "dlib": Dlib}
"""Those without a bar of their own."""


@cache
def opencv() -> Any:
    """OpenCV, on one thread: several beside torch's slow both down.

    Raises:
        InputError: it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise InputError("faces are found and cut by OpenCV; pip install 'peft-suite[deepfake]'") from error
    cv2.setNumThreads(1)
    return cv2


def _yunet_url() -> Url:
    """Where YuNet's file for this OpenCV is."""
    from suite.hub import references

    parsed = references.parse(YUNET[4 if opencv().__version__.startswith("4.") else 5])
    assert isinstance(parsed, references.Url)
    return parsed


def _yunet_here() -> Path | None:
    """YuNet's file if it was downloaded before; looks at no network."""
    from suite.hub import download

    return download.cached(_yunet_url())


def _reduced(picture: Pixels) -> tuple[Pixels, float]:
    """The picture, no side longer than `MOST_SIDE`, and its size over the original's."""
    factor = min(1.0, MOST_SIDE / max(picture.shape[:2]))
    if factor == 1:
        return np.ascontiguousarray(picture), 1.0
    cv2 = opencv()
    height, width = picture.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), factor
