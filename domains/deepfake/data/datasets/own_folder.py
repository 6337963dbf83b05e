"""One's own faces: a folder with `real/` and `fake/`, or `train/`, `val/` and `test/` with these inside.

Below them lie pictures of aligned faces, one folder a video (`fake/anna_eve/000.png`), or loose. Without folders for
the splits, whole identities are held out: the same face on both sides would be recognised, not judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from domains.deepfake.data.frame_set import FAKE, REAL, FrameSet, LabelledFrame, open_picture
from domains.deepfake.types import PICTURES
from suite.errors import InputError

SPLITS = ("train", "val", "test")


def fits(path: Path) -> bool:
    """Whether a folder is laid out so."""
    return _pair(path) is not None or any(_pair(path / split) is not None for split in SPLITS)


def read(path: Path, split: str, *, val_share: float = 0.1, test_share: float = 0.1, seed: int = 0) -> FrameSet:
    """The frames of a split.

    Args:
        val_share, test_share: of the identities, held out where the folder has no splits of its own.

    Raises:
        InputError: a class is empty, or there are too few identities to hold any out.
    """
    if _pair(path / split) is not None:
        frames = _frames(path / split)
    elif _pair(path) is not None:
        frames = _held_out(_frames(path), split, val_share, test_share, seed, path)
    else:
        raise InputError(f"{path}: no {split}/real and {split}/fake in it; make them, or lay real/ and fake/ there")
    for label, name in ((REAL, "real"), (FAKE, "fake")):
        if not any(frame.label == label for frame in frames):
            raise InputError(
                f"{path}: no picture in {name}/ ({', '.join(PICTURES)}); cut faces out by preprocess first"
            )
    return FrameSet(tuple(frames), open_picture, notices=shortcuts(frames), title=f"{path}:{split}")


def _pair(path: Path) -> tuple[Path, Path] | None:
    real, fake = path / "real", path / "fake"
    return (real, fake) if real.is_dir() and fake.is_dir() else None


def _frames(path: Path) -> list[LabelledFrame]:
    pair = _pair(path)
    assert pair is not None
    frames = []
    for label, folder in ((REAL, pair[0]), (FAKE, pair[1])):
        files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in PICTURES and f.is_file())
        for file in files:
            inside = file.relative_to(folder).parts
            loose = len(inside) == 1
            # A loose picture is a video of its own.
            name = file.as_posix() if not loose else f"{folder.as_posix()}/{file.name}/{file.name}"
            source = inside[0] if len(inside) > 2 else folder.name
            frames.append(LabelledFrame(name, label, source, _identity(file.stem if loose else file.parent.name)))
    return frames


def _identity(name: str) -> str:
    """Everybody who may be seen in a video `A_B`: a swap shows parts of both."""
    return name


def _people(frames: Sequence[LabelledFrame]) -> dict[str, str]:
    """Identities that occur together in one name, as one: `A`, `A_B` and `B` are a group."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    for frame in frames:
        names = [part for part in frame.identity.split("_") if part] or [frame.identity]
        for other in names[1:]:
            parent[root(other)] = root(names[0])
        root(names[0])
    return {
        frame.identity: root(next(iter(filter(None, frame.identity.split("_"))), frame.identity)) for frame in frames
    }


def _held_out(
    frames: list[LabelledFrame], split: str, val_share: float, test_share: float, seed: int, path: Path
) -> list[LabelledFrame]:
    people = _people(frames)
    by_label: dict[str, set[int]] = defaultdict(set)
    for frame in frames:
        by_label[people[frame.identity]].add(frame.label)
    groups = sorted(by_label)
    if len(groups) < 4:
        raise InputError(
            f"{path}: {len(groups)} groups of identities (from folders named A or A_B), too few to hold any out; name "
            "folders after who is to be seen, or lay train/ and val/ there"
        )
    order = [groups[n] for n in np.random.RandomState(seed).permutation(len(groups))]
    # In each split both classes: groups of real ones and of forged ones are dealt out apart.
    chosen: dict[str, str] = {}
    for kind in ({REAL}, {FAKE}, {REAL, FAKE}):
        own = [group for group in order if by_label[group] == kind]
        val = max(1, round(val_share * len(own))) if len(own) > 1 else 0
        test = max(1, round(test_share * len(own))) if len(own) > 2 and test_share else 0
        for place, group in enumerate(own):
            chosen[group] = "val" if place < val else "test" if place < val + test else "train"
    return [frame for frame in frames if chosen[people[frame.identity]] == split]


