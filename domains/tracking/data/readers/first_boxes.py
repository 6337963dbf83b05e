"""Where tracking begins: boxes that users write down, in a flag or in a file of any of the known forms."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.tracking.data.readers.boxes import lines_of, numbers, polygon_box
from domains.tracking.data.readers.coco import entries
from domains.tracking.types import Box
from suite.errors import InputError, one_line
from suite.files import read_text


@dataclass(frozen=True)
class Start:
    """An object's box in a frame: where it begins to be followed, or is pointed at anew.

    Attributes:
        frame: from 0.
    """

    name: str
    box: Box
    frame: int = 0


def boxes_of(words: Sequence[str], *, corners: bool = False) -> list[Box]:
    """The boxes of a flag, which is given once for each: four numbers with commas or spaces between them.

    Args:
        corners: the numbers are left, top, right, bottom.

    Raises:
        InputError: a word is no number, or they are not four.
    """
    flag, form = ("--box-xyxy", "left,top,right,bottom") if corners else ("--box", "x,y,w,h")
    boxes = []
    for word in words:
        found = numbers(word, flag)
        if len(found) != 4:
            raise InputError(f"{flag} {word}: {len(found)} numbers; give four, {form}, and the flag once an object")
        x, y, third, fourth = found
        box = (x, y, third - x, fourth - y) if corners else (x, y, third, fourth)
        boxes.append(checked_box(box, flag))
    return boxes


def checked_box(box: Sequence[float], where: str) -> Box:
    """The box, once it has four finite numbers and a size.

    Raises:
        InputError: it has not.
    """
    if len(box) != 4:
        raise InputError(f"{where}: a box of {len(box)} numbers; give four, x,y,w,h")
    try:
        x, y, width, height = (float(number) for number in box)
    except OverflowError:
        raise InputError(f"{where}: a number of the box is too large; give four in pixels, x,y,w,h") from None
    if not all(map(math.isfinite, (x, y, width, height))):
        raise InputError(f"{where}: the box {shown(box)} is not finite; give four numbers, x,y,w,h")
    if width <= 0 or height <= 0:
        raise InputError(f"{where}: the box {shown(box)} has no area; give x,y,w,h with w and h above 0")
    return x, y, width, height


def shown(box: Sequence[float]) -> str:
    """A box as people write it."""
    return ",".join(f"{number:g}" for number in box)


def read_first_boxes(path: Path, start_frame: int = 0) -> list[Start]:
    """The objects of a file: x,y,w,h a line (SAMURAI's form), MOTChallenge's lines, COCO's JSON, or our own JSON.

    Our own is `{"name": [x, y, w, h], ...}` or a list of `{"name": ..., "box": [...], "frame": 0}`; several entries of
    one name point at the object anew. Of a ground truth (`groundtruth*.txt`), which has a line a frame, the first line
    counts.

    Args:
        start_frame: of boxes that say no frame.

    Raises:
        InputError: it cannot be read, or its form is not known.
    """
    read = _of_json if path.suffix.lower() == ".json" else _of_lines
    starts = read(path, start_frame)
    if not starts:
        raise InputError(f"{path}: holds no box; write x,y,w,h")
    return starts


def _of_lines(path: Path, start_frame: int) -> list[Start]:
    lines = [(number, line) for number, line in enumerate(lines_of(path), 1) if line and not line.startswith("#")]
    if path.name.startswith("groundtruth"):
        lines = lines[:1]
    starts: list[Start] = []
    begun: set[str] = set()
    for number, line in lines:
        where = f"{path}: line {number}"
        found = numbers(line, where)
        if len(found) == 4:
            starts.append(Start(str(len(starts) + 1), checked_box(found, where), start_frame))
        elif len(found) == 8:
            starts.append(Start(str(len(starts) + 1), checked_box(polygon_box(found), where), start_frame))
        elif len(found) in (6, 7, 9, 10):
            (frame, own), (x, y, width, height) = found[:2], found[2:6]
            if not math.isfinite(frame) or frame < 1:
                raise InputError(f"{where}: frame {frame:g}; write frame,id,left,top,width,height, which count from 1")
            if not math.isfinite(own):
                raise InputError(f"{where}: object {own:g}; write frame,id,left,top,width,height")
            name = f"{own:g}"
            # MOT's lines are all frames of a ground truth: an object begins with its first.
            if name not in begun:
                begun.add(name)
                starts.append(Start(name, checked_box((x - 1, y - 1, width, height), where), int(frame) - 1))
        else:
            raise InputError(f"{where}: {len(found)} numbers; write x,y,w,h for each object, or MOT's lines")
    return starts


def _of_json(path: Path, start_frame: int) -> list[Start]:
    try:
        content = json.loads(read_text(path, encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({one_line(error)})") from error
    if isinstance(content, dict) and "annotations" in content:
        return _of_coco(path, content)
    if isinstance(content, dict):
        named: list[Any] = [{"name": name, "box": box} for name, box in content.items()]
    elif isinstance(content, list):
        alone = len(content) == 4 and all(isinstance(one, int | float) for one in content)
        named = [{"box": content}] if alone else [one if isinstance(one, dict) else {"box": one} for one in content]
    else:
        raise InputError(f"{path}: write an object of names and boxes, or a list of boxes")
    starts = []
    for place, one in enumerate(named, 1):
        where = f"{path}: entry {place}"
        frame = _frame(one.get("frame", start_frame), where)
        starts.append(Start(str(one.get("name", place)), _listed_box(one.get("box"), where), frame))
    return starts


def _of_coco(path: Path, content: Mapping[str, Any]) -> list[Start]:
    """The first box of each track, or every box where there are no tracks."""
    order = {
        str(image.get("id")): _frame(image.get("frame_id", place), f"{path}: image {place + 1}")
        for place, image in enumerate(entries({"images": [], **content}, "images", path))
    }
    starts: dict[str, Start] = {}
    for place, one in enumerate(entries(content, "annotations", path), 1):
        name = str(one.get("track_id", one.get("instance_id", one.get("id", place))))
        frame = order.get(str(one.get("image_id")), 0)
        if name not in starts or frame < starts[name].frame:
            starts[name] = Start(name, _listed_box(one.get("bbox"), f"{path}: annotation {place}"), frame)
    return list(starts.values())


def _frame(frame: Any, where: str) -> int:
    if not isinstance(frame, int) or isinstance(frame, bool) or frame < 0:
        raise InputError(f"{where}: frame is {frame!r}; give a whole number from 0")
    return frame


def _listed_box(box: Any, where: str) -> Box:
    if not isinstance(box, list) or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in box):
        raise InputError(f"{where}: {box!r} is no box; write [x, y, w, h]")
    return checked_box(box, where)
