"""The data sets of the protocol as they are published: which video is of which label and split.

Each reader lists videos; their frames are what `preprocess` cut: `<folder>/<video>/*.png` where `<folder>/<video>.mp4`
was, in a copy of the tree that it makes, or in `frames` beside `videos` as DeepfakeBench does.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from domains.deepfake.data.frame_set import FAKE, REAL, FrameSet, LabelledFrame, open_picture, pictures_in
from suite.errors import InputError, first_line
from suite.files import read_text

FORGERIES = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
"""Of FaceForensics++ that the papers train on; FaceShifter, which came later, is a data set of its own."""


@dataclass(frozen=True)
class Video:
    """A video of a data set.

    Attributes:
        path: of the file, without its suffix, which the folder of its frames has too.
        label: 0 real, 1 manipulated. source: of the forgery, or of real videos. name: as the lists call it.
        mask: video of what was forged, without its suffix, where the data set has one.
    """

    path: Path
    label: int
    source: str
    name: str
    mask: Path | None = None


def faceforensics(root: Path, split: str, compression: str) -> list[Video]:
    """FaceForensics++: `train.json`, `val.json` and `test.json` hold pairs; each is two real and two forged videos."""
    return _of_pairs(root, split, compression, FORGERIES)


def faceshifter(root: Path, split: str, compression: str) -> list[Video]:
    """FaceShifter, inside of FaceForensics++ and by its pairs: for testing alone."""
    _only_test("FaceShifter", split)
    return _of_pairs(root, split, compression, ("FaceShifter",))


def _of_pairs(root: Path, split: str, compression: str, forgeries: Sequence[str]) -> list[Video]:
    pairs = _json(root / f"{split}.json")
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise InputError(f"{root / f'{split}.json'}: no list of pairs of videos")
    videos = []
    for first, second in pairs:
        real = root / "original_sequences" / "youtube" / compression / "videos"
        videos += [Video(real / str(name), REAL, "real", str(name)) for name in (first, second)]
        for forgery in forgeries:
            folder = root / "manipulated_sequences" / forgery
            masks = folder / "masks" / "videos"
            for name in (f"{first}_{second}", f"{second}_{first}"):
                path = folder / compression / "videos" / name
                videos.append(Video(path, FAKE, forgery, name, masks / name))
    # A copy without one of the forgeries is a smaller data set, not a broken one.
    there = {v.source for v in videos if _known(v)}
    return [video for video in videos if video.source in there or not there]


def dfd(root: Path, split: str, compression: str) -> list[Video]:
    """DeepFakeDetection, inside of FaceForensics++: for testing alone; often several people, of whom one is forged."""
    _only_test("DFD", split)
    real = root / "original_sequences" / "actors" / compression / "videos"
    folder = root / "manipulated_sequences" / "DeepFakeDetection"
    forged = folder / compression / "videos"
    masks = folder / "masks" / "videos"
    return [
        *(Video(path, REAL, "real", path.name) for path in _stems(real)),
        *(Video(path, FAKE, "DeepFakeDetection", path.name, masks / path.name) for path in _stems(forged)),
    ]


def celebdf(root: Path, split: str, compression: str) -> list[Video]:
    """Celeb-DF v2: `List_of_testing_videos.txt` holds the test split, in which 1 is REAL and 0 is forged."""
    tested: dict[str, int] = {}
    listing = root / "List_of_testing_videos.txt"
    for line in _lines(listing):
        flag, _, name = line.partition(" ")
        if flag not in ("0", "1") or "/" not in name:
            raise InputError(f"{listing}: {line!r} is not a label and a path")
        tested[name.strip().removesuffix(".mp4")] = REAL if flag == "1" else FAKE
    if split == "test":
        return [Video(root / name, label, name.split("/")[0], name) for name, label in tested.items()]
    videos = []
    for folder in ("Celeb-real", "YouTube-real", "Celeb-synthesis"):
        for path in _stems(root / folder):
            name = f"{folder}/{path.name}"
            if name not in tested:
                videos.append(Video(path, REAL if "real" in folder else FAKE, folder, name))
    return _tenth(videos, split)


def dfdc(root: Path, split: str, compression: str) -> list[Video]:
    """DFDC: `test/labels.csv` (filename, label), or `metadata.json` beside the videos."""
    folder = root / split if (root / split).is_dir() else root
    if (folder / "labels.csv").is_file():
        rows = list(csv.DictReader(io.StringIO(_text(folder / "labels.csv"))))
        if not all(row.get("filename") and row.get("label") for row in rows):
            raise InputError(f"{folder / 'labels.csv'}: needs the columns filename and label in every line")
        labels = {row["filename"]: int(row["label"] not in ("0", "REAL")) for row in rows}
    else:
        known = _json(folder / "metadata.json")
        if not isinstance(known, dict) or not all(
            isinstance(entry, dict) and entry.get("is_fake", 0) in (0, 1) for entry in known.values()
        ):
            raise InputError(f"{folder / 'metadata.json'}: no object of videos with is_fake or label; get it anew")
        # The test set's says is_fake, the training parts' say label.
        labels = {n: int(entry.get("is_fake", entry.get("label") == "FAKE")) for n, entry in known.items()}
    return [
        Video(folder / name.removesuffix(".mp4"), label, "fake" if label else "real", name)
        for name, label in sorted(labels.items())
    ]


def ffiw(root: Path, split: str, compression: str) -> list[Video]:
    """FFIW-10K: `source/<split>` and `target/<split>`, real and forged, of equal names, several people each."""
    videos = []
    for kind, label in (("source", REAL), ("target", FAKE)):
        for path in _stems(root / kind / split):
            mask = root / "target" / "masks" / path.name if label else None
            videos.append(Video(path, label, "real" if label == REAL else "FFIW", path.name, mask))
    return videos


def deepspeak(root: Path, split: str, compression: str) -> list[Video]:
    """DeepSpeak: `<split>/real` and `<split>/<forgery>` (facefusion, facefusion_gan, retalking, wav2lip ...)."""
    home = root / split
    videos = []
    for folder in sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else ():
        label = REAL if "real" in folder.name else FAKE
        videos += [Video(path, label, folder.name, path.name) for path in _stems(folder)]
    return videos


Listing = Callable[[Path, str, str], list[Video]]

_LISTINGS: Mapping[str, tuple[Callable[[Path], bool], Listing]] = {
    "faceforensics": (
        lambda root: (root / "manipulated_sequences").is_dir() and (root / "test.json").is_file(),
        faceforensics,
    ),
    "faceshifter": (lambda root: (root / "manipulated_sequences" / "FaceShifter").is_dir(), faceshifter),
    "dfd": (lambda root: (root / "manipulated_sequences" / "DeepFakeDetection").is_dir(), dfd),
    "celebdf": (lambda root: (root / "List_of_testing_videos.txt").is_file(), celebdf),
    "dfdc": (
        lambda root: any((root / p).is_file() for p in ("test/labels.csv", "labels.csv", "metadata.json")),
        dfdc,
    ),
    "ffiw": (lambda root: (root / "source").is_dir() and (root / "target").is_dir(), ffiw),
    "deepspeak": (
        lambda root: any((root / "test" / name).is_dir() for name in ("facefusion", "wav2lip", "retalking")),
        deepspeak,
    ),
}


def videos_of(name: str, root: Path, split: str, compression: str = "c23") -> list[Video]:
    """The videos of a split of a data set.

    Raises:
        InputError: there is no such data set, or its lists cannot be read.
    """
    if name not in _LISTINGS:
        raise InputError(f"no data set is called {name!r}; there is {', '.join(_LISTINGS)}")
    return _LISTINGS[name][1](root, split, compression)


def frames_of(video: Video) -> list[str]:
    """The pictures cut of a video, sorted by bytes."""
    beside = video.path.parent.parent / "frames" / video.path.name
    inside = video.path.parent / "frames" / video.path.name
    return pictures_in(video.path) or pictures_in(beside) or pictures_in(inside)


def _reader(name: str) -> Callable[[Path, str, str], FrameSet]:
    def read(root: Path, split: str, compression: str) -> FrameSet:
        frames: list[LabelledFrame] = []
        missing: list[LabelledFrame] = []
        videos = videos_of(name, root, split, compression)
        for video in videos:
            own = frames_of(video)
            frames += [LabelledFrame(path, video.label, video.source, video.path.name) for path in own]
            if not own:
                absent = f"{video.path.as_posix()}/none"
                missing.append(LabelledFrame(absent, video.label, video.source, video.name))
        notices = []
        if missing and frames:
            shown = ", ".join(video.identity for video in missing[:3])
            notices.append(f"{name}: {len(videos) - len(missing)} of {len(videos)} videos have frames; none: {shown}")
        return FrameSet(
            tuple(frames), open_picture, _by_forgery(frames), tuple(notices), f"{name}:{split}", tuple(missing)
        )

    return read


LAYOUTS: Mapping[str, tuple[Callable[[Path], bool], Callable[[Path, str, str], FrameSet]]] = {
    name: (fits, _reader(name)) for name, (fits, _) in _LISTINGS.items()
}
"""Data sets by name: whether a folder is one, and its reader."""


def _by_forgery(frames: Sequence[LabelledFrame]) -> dict[str, tuple[str, ...]]:
    """Each forgery beside the real videos, where there are several: how one is found says little of another."""
    forgeries = sorted({frame.source for frame in frames if frame.label == FAKE})
    if len(forgeries) < 2:
        return {}
    return {
        forgery: tuple(frame.path for frame in frames if frame.label == REAL or frame.source == forgery)
        for forgery in forgeries
    }


def _known(video: Video) -> bool:
    return video.path.with_suffix(".mp4").is_file() or bool(frames_of(video))


def _stems(folder: Path) -> list[Path]:
    """Videos, or the folders of their frames, in a folder or in its `frames`, without suffixes, sorted."""
    if not folder.is_dir():
        return []
    frames = next((f for f in (folder.parent / "frames", folder / "frames") if f.is_dir()), folder)
    names = {p.stem for p in folder.iterdir() if p.suffix.lower() in (".mp4", ".avi", ".mov", ".mkv", ".webm")}
    names |= {path.name for path in frames.iterdir() if path.is_dir() and path.name not in ("frames", "masks")}
    return [folder / name for name in sorted(names)]


def _tenth(videos: Iterable[Video], split: str) -> list[Video]:
    """Data sets without a validation split: every tenth video of training."""
    return [video for place, video in enumerate(videos) if (place % 10 == 9) == (split == "val")]


def _only_test(name: str, split: str) -> None:
    if split != "test":
        raise InputError(f"{name} is for testing alone and has no split {split!r}; write PATH:test")


def _text(file: Path) -> str:
    try:
        return read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({first_line(error)}); get the data set's lists anew") from error


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in _text(file).splitlines() if line.strip()]


def _json(file: Path) -> object:
    try:
        return json.loads(_text(file))
    except ValueError as error:
        raise InputError(f"{file}: is not JSON ({first_line(error)}); get it anew") from error