def shortcuts(frames: Sequence[LabelledFrame], looked_at: int = 24) -> tuple[str, ...]:
    """Ways to tell the classes apart that have nothing to do with forgery: size, kind of file, compression."""
    notices: list[str] = []
    told: dict[int, list[tuple[float, str, float]]] = {REAL: [], FAKE: []}
    for label in told:
        own = [frame for frame in frames if frame.label == label]
        for frame in own[:: max(1, len(own) // looked_at)][:looked_at]:
            file = file_of(frame)
            try:
                with Image.open(file) as image:
                    pixels = image.width * image.height
                    told[label].append((float(pixels) ** 0.5, image.format or "", 8 * file.stat().st_size / pixels))
            except (OSError, ValueError):
                continue
    if not all(told.values()):
        return ()
    notices += differences(told, _WORDS)
    real_people = {part for frame in frames if frame.label == REAL for part in frame.identity.split("_")}
    fake_people = {part for frame in frames if frame.label == FAKE for part in frame.identity.split("_")}
    if real_people.isdisjoint(fake_people):
        notices.append(
            "real and forged videos show other people (by the names of their folders): the model may learn where the "
            "videos come from; take forgeries of the real ones"
        )
    return tuple(notices)


_WORDS: Mapping[str, str] = {"things": "pictures", "alike": "save both alike"}


def differences(told: Mapping[int, Sequence[tuple[float, str, float]]], words: Mapping[str, str]) -> tuple[str, ...]:
    """Notices of what tells the classes apart.

    Args:
        told: by label, of some files the side in pixels, the kind of file or its codec, and the bits a pixel.
        words: `things`, what the files are; `alike`, what to do.
    """
    notices: list[str] = []
    sides, other = ([entry[0] for entry in told[label]] for label in (REAL, FAKE))
    kinds, forged_kinds = ({entry[1] for entry in told[label]} for label in (REAL, FAKE))
    bits, forged_bits = ([entry[2] for entry in told[label]] for label in (REAL, FAKE))
    things, alike = words["things"], words["alike"]
    if _apart(sides, other):
        notices.append(
            f"real {things} are {np.median(sides):.0f} pixels wide and forged ones {np.median(other):.0f}: the "
            "model may learn the size; cut both alike with preprocess"
        )
    if kinds.isdisjoint(forged_kinds):
        notices.append(
            f"real {things} are {'/'.join(sorted(kinds))} and forged ones {'/'.join(sorted(forged_kinds))}: the "
            f"model may learn the compression; {alike}"
        )
    elif _apart(bits, forged_bits):
        notices.append(
            f"real {things} have {np.median(bits):.2f} bits a pixel and forged ones {np.median(forged_bits):.2f}: the "
            f"model may learn the compression; {alike}"
        )
    return tuple(notices)


def file_of(frame: LabelledFrame) -> Path:
    """The file of a frame; a loose picture is called as if it lay in a folder of its own."""
    path = Path(frame.path)
    return path if path.is_file() else path.parent


def _apart(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether a single threshold tells nine of ten apart, and the medians differ by a tenth."""
    a, b = np.asarray(first), np.asarray(second)
    low, high = sorted((float(np.median(a)), float(np.median(b))))
    if high < 1.1 * max(low, 1e-9):
        return False
    above = np.mean(a[:, None] > b[None])
    return bool(max(above, 1 - above) > 0.9)
