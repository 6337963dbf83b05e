"""Which objects are followed from which frame on: as the query says, or a file beside the frames, or the mouse."""

from __future__ import annotations

from collections.abc import Sequence

from domains.tracking.data.pictures import Pixels
from domains.tracking.data.readers.first_boxes import Start, boxes_of, checked_box, read_first_boxes, shown
from domains.tracking.inference.footage import Footage
from domains.tracking.types import Box, TrackQuery
from suite.errors import InputError

LEAST = 2.0
"""Pixels of a side: what is smaller cannot be told from its surroundings."""

_BEYOND = 1.25
"""A box that ends so many times beyond the frame was meant otherwise."""


def starts_of(query: TrackQuery, footage: Footage, first: Pixels) -> list[Start]:
    """The objects and where they begin, in order.

    Args:
        first: the frame `query.start_frame`.

    Raises:
        InputError: nothing says where the objects are, or a box is none.
    """
    at = query.start_frame
    if query.select:
        from domains.tracking.inference.pointing import point

        found = [Start("1", point(first), at)]
    elif query.first_boxes is not None:
        found = read_first_boxes(query.first_boxes, at)
    elif query.optional_box is not None:
        found = [Start("1", checked_box(query.optional_box, "--optional-box"), at)]
    elif query.box or query.box_xyxy:
        boxes = boxes_of(query.box or query.box_xyxy, corners=not query.box)
        found = [Start(str(number), box, at) for number, box in enumerate(boxes, 1)]
    elif footage.starts:
        found = [start for start in footage.starts if start.frame >= at]
        if not found:
            raise InputError(f"the objects begin before frame {at}; give their boxes there with --box")
    else:
        raise InputError("where is the object? give its first box with --box x,y,w,h or --first-boxes FILE")
    return _named(sorted(found, key=lambda start: start.frame), query.name, footage.frames)


def _named(starts: list[Start], names: Sequence[str], frames: int | None) -> list[Start]:
    order = list(dict.fromkeys(start.name for start in starts))
    if names and len(names) != len(order):
        raise InputError(f"{len(names)} names for {len(order)} objects; give one for each with --name")
    if len(set(names)) < len(names):
        raise InputError(f"--name {','.join(names)}: two objects have the same name; give each its own")
    called = dict(zip(order, names or order, strict=True))
    for start in starts:
        if frames is not None and start.frame >= frames:
            raise InputError(f"frame {start.frame} is beyond the last, {frames - 1}; frames count from 0")
    return [Start(called[start.name], start.box, start.frame) for start in starts]


def fitted(box: Box, size: tuple[int, int], name: str) -> tuple[Box, str]:
    """The part of a first box that lies in its frame, and what is odd about it; empty where nothing is.

    Args:
        size: width and height of the frame.

    Raises:
        InputError: no part of it does, or it is too small to be followed.
    """
    width, height = size
    x, y, w, h = box
    left, top, right, bottom = max(0.0, x), max(0.0, y), min(float(width), x + w), min(float(height), y + h)
    frame = f"the frame of {width} x {height}"
    corners = " (x,y,w,h is wanted; for left,top,right,bottom there is --box-xyxy)"
    odd = x + w > _BEYOND * width or y + h > _BEYOND * height
    if right <= left or bottom <= top:
        raise InputError(f"box {shown(box)} of {name} lies outside {frame}; give one inside{corners if odd else ''}")
    if w < LEAST or h < LEAST or right - left < LEAST or bottom - top < LEAST:
        raise InputError(f"box {shown(box)} of {name} is less than {LEAST:g} pixels wide or high in {frame}")
    if (left, top, right, bottom) == (x, y, x + w, y + h):
        return box, ""
    said = f"box {shown(box)} of {name} lies partly outside {frame} and was cut{corners if odd else ''}"
    return (left, top, right - left, bottom - top), said
