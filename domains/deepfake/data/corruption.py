"""Pictures made worse on purpose, to see what a detector bears: GenD's robustness tests (arXiv 2508.06248)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO

from PIL import Image, ImageFilter

from domains.deepfake.data.frame_set import FrameSet, LabelledFrame
from suite.errors import InputError

FILTERS: Mapping[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}

FORMS = "jpeg:QUALITY (1 to 100), blur:SIGMA (pixels) or resize:SIDE[:FILTER]"

_NAME = re.compile(r"(jpeg|blur|resize):(\d+(?:\.\d+)?)(?::([a-z]+))?")


def corruption(name: str) -> Callable[[Image.Image], Image.Image]:
    """What `jpeg:40`, `blur:2` or `resize:64:nearest` does to a picture.

    Raises:
        InputError: there is no such corruption.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise InputError(f"corruption {name!r} is unknown; give {FORMS}")
    kind, amount, filter = found[1], float(found[2]), found[3]
    if filter is not None and (kind != "resize" or filter not in FILTERS):
        raise InputError(f"corruption {name!r}: a filter goes with resize; choose {', '.join(FILTERS)}")
    if kind == "jpeg" and 1 <= amount <= 100:
        return lambda picture: _jpeg(picture, int(amount))
    if kind == "blur" and amount > 0:
        return lambda picture: picture.filter(ImageFilter.GaussianBlur(amount))
    if kind == "resize" and amount >= 8:
        resampling = FILTERS[filter or "bilinear"]
        return lambda picture: _resized(picture, int(amount), resampling)
    raise InputError(f"corruption {name!r} is out of its range; give {FORMS}")


def corrupted(frames: FrameSet, name: str) -> FrameSet:
    """The same frames, each made worse when it is opened."""
    from domains.deepfake.data.datamodule import opened

    change = corruption(name)

    def open_worse(frame: LabelledFrame) -> Image.Image:
        return change(opened(frames, frame))

    return replace(frames, open=open_worse)


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _resized(picture: Image.Image, side: int, resampling: Image.Resampling) -> Image.Image:
    """Down to the side, as it would have been stored; a picture that is smaller stays."""
    return picture if min(picture.size) <= side else picture.resize((side, side), resampling)
