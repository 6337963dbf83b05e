"""COCO's JSON: detections in single pictures, and videos with `videos` and track ids (TAO, YouTube-VIS)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domains.tracking.data.sequences import Track
from suite.errors import InputError, one_line

_TRACK_IDS = ("track_id", "instance_id", "object_id")


@dataclass(frozen=True)
class CocoVideo:
    """One video of a file, or one picture.

    Attributes:
        files: of its frames in order, as the file names them. tracks: by id.
    """

    name: str
    files: tuple[str, ...]
    tracks: Mapping[str, Track]
    fps: float | None = None


def read_coco(path: Path) -> list[CocoVideo]:
    """The videos of a file; without `videos` every picture is one, with an object for each of its boxes.

    Crowds are left out. What has no box at all is left out too.

    Raises:
        InputError: it cannot be read, or is not laid out so.
    """
    content: dict[str, Any] = {"categories": [], **_loaded(path)}
    try:
        kinds = {one["id"]: str(one.get("name", "")) for one in entries(content, "categories", path) if "id" in one}
        images = {image["id"]: image for image in entries(content, "images", path)}
        boxes: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in entries(content, "annotations", path):
            if not annotation.get("iscrowd"):
                boxes[annotation["image_id"]].append(annotation)
        if "videos" not in content:
            return [_of_picture(image, boxes[key], kinds) for key, image in images.items() if boxes[key]]
        frames: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for image in images.values():
            frames[image["video_id"]].append(image)
        videos = [_of_video(one, frames[one["id"]], boxes, kinds, path) for one in entries(content, "videos", path)]
    except KeyError as error:
        raise InputError(
            f"{path}: an entry lacks {error}; COCO has images, annotations and, for videos, videos"
        ) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: is not laid out as COCO's JSON ({one_line(error)})") from error
    return [video for video in videos if video.files and video.tracks]


def entries(content: Mapping[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    """The entries that COCO's JSON has under a name.

    Raises:
        InputError: they are no list of objects.
        KeyError: there is no such name.
    """
    found = content[name]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{path}: {name} is no list of objects, as COCO's JSON has it")
    return found


def _loaded(path: Path) -> dict[str, Any]:
    # Of a whole data set it has hundreds of megabytes: no small file that `read_json` would read.
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected COCO's JSON object with images and annotations")
    return content


def _of_picture(image: dict[str, Any], found: list[dict[str, Any]], kinds: Mapping[Any, str]) -> CocoVideo:
    tracks = {
        str(place): Track.of(np.array([_corners(one["bbox"])]), kind=kinds.get(one.get("category_id"), ""))
        for place, one in enumerate(found, 1)
    }
    return CocoVideo(Path(image["file_name"]).stem, (image["file_name"],), tracks)


def _of_video(
    video: dict[str, Any],
    images: list[dict[str, Any]],
    boxes: Mapping[Any, list[dict[str, Any]]],
    kinds: Mapping[Any, str],
    path: Path,
) -> CocoVideo:
    ordered = sorted(images, key=lambda image: (image.get("frame_id", image.get("frame_index", 0)), image["file_name"]))
    corners: dict[str, Any] = {}
    names: dict[str, str] = {}
    for frame, image in enumerate(ordered):
        for one in boxes.get(image["id"], ()):
            own = next((str(one[key]) for key in _TRACK_IDS if key in one), None)
            if own is None:
                raise InputError(f"{path}: annotation {one.get('id')} has none of {', '.join(_TRACK_IDS)}")
            corners.setdefault(own, np.full((len(ordered), 4), np.nan))[frame] = _corners(one["bbox"])
            names.setdefault(own, kinds.get(one.get("category_id"), ""))
    tracks = {own: Track.of(rows, kind=names[own]) for own, rows in corners.items()}
    fps = video.get("fps")
    name = str(video.get("name", video["id"])).strip("/").replace("/", "-")
    files = tuple(image["file_name"] for image in ordered)
    return CocoVideo(name, files, tracks, float(fps) if fps else None)


def _corners(box: Any) -> list[float]:
    x, y, width, height = map(float, box)
    return [x, y, x + width, y + height]
