"""DeepfakeBench's JSON files: which frames belong to which video, label and split (`rearrange.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domains.deepfake.data.frame_set import FAKE, REAL, FrameSet, LabelledFrame, open_picture
from suite.errors import InputError
from suite.files import read_json

LABELS: Mapping[str, int] = {
    **dict.fromkeys(("FF-real", "DFD_real", "CelebDFv1_real", "CelebDFv2_real", "DFDCP_Real", "DFDC_Real"), REAL),
    **dict.fromkeys(("DF_real", "UADFV_Real", "roop_Real"), REAL),
    **dict.fromkeys(("FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FF-FH", "FF-SH", "DFD_fake", "CelebDFv1_fake"), FAKE),
    **dict.fromkeys(("CelebDFv2_fake", "DFDCP_FakeA", "DFDCP_FakeB", "DFDC_Fake", "DF_fake", "UADFV_Fake"), FAKE),
    "roop_Fake": FAKE,
}
"""Of its configuration, by the names that its files use."""

COMPRESSIONS = ("c23", "c40", "raw")


def read(path: Path, split: str, compression: str = "c23") -> FrameSet:
    """The frames of a split; those of a video in the order of their numbers.

    Args:
        compression: which one, in files of FaceForensics++'s family; others have no such level.

    Raises:
        InputError: the file is of something else, a label is unknown, or frames are missing.
    """
    frames: list[LabelledFrame] = []
    missing: list[str] = []
    for name, by_label in read_json(path).items():
        for label_name, splits in _table(by_label, path, name).items():
            videos = _table(splits, path, label_name).get(split) or {}
            if set(videos) & set(COMPRESSIONS):
                if compression not in videos:
                    raise InputError(f"{path}: {label_name} has no {compression}; it has {', '.join(videos)}")
                videos = videos[compression]
            for video, known in _table(videos, path, label_name).items():
                own, absent = _frames(path, video, known)
                frames += own
                missing += absent
    if missing:
        shown = ", ".join(missing[:3])
        raise InputError(f"{path}: {len(missing)} of {len(missing) + len(frames)} frames are not there: {shown}")
    return FrameSet(tuple(frames), open_picture, title=f"{path.name}:{split}")


def _frames(path: Path, video: str, known: Any) -> tuple[list[LabelledFrame], list[str]]:
    if not isinstance(known, dict) or not isinstance(known.get("frames"), list):
        raise InputError(f"{path}: video {video} has no list of frames")
    label_name = str(known.get("label"))
    if label_name not in LABELS:
        raise InputError(f"{path}: label {label_name!r} of video {video} is unknown; there is {', '.join(LABELS)}")
    found, missing = [], []
    for frame in sorted((str(frame).replace("\\", "/") for frame in known["frames"]), key=_number):
        file = next((f for f in (Path(frame), path.parent / frame) if f.is_file()), None)
        if file is None:
            missing.append(frame)
        else:
            found.append(LabelledFrame(file.as_posix(), LABELS[label_name], label_name, video))
    return found, missing


def _number(frame: str) -> tuple[int, str]:
    stem = frame.rpartition("/")[2].partition(".")[0]
    digits = "".join(filter(str.isdigit, stem))
    return int(digits) if digits else -1, frame


def _table(value: Any, path: Path, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path}: {where} is no object; this is none of DeepfakeBench's files")
    return value
