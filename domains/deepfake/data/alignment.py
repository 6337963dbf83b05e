"""Faces cut out by five landmarks: the similarity of DeepfakeBench and the one of GenD (arXiv 2508.06248)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.deepfake.types import Protocol
from suite.errors import InputError

Pixels = NDArray[np.uint8]
"""(height, width, 3), red, green and blue in 0-255."""

Points = NDArray[np.float64]
"""(5, 2), x and y: the eye at the picture's left, the one at its right, the nose, the corners of the mouth."""

SIZE, SCALE = 256, 1.3
"""Side of a crop in pixels, and how much wider it is than the template."""

_DEEPFAKEBENCH = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""In a box of 112 pixels."""

_GEND = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]])
"""In a box of 1."""


@dataclass(frozen=True)
class Crop:
    """An aligned face.

    Attributes:
        pixels: (side, side, 3). matrix: (2, 3), from the picture's coordinates to the crop's.
        mask: (side, side), what was cut of a mask in the same way; None where there was none.
    """

    pixels: Pixels
    matrix: NDArray[np.float64]
    mask: NDArray[np.uint8] | None = None


def template(protocol: Protocol, size: int, scale: float = SCALE) -> Points:
    """Where the landmarks lie in a crop of `size` pixels."""
    unit = (_DEEPFAKEBENCH / 112 if protocol == "deepfakebench" else _GEND) * size
    # The released code moves by the margin and shrinks by it: one and the same as shrinking to the middle.
    return (unit + size * (scale - 1) / 2) / scale


def similarity(landmarks: Points, target: Points) -> NDArray[np.float64]:
    """The least-squares similarity (2, 3) that takes landmarks to the target (Umeyama 1991).

    Raises:
        InputError: the landmarks are all one point.
    """
    source, target = np.asarray(landmarks, dtype=np.float64), np.asarray(target, dtype=np.float64)
    middle, aim = source.mean(0), target.mean(0)
    centred, aimed = source - middle, target - aim
    variance = (centred**2).sum() / len(source)
    if not variance > 0:
        raise InputError("the five landmarks of the face are one point; it cannot be aligned")
    left, singular, right = np.linalg.svd(aimed.T @ centred / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left * signs @ right
    factor = (singular * signs).sum() / variance
    return np.column_stack([factor * rotation, aim - factor * rotation @ middle])


def robust_similarity(landmarks: Points, target: Points) -> NDArray[np.float64]:
    """The least-median similarity (2, 3): one landmark that is far off does not count.

    Raises:
        InputError: there is none.
    """
    import cv2

    found, _ = cv2.estimateAffinePartial2D(
        np.asarray(landmarks, dtype=np.float32), np.asarray(target, dtype=np.float32), method=cv2.LMEDS
    )
    if found is None:
        raise InputError("the five landmarks of the face fit no similarity; it cannot be aligned")
    return np.asarray(found, dtype=np.float64)


def native_size(landmarks: Points, scale: float = SCALE) -> int:
    """The side at which a crop keeps the picture's own resolution (GenD): the mean ratio of landmarks' distances."""
    first, second = np.triu_indices(len(_GEND), k=1)
    own = np.linalg.norm(landmarks[first] - landmarks[second], axis=1)
    unit = np.linalg.norm(_GEND[first] - _GEND[second], axis=1)
    return max(1, int(np.round(np.mean(own / unit) * scale)))


def align(
    picture: Pixels,
    landmarks: Points,
    protocol: Protocol = "deepfakebench",
    *,
    size: int | None = SIZE,
    scale: float = SCALE,
    mask: NDArray[np.uint8] | None = None,
) -> Crop:
    """Cut a face out, black where the picture ends.

    Args:
        size: side of the crop; None keeps the picture's resolution (`gend` alone).
        mask: (height, width), cut in the same way.

    Raises:
        InputError: the landmarks fit no similarity.
    """
    import cv2

    if size is None:
        size = native_size(landmarks, scale)
    target = template(protocol, size, scale)
    if protocol == "deepfakebench":
        matrix = similarity(np.asarray(landmarks, dtype=np.float32), target)
    else:
        matrix = robust_similarity(landmarks, target)
    pixels = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR)
    cut = None
    if mask is not None:
        flags = cv2.INTER_LINEAR if protocol == "deepfakebench" else cv2.INTER_NEAREST
        cut = np.asarray(cv2.warpAffine(mask, matrix, (size, size), flags=flags), dtype=np.uint8)
    return Crop(np.asarray(pixels, dtype=np.uint8), matrix, cut)


def ordered(landmarks: Points) -> Points:
    """Eyes and corners of the mouth by the side of the picture on which they are.

    Detectors name them by the person's own side. Of an upright face the first eye has the smaller x.
    """
    points = np.array(landmarks, dtype=np.float64)
    for first, second in ((0, 1), (3, 4)):
        if points[first, 0] > points[second, 0]:
            points[[first, second]] = points[[second, first]]
    return points
