"""The verb `preprocess`: videos and pictures to aligned faces, by the protocol of a paper, resumable."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from domains.deepfake.types import PICTURES, DetectorName, Protocol
from suite.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from domains.deepfake.data.detection import FaceDetector
    from suite.media.video import Frame

MANIFEST = "preprocess.jsonl"

LISTS = (".json", ".csv", ".txt")
"""Files of a data set that say which video is what; they are copied, so that the result is a data set itself."""

LARGEST_LIST = 2**26

STRIDE = 10

Mode = Literal["fixed_num_frames", "fixed_stride", "at_least"]


def preprocess(
    source: Path,
    *,
    out: Path,
    protocol: Protocol = "deepfakebench",
    detector: DetectorName = "auto",
    detector_file: Path | None = None,
    detector_score: float | None = None,
    masks: Path | None = None,
    mode: Mode | None = None,
    num_frames: int = 32,
    stride: int = STRIDE,
    scale: float = 1.3,
    target_size: str = "256",
) -> dict[str, Any]:
    """Cut the largest face out of frames of every video, and of every picture, below a folder.

    The tree of the source is made again in `out`, a folder in the place of every video. What is finished is noted in
    `preprocess.jsonl`: a second call goes on where the first ended.

    Args:
        source: a folder of videos and pictures, or one file.
        out: folder of the faces.
        protocol: deepfakebench (least-squares similarity) or gend (robust, farthest frames first).
        detector: auto, yunet, haar, scrfd or dlib.
        detector_file: the detector's model file.
        detector_score: faces that the detector is less sure of are left out; its own bar where it is left out (GenD:
            0.4, for FaceForensics++ 0.1).
        masks: folder of masks laid out as the source is, for FaceForensics++ the source itself: the face that was
            forged is cut, and its mask beside it.
        mode: fixed_num_frames (evenly spread), fixed_stride, or at_least (frames until so many have a face); the
            protocol's own where it is left out.
        num_frames: of a video.
        stride: frames from one to the next, for fixed_stride.
        scale: how much wider than the template a crop is.
        target_size: side of a crop in pixels, or native for the video's own resolution (gend).

    Raises:
        InputError: the source holds nothing to cut, or an option is out of its range.
    """
    from domains.deepfake.data import detection
    from suite.media.video import SUFFIXES
    from suite.prediction.inputs import files_in

    size = _size(target_size, protocol)
    if min(num_frames, stride) < 1:
        raise InputError(f"num_frames {num_frames} or stride {stride}: give at least 1")
    if not 0 < scale < math.inf:
        raise InputError(f"scale is {scale}; the crop's side over the template's is above 0, published 1.3")
    source, out = Path(source), Path(out)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; check the path")
    if masks is not None and not Path(masks).is_dir():
        raise InputError(f"{masks}: no such folder of masks; check the path, or leave --masks out")
    if out.resolve() == source.resolve():
        raise InputError(f"{out}: is the source itself; give another folder for the faces")
    root = source if source.is_dir() else source.parent
    files = [source] if source.is_file() else files_in(source, (*SUFFIXES, *PICTURES))
    files = [f for f in files if not f.resolve().is_relative_to(out.resolve()) and "masks" not in f.parts[:-1]]
    detect = detection.detector(detector, detector_file, detector_score)
    how: dict[str, Any] = {
        "protocol": protocol,
        "detector": detect.id,
        "scale": scale,
        "size": target_size,
        "frames": num_frames,
    }
    chosen: Mode = mode or ("fixed_num_frames" if protocol == "deepfakebench" else "at_least")
    how["mode"] = chosen
    if chosen == "fixed_stride":
        how["stride"] = stride
    elif stride != STRIDE:
        raise InputError(f"stride {stride} is of mode fixed_stride, and the mode is {chosen}; leave one of them out")
    if detector_score is not None:
        how["detector_score"] = detector_score
    version = f"opencv {detection.opencv().__version__}"
    done = _finished(out, how)
    out.mkdir(parents=True, exist_ok=True)
    copied = _copy_lists(root, out) if source.is_dir() else 0
    records, failed = [], 0
    cutter = _Cutter(detect, protocol, chosen, num_frames, stride, scale, size)
    targets: dict[Path, str] = {}
    with (out / MANIFEST).open("a", encoding="utf-8") as manifest:
        for file in files:
            name = file.relative_to(root).as_posix()
            if (record := done.get(name)) is None:
                try:
                    target = _target(out, name, targets)
                    count, frames = cutter.cut(file, target, _mask_of(file, root, masks))
                    record = {"path": name, "faces": count, "frames": frames, "error": None, "version": version, **how}
                except InputError as error:
                    record = {"path": name, "faces": 0, "frames": 0, "error": str(error), "version": version, **how}
                manifest.write(json.dumps(record, ensure_ascii=False) + "\n")
                manifest.flush()
            records.append(record)
            failed += record["error"] is not None
    covered = sum(record["faces"] > 0 for record in records)
    lines = [
        f"{covered} of {len(records)} files have a face ({detect.id}); {sum(r['faces'] for r in records)} faces",
        *([detect.notice] if detect.notice else []),
        *(f"error: {record['error']}" for record in records if record["error"]),
        str(out),
    ]
    return {
        "message": "\n".join(lines),
        "out": str(out),
        "files": len(records),
        "with_face": covered,
        "failed": failed,
        "lists": copied,
        "exit_code": 2 if failed else 0,
        **how,
    }


class _Cutter:
    def __init__(
        self,
        detect: FaceDetector,
        protocol: Protocol,
        mode: Mode,
        num_frames: int,
        stride: int,
        scale: float,
        size: int | None,
    ) -> None:
        self.detect, self.protocol, self.mode = detect, protocol, mode
        self.num_frames, self.stride, self.scale, self.size = num_frames, stride, scale, size

    def cut(self, file: Path, target: Path, mask: Path | None) -> tuple[int, int]:
        """Faces and looked-at frames of a file; the faces lie in `target` when all are there.

        Raises:
            InputError: the file cannot be read.
        """
        from domains.deepfake.data.frame_set import open_picture
        from domains.deepfake.types import PICTURES
        from suite.files import atomic_folder

        with atomic_folder(target, own=True) as folder:
            if file.suffix.lower() in PICTURES:
                import numpy as np

                found = self._one(np.asarray(open_picture(file)), None, folder, file.stem)
                return int(found), 1
            return self._video(file, folder, mask)

    def _video(self, file: Path, folder: Path, mask: Path | None) -> tuple[int, int]:
        faces = frames = 0
        for index, frame, beside in self._frames(file, mask):
            frames += 1
            faces += self._one(frame.pixels, beside, folder, f"{index:03d}")
            if self.mode != "fixed_num_frames" and faces >= self.num_frames:
                break
        return faces, frames

    def _frames(self, file: Path, mask: Path | None) -> Iterator[tuple[int, Frame, np.ndarray | None]]:
        """Indices and frames that the mode chooses, and the mask's frames."""
        from domains.deepfake.data import selection
        from suite.media.video import frame_times, frames_at

        times = frame_times(file)
        masked = None if mask is None else frame_times(mask)
        total = len(times) if masked is None else min(len(times), len(masked))

        def fetched(indices: list[int]) -> Iterator[tuple[int, Frame, np.ndarray | None]]:
            frames = frames_at(file, [float(times[i]) for i in indices])
            if mask is None or masked is None:
                yield from ((i, frame, None) for i, frame in zip(indices, frames, strict=True))
                return
            others = frames_at(mask, [float(masked[i]) for i in indices])
            for i, frame, other in zip(indices, frames, others, strict=True):
                yield i, frame, other.pixels.max(-1)

        if self.mode == "at_least":
            for index in selection.farthest_first(total):
                yield from fetched([index])
        elif self.mode == "fixed_stride":
            yield from fetched(selection.strided(total, self.stride))
        else:
            yield from fetched(sorted(set(selection.evenly(total, self.num_frames))))

    def _one(self, pixels: np.ndarray, mask: np.ndarray | None, folder: Path, name: str) -> bool:
        """Cut one frame; False where it has no face, or DeepfakeBench's detector finds none again in the crop."""
        from domains.deepfake.data.alignment import align
        from domains.deepfake.data.detection import largest, overlapping
        from suite.media import sheets

        faces = self.detect(pixels)
        face = next(iter(largest(faces, 1)), None) if mask is None else overlapping(faces, mask)
        if face is None:
            return False
        try:
            crop = align(pixels, face.landmarks, self.protocol, size=self.size, scale=self.scale, mask=mask)
        except InputError:
            return False
        if self.protocol == "deepfakebench" and not self.detect(crop.pixels):
            return False
        sheets.save_png(crop.pixels, folder / f"{name}.png")
        if crop.mask is not None:
            binary = ((crop.mask > 1) * 255).astype("uint8")
            (folder / "masks").mkdir(exist_ok=True)
            sheets.save_png(binary.repeat(3).reshape(*binary.shape, 3), folder / "masks" / f"{name}.png")
        return True


