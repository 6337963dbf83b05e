"""The files of boxes, written frame by frame, so that a source without an end needs no memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from domains.tracking.types import FileForm, FrameResult, TrackedBox
from suite.prediction.inputs import Names, slug
from suite.tables import csv_text


@dataclass(frozen=True)
class About:
    """What the files say of their source.

    Attributes:
        stem: of their names. size: width and height of the frames, pixels.
        integers: whole numbers with tabs in the txt files.
    """

    source: str
    stem: str
    size: tuple[int, int] = (0, 0)
    fps: float | None = None
    adapter: str = ""
    integers: bool = False


class BoxFile(Protocol):
    """One form, being written into a folder."""

    def write(self, result: FrameResult) -> None: ...

    def finish(self, notices: Sequence[str]) -> None: ...


class BoxFiles:
    """All files of one source, in a folder that nobody sees before they are whole.

    Args:
        folder: where they are written; of them `finish` says which there are.
    """

    def __init__(self, folder: Path, about: About, forms: Sequence[FileForm]) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._opened: list[IO[str]] = []
        self._files = [FORMS[form](self._open, about) for form in dict.fromkeys(forms)]

    def write(self, result: FrameResult) -> None:
        for file in self._files:
            file.write(result)

    def finish(self, notices: Sequence[str] = ()) -> list[Path]:
        for file in self._files:
            file.finish(notices)
        self._stack.close()
        return [Path(file.name) for file in self._opened if os.path.exists(file.name)]

    def close(self) -> None:
        self._stack.close()

    def _open(self, name: str) -> IO[str]:
        file = self._stack.enter_context((self.folder / name).open("w", encoding="utf-8", newline=""))
        self._opened.append(file)
        return file


Open = Callable[[str], IO[str]]


class TextFiles:
    """`x,y,w,h` a line for every tracked frame, a file an object; `nan` where it is not followed or not reported."""

    def __init__(self, open_: Open, about: About) -> None:
        self._open, self._about = open_, about
        self._files: dict[str, IO[str]] = {}
        self._names, self._frames = Names(), 0

    def write(self, result: FrameResult) -> None:
        for name in result.objects:
            if name not in self._files:
                self._files[name] = self._begin(name)
        for name, file in self._files.items():
            file.write(self._line(result.objects.get(name)))
        self._frames += 1

    def finish(self, notices: Sequence[str]) -> None:
        pass

    def _begin(self, name: str) -> IO[str]:
        own = self._names.of(slug(name))
        # The object that everything is about has the plain name; further ones carry their own.
        file = self._open(f"{self._about.stem}.txt" if not self._files else f"{self._about.stem}.{own}.txt")
        file.writelines(self._line(None) for _ in range(self._frames))
        return file

    def _line(self, found: TrackedBox | None) -> str:
        if found is None or found.box is None:
            return ("\t" if self._about.integers else ",").join(["nan"] * 4) + "\n"
        if self._about.integers:
            return "\t".join(str(int(number)) for number in found.box) + "\n"
        return ",".join(f"{number:.3f}" for number in found.box) + "\n"


class MotFile:
    """MOTChallenge's lines: frame,id,x,y,w,h,confidence,-1,-1,-1; frames, ids and pixels count from 1."""

    def __init__(self, open_: Open, about: About) -> None:
        self._file = open_(f"{about.stem}.mot.txt")
        self._ids: dict[str, int] = {}

    def write(self, result: FrameResult) -> None:
        for name, found in result.objects.items():
            own = self._ids.setdefault(name, len(self._ids) + 1)
            if found.box is not None:
                x, y, width, height = found.box
                numbers = f"{x + 1:.2f},{y + 1:.2f},{width:.2f},{height:.2f},{found.score:.4f}"
                self._file.write(f"{result.index + 1},{own},{numbers},-1,-1,-1\n")

    def finish(self, notices: Sequence[str]) -> None:
        pass


