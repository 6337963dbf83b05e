"""Photos of a subject: reading them as a camera or phone left them, and making training pictures of them."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from suite.errors import InputError
from suite.media.greys import eight_bits, is_deep

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"),
    *(".heic", ".heif"),
)
_BESIDE = (".txt", ".caption", ".jsonl", ".csv", ".md", "")
"""Of files that lie beside photos and are none: captions, tables, credits."""
_PHONES = (".heic", ".heif")
_LISTED = 5
MAX_PIXELS = 200_000_000
"""Larger pictures are refused before they are decoded: they are bombs, or no photos."""

Alpha = Literal["white", "official"]


@dataclass(frozen=True)
class Photo:
    """One file of the folder.

    Attributes:
        size: width and height as shown, after EXIF orientation.
        digest: sha256 of the file.
    """

    path: Path
    size: tuple[int, int]
    digest: str


def open_photo(path: str | Path, alpha: Alpha = "white") -> Image.Image:
    """The picture as it is shown: orientation applied, RGB.

    Args:
        alpha: what stands behind transparent pixels: white, or (`official`) whatever colour lies under them.

    Raises:
        InputError: the file is empty, damaged, too large, or no picture.
    """
    path = Path(path)
    image = open_raw(path)
    try:
        return flatten(image, alpha)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def open_raw(path: Path) -> Image.Image:
    """The picture as it is shown, with whatever channels it has.

    Raises:
        InputError: the file is empty, damaged, too large, or no picture.
    """
    if path.suffix.lower() in _PHONES:
        _read_heif(path)
    if not path.is_file():
        raise InputError(f"{path}: no such picture")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(f"{path}: {width} x {height} pixels; shrink it below {MAX_PIXELS // 10**6} megapixels")
            image.load()
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: damaged or no picture ({str(error).splitlines()[0]})") from error
    return ImageOps.exif_transpose(image)


def _read_heif(path: Path) -> None:
    """Let pillow read what phones write; the decoder is a package of its own.

    Raises:
        InputError: it is not installed.
    """
    try:
        decoder = import_module("pillow_heif")
    except ModuleNotFoundError:
        raise InputError(f"{path}: HEIC pictures need pip install pillow-heif; or save it as JPEG") from None
    decoder.register_heif_opener()


def flatten(image: Image.Image, alpha: Alpha = "white") -> Image.Image:
    """The picture in RGB, its transparency resolved.

    Raises:
        ValueError: its numbers are no greys of a known range.
    """
    if is_deep(image):
        return eight_bits(image)
    if alpha == "white" and (image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info):
        layers = image.convert("RGBA")
        canvas = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(canvas, layers).convert("RGB")
    return image.convert("RGB")


def photo_files(folder: Path) -> list[Path]:
    """The files of a folder that are photos by their names, sorted; hidden ones, as macOS leaves them, are none."""
    return sorted(path for path in _seen(folder) if path.is_file() and path.suffix.lower() in SUFFIXES)


def left_out(folder: Path) -> list[str]:
    """Names of what lies in a folder of photos, is none, and may have been meant as one: films, raw files, folders."""
    photos = set(photo_files(folder))
    return [
        f"{path.name}/" if path.is_dir() else path.name
        for path in sorted(_seen(folder))
        if path not in photos and (path.is_dir() or path.suffix.lower() not in _BESIDE)
    ]


def _seen(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def list_photos(folder: str | Path, unreadable: Literal["fail", "skip"] = "fail") -> list[Photo]:
    """The photos of a folder, sorted by name; what else may have been meant is told on standard error.

    Args:
        folder: where they are.
        unreadable: stop at a photo that cannot be read, or say so and go on without it.

    Raises:
        InputError: there is no such folder, it holds no photo, or a photo cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of photos")
    paths, others = photo_files(folder), left_out(folder)
    if not paths:
        holds = f"; it holds {', '.join(others[:_LISTED])}" if others else ""
        raise InputError(f"{folder}: no photos in it (looked for {' '.join(SUFFIXES)}){holds}")
    if others:
        more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
        print(f"data: left out of {folder}: {', '.join(others[:_LISTED])}{more}", file=sys.stderr, flush=True)
    photos = []
    for path in paths:
        try:
            photos.append(Photo(path, open_photo(path).size, hashlib.sha256(path.read_bytes()).hexdigest()))
        except InputError as error:
            if unreadable == "fail":
                raise
            print(f"data: left out {error}", file=sys.stderr, flush=True)
    if not photos:
        raise InputError(f"{folder}: none of its {len(paths)} photos can be read")
    return photos


def notices(photos: list[Photo], resolution: int, *, upscale: bool = True) -> Iterator[str]:
    """What a user should know about the folder before training on it."""
    if len(photos) < 2:
        yield f"only {len(photos)} photo: poses will not vary; 3 to 6 are better"
    seen: dict[str, Path] = {}
    for photo in photos:
        if photo.digest in seen:
            yield f"{photo.path.name} is the same file as {seen[photo.digest].name}"
        seen.setdefault(photo.digest, photo.path)
        if upscale and min(photo.size) < resolution:
            yield f"{photo.path.name} is {photo.size[0]} x {photo.size[1]}: it is enlarged to {resolution}"


@dataclass(frozen=True)
class Crop:
    """Where a square was cut: `top` and `left` in the resized picture, and the picture's own size (height, width)."""

    top: int
    left: int
    original: tuple[int, int]

    def time_ids(self, resolution: int) -> tuple[int, int, int, int, int, int]:
        """SDXL's micro-conditioning: original size, crop, target size."""
        return (*self.original, self.top, self.left, resolution, resolution)


def square(
    image: Image.Image, resolution: int, *, center: bool = False, generator: torch.Generator | None = None
) -> tuple[Tensor, Crop]:
    """Resize the short side to `resolution` (bilinear, antialiased), cut a square, scale to [-1, 1].

    Returns:
        (3, resolution, resolution) and where the square was cut.
    """
    width, height = image.size
    # The long side is rounded down, as torchvision's Resize does.
    scale = resolution / min(width, height)
    size = (resolution, int(height * scale)) if width <= height else (int(width * scale), resolution)
    resized = image.resize(size, Image.Resampling.BILINEAR)
    spare_x, spare_y = size[0] - resolution, size[1] - resolution
    if center:
        left, top = round(spare_x / 2), round(spare_y / 2)
    else:
        top = int(torch.randint(spare_y + 1, (), generator=generator))
        left = int(torch.randint(spare_x + 1, (), generator=generator))
    cut = resized.crop((left, top, left + resolution, top + resolution))
    pixels = torch.from_numpy(np.asarray(cut, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1
    return pixels, Crop(top, left, (height, width))
