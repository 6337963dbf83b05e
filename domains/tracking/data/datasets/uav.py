"""UAV123 and UAV20L: `data_seq/UAV123/{folder}/000001.jpg`, `anno/UAV123/{sequence}.txt`, attributes in `anno/.../att`.

Several sequences are parts of one folder: `group1_1`, `group1_2`, ... lie one after another in `group1`.
"""

from __future__ import annotations

from pathlib import Path

from domains.tracking.data.datasets.laying import flagged, in_pictures
from domains.tracking.data.listing import frames_in
from domains.tracking.data.pictures import natural
from domains.tracking.data.readers.boxes import read_boxes
from domains.tracking.data.sequences import SequenceSet, from_xywh
from suite.errors import InputError

ATTRIBUTES = (
    *("scale variation", "aspect ratio change", "low resolution", "fast motion", "full occlusion"),
    *("partial occlusion", "out of view", "background clutter", "illumination variation", "viewpoint change"),
    *("camera motion", "similar object"),
)
"""In the order of the attribute files' columns."""

STARTS = {
    **{"bird1_1": 1, "bird1_2": 775, "bird1_3": 1573, "car1_1": 1, "car1_2": 751, "car1_3": 1627},
    **{"car6_1": 1, "car6_2": 487, "car6_3": 1807, "car6_4": 2953, "car6_5": 3925, "car8_1": 1, "car8_2": 1357},
    **{"car16_1": 1, "car16_2": 415, "group1_1": 1, "group1_2": 1333, "group1_3": 2515, "group1_4": 3925},
    **{"group2_1": 1, "group2_2": 907, "group2_3": 1771, "group3_1": 1, "group3_2": 1567, "group3_3": 2827},
    **{"group3_4": 4369, "person2_1": 1, "person2_2": 1189, "person4_1": 1, "person4_2": 1501, "person5_1": 1},
    **{"person5_2": 877, "person7_1": 1, "person7_2": 1249, "person8_1": 1, "person8_2": 1075, "person12_1": 1},
    **{"person12_2": 601, "person14_1": 1, "person14_2": 847, "person14_3": 1813, "person17_1": 1, "person17_2": 1501},
    **{"person19_1": 1, "person19_2": 1243, "person19_3": 2791, "truck4_1": 1, "truck4_2": 577},
    **{"uav1_1": 1, "uav1_2": 1555, "uav1_3": 2473},
}
"""The first frame of the sequences that share a folder, from 1."""


def fits(path: Path) -> bool:
    return (path / "data_seq" / "UAV123").is_dir() and (path / "anno").is_dir()


def read(path: Path, split: str) -> SequenceSet:
    """The sequences of `UAV123`, or with split `20l` those of `UAV20L`.

    Raises:
        InputError: annotations or frames are not there, or broken.
    """
    part = "UAV20L" if split.lower() in ("20l", "uav20l") else "UAV123"
    home, frames = path / "anno" / part, path / "data_seq" / "UAV123"
    files = sorted(home.glob("*.txt"), key=natural) if home.is_dir() else []
    if not files:
        raise InputError(f"{home}: no annotation, one .txt a sequence; get UAV123's anno folder")
    sequences = []
    for file in files:
        boxes = from_xywh(read_boxes(file))
        folder, first = frames / file.stem, 1
        if not folder.is_dir():
            folder, first = frames / file.stem.rpartition("_")[0], STARTS.get(file.stem, 1)
        if not folder.is_dir():
            raise InputError(f"{file}: no folder {frames / file.stem} with its frames; get it")
        pictures = frames_in(folder)[first - 1 : first - 1 + len(boxes)]
        attributes = flagged(home / "att" / file.name, ATTRIBUTES)
        sequences.append(in_pictures(file.stem, pictures, boxes, attributes=attributes, fps=30.0))
    return SequenceSet(part, part.lower(), sequences)