def _size(target_size: str, protocol: Protocol) -> int | None:
    if target_size == "native":
        if protocol != "gend":
            raise InputError("target_size native belongs to protocol gend; give a number of pixels")
        return None
    if not target_size.isdecimal() or not 16 <= int(target_size) <= 4096:
        raise InputError(f"target_size is {target_size!r}; give 16 to 4096 pixels, or native")
    return int(target_size)


def _finished(out: Path, how: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What an earlier call has done in the same way, errors apart, by path.

    Raises:
        InputError: it was done in another way.
    """
    file = out / MANIFEST
    if not file.is_file():
        return {}
    found: dict[str, dict[str, Any]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        known = {name: record.get(name) for name in how}
        if known != how:
            name = next(name for name in how if known[name] != how[name])
            raise InputError(
                f"{out}: faces there were cut with {name} {known[name]}, now {how[name]}; give another folder for "
                "the faces (preprocess: --out, train: data.faces)"
            )
        if record["error"] is None:
            found[record["path"]] = record
    return found


def _target(out: Path, name: str, taken: dict[Path, str]) -> Path:
    """The folder of a file's faces.

    Raises:
        InputError: it is another file's already, or a link leads out of `out`.
    """
    target = out / Path(name).with_suffix("")
    if not target.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{target}: a link leads out of {out}; remove it, or give another folder for the faces")
    if (other := taken.setdefault(target, name)) != name:
        raise InputError(f"{name}: its faces would lie in {target}, as those of {other} do; rename one of them")
    return target


def _mask_of(file: Path, root: Path, masks: Path | None) -> Path | None:
    """The mask of a video: under the same path in the folder of masks, as `X.mp4` or `X_mask.mp4`.

    FaceForensics++ has them inside itself: `F/c23/videos/X.mp4` has `F/masks/videos/X.mp4`, whatever the compression.
    """
    if masks is None:
        return None
    inside = file.relative_to(root)
    beside = Path(masks) / inside
    candidates = [beside.with_stem(f"{beside.stem}_mask"), Path(masks) / file.name]
    if len(inside.parts) > 3:
        candidates.append(Path(masks).joinpath(*inside.parts[:-3], "masks", *inside.parts[-2:]))
    for candidate in (beside, *candidates):
        # A video is no mask of itself, where the masks lie among the videos.
        if candidate.is_file() and candidate.resolve() != file.resolve():
            return candidate
    return None


def _copy_lists(root: Path, out: Path) -> int:
    import shutil

    copied = 0
    for file in root.rglob("*"):
        small = file.suffix.lower() in LISTS and file.is_file() and file.stat().st_size <= LARGEST_LIST
        if not small or file.resolve().is_relative_to(out.resolve()):
            continue
        target = out / file.relative_to(root)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            copied += 1
    return copied
