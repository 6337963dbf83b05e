"""One frame kept as a picture: whatever a camera or program left, as red, green and blue."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from suite.errors import InputError, first_line
from suite.media.video_decoding import MOST_PIXELS

Pixels = NDArray[np.uint8]
"""(height, width, 3), red, green and blue in 0-255."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def read_picture(path: Path) -> Pixels:
    """The picture as it is shown: turned by its EXIF, greys repeated, transparency over black, 16 bits scaled to 8.

    Raises:
        InputError: it is missing, damaged, too large, or no picture.
    """
    with _opened(path) as image:
        try:
            turned = ImageOps.exif_transpose(image)
            return _three_channels(path, turned)
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f"{path}: damaged or no picture ({first_line(error)}); get it anew") from error


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height as shown, from the header alone.

    Raises:
        InputError: as for `read_picture`.
    """
    with _opened(path) as image:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


def _opened(path: Path) -> Image.Image:
    if not path.is_file():
        raise InputError(f"{path}: no such picture; check the path")
    try:
        with warnings.catch_warnings():
            # The bound below is ours; pillow's warning would come before it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: damaged or no picture ({first_line(error)}); get it anew") from error
    if image.width * image.height > MOST_PIXELS:
        size = f"{image.width} x {image.height} pixels, more than {MOST_PIXELS / 1e6:.0f} million"
        image.close()
        raise InputError(f"{path}: {size}; scale it")
    return image


def _three_channels(path: Path, image: Image.Image) -> Pixels:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float64)  # (height, width)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
            raise InputError(f"{path}: its greys are of no known range; save it with 8 or 16 bits")
        most = 65535 if image.mode.startswith("I;16") or values.max() > 255 else 255
        image = Image.fromarray((values * (255 / most)).round().astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "black"), layers)
    return np.asarray(image.convert("RGB"))


def natural(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts names as people count: 2 before 10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder in their order; hidden ones and everything else are none of them.

    Raises:
        InputError: there is none, two have the same number, or names with and without numbers are mixed.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of frames; check the path")
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not files:
        raise InputError(f"{folder}: holds no frame that ends in {', '.join(SUFFIXES)}")
    return checked_order(sorted(files, key=natural), str(folder))


def checked_order(files: Iterable[Path], name: str) -> list[Path]:
    """The files, once their order is certain.

    Raises:
        InputError: two frames have the same number (`7.jpg` and `007.jpg`), not all are numbered, or they are of
            several kinds.
    """
    files, seen = list(files), dict[tuple[str, int], Path]()
    kinds = sorted({path.suffix.lower().replace("jpeg", "jpg") for path in files})
    if len(kinds) > 1:
        raise InputError(f"{name}: holds frames of several kinds, {' and '.join(kinds)}; keep one of them")
    numbered = [path for path in files if re.search(r"\d", path.stem)]
    if len(numbered) < len(files) > 1:
        odd = next(path for path in files if path not in numbered)
        raise InputError(f"{name}: {odd.name} has no number, so that the order is unknown; number the frames")
    for path in numbered:
        *_, last = re.finditer(r"\d+", path.stem)
        key = path.stem[: last.start()] + "\0" + path.stem[last.end() :], int(last[0])
        if key in seen:
            raise InputError(f"{name}: {seen[key].name} and {path.name} are both frame {key[1]}; keep one of them")
        seen[key] = path
    return files
