"""Benchmarks' folders as their authors lay them out, with a few small frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

FRAMES, WIDTH, HEIGHT = 6, 48, 32


def xywh(frame: int) -> tuple[float, float, float, float]:
    """Where the object is, counted from 0."""
    return 5.0 + frame, 6.0, 12.0, 9.0


def frames(folder: Path, count: int = FRAMES, form: str = "{:08d}.jpg", first: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        picture = np.full((HEIGHT, WIDTH, 3), (number * 9 % 256, 90, 60), np.uint8)
        Image.fromarray(picture).save(folder / form.format(number))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def lines(delimiter: str = ",", origin: int = 0, count: int = FRAMES) -> str:
    rows = ((x + origin, y + origin, w, h) for x, y, w, h in map(xywh, range(count)))
    return "".join(delimiter.join(f"{number:g}" for number in row) + "\n" for row in rows)


def got10k(root: Path) -> None:
    for split, count in (("train", FRAMES), ("test", 1)):
        folder = root / split / f"GOT-10k_{split.capitalize()}_000001"
        frames(folder)
        write(folder / "groundtruth.txt", lines(count=count))
        write(root / split / "list.txt", f"{folder.name}\n")
        if split == "train":
            write(folder / "absence.label", "0\n0\n1\n0\n0\n0\n")
            write(folder / "cover.label", "8\n8\n0\n8\n0\n3\n")
            write(folder / "meta_info.ini", "[METAINFO]\nobject_class: bear\nanno_fps: 10Hz\nresolution: (48, 32)\n")


def lasot(root: Path) -> None:
    for number in (10, 2):
        folder = root / "airplane" / f"airplane-{number}"
        # One frame more than there are boxes, as monkey-17 has it.
        frames(folder / "img", FRAMES + 1)
        write(folder / "groundtruth.txt", lines(origin=1))
        write(folder / "full_occlusion.txt", "0,0,1,0,0,0\n")
        write(folder / "out_of_view.txt", "0,0,0,0,1,0\n")
        write(folder / "nlp.txt", "white airplane landing on ground\n")
    write(root / "testing_set.txt", "airplane-2\n")
    write(root / "training_set.txt", "airplane-10\n")


def lasot_extension(root: Path) -> None:
    folder = root / "atv" / "atv-1"
    frames(folder / "img")
    write(folder / "groundtruth.txt", lines())
    write(folder / "full_occlusion.txt", "0,0,1,0,0,0\n")
    write(folder / "out_of_view.txt", "0,0,0,0,0,0\n")


def trackingnet(root: Path) -> None:
    for part, count in (("TRAIN_0", 11), ("TEST", 1)):
        frames(root / part / "frames" / "abc_1", 11, "{}.jpg", first=0)
        write(root / part / "anno" / "abc_1.txt", lines(count=count))


def tnl2k(root: Path) -> None:
    folder = root / "Cat_video_01-Done"
    frames(folder / "imgs", form="{:05d}.png")
    write(folder / "groundtruth.txt", lines())
    write(folder / "language.txt", "the cat\n")


def nfs(root: Path) -> None:
    folder = root / "bee" / "30"
    frames(folder / "bee", form="{:05d}.jpg")
    rows = []
    for number in range(8 * FRAMES):
        x, y, width, height = xywh(number // 8)
        lost = int(number // 8 == 2)
        rows.append(f'0 {x:g} {y:g} {x + width:g} {y + height:g} {number + 1} {lost} 0 1 "bee"\n')
    write(folder / "bee.txt", "".join(rows))


def uav(root: Path) -> None:
    frames(root / "data_seq" / "UAV123" / "bird1", 780, "{:06d}.jpg")
    frames(root / "data_seq" / "UAV123" / "bike1", form="{:06d}.jpg")
    gone = lines().splitlines()
    gone[2] = "NaN,NaN,NaN,NaN"
    write(root / "anno" / "UAV123" / "bike1.txt", "\n".join(gone) + "\n")
    write(root / "anno" / "UAV123" / "bird1_2.txt", lines())
    write(root / "anno" / "UAV123" / "att" / "bike1.txt", "1,0,0,1,0,0,0,0,0,0,0,1\n")


def otb(root: Path) -> None:
    for name, form, delimiter in (("Basketball", "{:04d}.jpg", ","), ("Board", "{:05d}.jpg", "\t")):
        frames(root / name / "img", form=form)
        write(root / name / "groundtruth_rect.txt", lines(delimiter))
    frames(root / "Jogging" / "img", form="{:04d}.jpg")
    for target in (1, 2):
        write(root / "Jogging" / f"groundtruth_rect.{target}.txt", lines())
    frames(root / "Tiger1" / "img", 11, form="{:04d}.jpg")
    write(root / "Tiger1" / "groundtruth_rect.txt", lines(count=11))
    frames(root / "David" / "img", 306, form="{:04d}.jpg")
    write(root / "David" / "groundtruth_rect.txt", lines(count=7))


def vot(root: Path) -> None:
    folder = root / "bag"
    frames(folder)
    corners = [(x, y, x + w, y, x + w, y + h, x, y + h) for x, y, w, h in map(xywh, range(FRAMES))]
    write(folder / "groundtruth.txt", "".join(",".join(map(str, row)) + "\n" for row in corners))
    write(folder / "occlusion.tag", "0\n1\n0\n0\n0\n0\n")
    write(root / "list.txt", "bag\n")


def own(root: Path) -> None:
    frames(root / "clip", form="{}.png")
    write(root / "clip" / "groundtruth.txt", "\ufeff" + lines().replace("\n", "\r\n") + "\r\n\r\n")


def mot(root: Path) -> None:
    folder = root / "street"
    frames(folder / "img1", form="{:06d}.jpg")
    rows = []
    for frame in range(FRAMES):
        x, y, w, h = xywh(frame)
        rows += [f"{frame + 1},1,{x + 1:g},{y + 1:g},{w:g},{h:g},1,1,1", f"{frame + 1},9,1,1,5,5,0,1,1"]
        if frame > 1:
            rows.append(f"{frame + 1},2,{x + 1:g},{y + 1:g},{w:g},{h:g},1,1,{int(frame != 3)}")
    write(folder / "gt" / "gt.txt", "\n".join(rows) + "\n")
    write(folder / "seqinfo.ini", "[Sequence]\nname=street\nframeRate=25\n")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "got10k": got10k,
    "lasot": lasot,
    "trackingnet": trackingnet,
    "tnl2k": tnl2k,
    "nfs": nfs,
    "otb": otb,
    "vot": vot,
    "own": own,
    "mot": mot,
}