class CsvFile:
    """A row for each frame and object, for spreadsheets."""

    columns = ("frame", "time", "object", "x", "y", "w", "h", "score", "status")

    def __init__(self, open_: Open, about: About) -> None:
        self._file = open_(f"{about.stem}.csv")
        self._file.write(csv_text([self.columns]))

    def write(self, result: FrameResult) -> None:
        rows = [
            (
                result.index,
                round(result.time, 6),
                name,
                *(("",) * 4 if found.box is None else (round(number, 3) for number in found.box)),
                round(found.score, 6),
                found.status,
            )
            for name, found in result.objects.items()
        ]
        self._file.write(csv_text(rows, guard=True))

    def finish(self, notices: Sequence[str]) -> None:
        pass


class JsonFile:
    """One document: what was tracked, and for each frame its index, time, and every object's box, score and status."""

    def __init__(self, open_: Open, about: About) -> None:
        self._file, self._first = open_(f"{about.stem}.json"), True
        head = {"source": about.source, "adapter": about.adapter, "fps": about.fps, "size": list(about.size)}
        self._file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "frames": [')

    def write(self, result: FrameResult) -> None:
        objects = [{"id": name, **_rounded(found)} for name, found in result.objects.items()]
        record = {"frame": result.index, "time": round(result.time, 6), "objects": objects}
        self._file.write(("\n" if self._first else ",\n") + json.dumps(record, ensure_ascii=False))
        self._first = False

    def finish(self, notices: Sequence[str]) -> None:
        self._file.write("\n], " + json.dumps({"notices": list(notices)}, ensure_ascii=False)[1:] + "\n")


class CocoFile:
    """COCO's JSON of a video: videos, images, annotations with track ids, boxes as x, y, w, h and scores."""

    def __init__(self, open_: Open, about: About) -> None:
        self._about = about
        self._file = open_(f"{about.stem}.coco.json")
        # The images come first in the file and are known last: annotations wait in a file of their own.
        self._waiting = open_(f".{about.stem}.annotations")
        self._ids: dict[str, int] = {}
        self._images, self._boxes = 0, 0
        width, height = about.size
        video = {"id": 1, "name": about.stem, "width": width, "height": height, "fps": about.fps}
        self._file.write(f'{{"videos": [{json.dumps(video)}],\n"images": [')

    def write(self, result: FrameResult) -> None:
        self._images += 1
        width, height = self._about.size
        image = {
            "id": self._images,
            "video_id": 1,
            "frame_id": result.index,
            "width": width,
            "height": height,
            "file_name": f"{self._about.stem}/{result.index + 1:08d}.jpg",
        }
        self._file.write(("" if self._images == 1 else ",") + "\n" + json.dumps(image))
        for name, found in result.objects.items():
            own = self._ids.setdefault(name, len(self._ids) + 1)
            if found.box is None:
                continue
            self._boxes += 1
            record = {
                "id": self._boxes,
                "image_id": self._images,
                "video_id": 1,
                "track_id": own,
                "category_id": 1,
                "bbox": [round(number, 3) for number in found.box],
                "area": round(found.box[2] * found.box[3], 3),
                "iscrowd": 0,
                "score": round(found.score, 6),
            }
            self._waiting.write(("" if self._boxes == 1 else ",") + "\n" + json.dumps(record))

    def finish(self, notices: Sequence[str]) -> None:
        self._waiting.close()
        self._file.write('\n],\n"annotations": [')
        with open(self._waiting.name, encoding="utf-8") as waiting:
            while block := waiting.read(2**20):
                self._file.write(block)
        os.unlink(self._waiting.name)
        tracks = [{"id": own, "category_id": 1, "name": name} for name, own in self._ids.items()]
        ends = {"tracks": tracks, "categories": [{"id": 1, "name": "object"}]}
        self._file.write("\n],\n" + json.dumps(ends, ensure_ascii=False)[1:] + "\n")


FORMS: Mapping[FileForm, Callable[[Open, About], BoxFile]] = {
    "txt": TextFiles,
    "json": JsonFile,
    "csv": CsvFile,
    "mot": MotFile,
    "coco": CocoFile,
}


def _rounded(found: TrackedBox) -> dict[str, Any]:
    box = None if found.box is None else [round(number, 3) for number in found.box]
    return {"box": box, "confidence": round(found.score, 6), "status": found.status}
