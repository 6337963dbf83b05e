"""One's own videos: a folder with `real/` and `fake/` that hold videos, their faces cut out when they are first read.

The faces go into a folder of their own, once: what is there is not cut again. From there on they are as any own folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from domains.deepfake.data.alignment import SCALE
from domains.deepfake.data.datasets import own_folder
from domains.deepfake.data.frame_set import FAKE, REAL, FrameSet
from domains.deepfake.types import PICTURES, DetectorName, Protocol
from suite.errors import InputError
from suite.media.video import SUFFIXES, probe


@dataclass(frozen=True)
class Cutting:
    """How faces are cut out of videos.

    Attributes:
        faces: folder of the faces; `<videos>-faces` beside the videos where it is left out.
        frames: of a video that are looked at. scale: how much is around the face.
    """

    faces: Path | None = None
    protocol: Protocol = "deepfakebench"
    detector: DetectorName = "auto"
    detector_file: Path | None = None
    frames: int = 32
    scale: float = SCALE


def fits(path: Path) -> bool:
    """Whether a folder is laid out so: videos below real/ and fake/, and no pictures."""
    return own_folder.fits(path) and bool(_files(path, SUFFIXES)) and not _files(path, PICTURES)


def read(path: Path, split: str, cutting: Cutting, *, val_share: float = 0.1, seed: int = 0) -> FrameSet:
    """The faces of a split.

    Raises:
        InputError: no video has a face, a class is empty, or there are too few identities to hold any out.
    """
    from domains.deepfake.data.preprocess import preprocess

    faces = cutting.faces or path.resolve().parent / f"{path.resolve().name}-faces"
    print(f"data: cutting the faces of {path} into {faces}", file=sys.stderr, flush=True)
    told = preprocess(
        path,
        out=faces,
        protocol=cutting.protocol,
        detector=cutting.detector,
        detector_file=cutting.detector_file,
        num_frames=cutting.frames,
        scale=cutting.scale,
    )
    if not told["with_face"]:
        raise InputError(f"{path}: {told['detector']} finds no face in any of {told['files']} videos; try another one")
    found = own_folder.read(faces, split, val_share=val_share, seed=seed)
    without = told["files"] - told["with_face"]
    coverage = [f"{without} of {told['files']} videos have no face and are left out"] if without else []
    return replace(found, notices=(*coverage, *shortcuts(path), *found.notices))


def shortcuts(path: Path, looked_at: int = 24) -> tuple[str, ...]:
    """Ways to tell the classes apart by the videos' files alone: size, codec, bits a pixel."""
    told: dict[int, list[tuple[float, str, float]]] = {REAL: [], FAKE: []}
    for label, name in ((REAL, "real"), (FAKE, "fake")):
        own = [file for file in _files(path, SUFFIXES) if name in file.relative_to(path).parts[:2]]
        for file in own[:: max(1, len(own) // looked_at)][:looked_at]:
            try:
                told[label].append(_of_video(file))
            except InputError:  # said where it is cut
                continue
    return own_folder.differences(told, _WORDS) if all(told.values()) else ()


_WORDS: Mapping[str, str] = {"things": "videos", "alike": "encode both alike"}


def _of_video(file: Path) -> tuple[float, str, float]:
    """Side, codec and bits a pixel."""
    info = probe(file)
    pixels = info.width * info.height
    shown = pixels * (info.duration or 1.0) * float(info.fps or 1)
    return float(np.sqrt(pixels)), info.codec, 8 * file.stat().st_size / max(1.0, shown)


def _files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files below real/ and fake/, of the folder itself or of its splits."""
    homes = [home / name for home in (path, *(path / s for s in own_folder.SPLITS)) for name in ("real", "fake")]
    return sorted(f for home in homes if home.is_dir() for f in home.rglob("*") if f.suffix.lower() in suffixes)
