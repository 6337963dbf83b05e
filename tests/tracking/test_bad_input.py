"""What users get wrong: one line that says what, where and what to do, exit code 2, and nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from suite.errors import InputError
from tests.tracking import footage
from tests.tracking.footage import TRACKER

BOX = ("10,12,14,14",)
Made = Callable[[Path], Path | str]


def _video(folder: Path) -> Path:
    return footage.video(folder / "clip.mp4", 4)


def _written(name: str, content: bytes) -> Made:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _header(folder: Path) -> Path:
    path = _video(folder)
    path.write_bytes(path.read_bytes()[:48])
    return path


def _only_sound(folder: Path) -> Path:
    import av

    path = folder / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return path


def _cut(folder: Path) -> Path:
    path = footage.video(folder / "cut.mp4", 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def _no_pictures(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _only_text(folder: Path) -> Path:
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("x")
    return folder / "notes"


def _folder(*names: str) -> Made:
    def make(folder: Path) -> Path:
        home = footage.folder(folder / "frames", 3, "{}.png")
        for name in names:
            Image.fromarray(footage.picture(0)).save(home / name)
        return home

    return make


def _called(*names: str) -> Made:
    def make(folder: Path) -> Path:
        home = folder / "frames"
        home.mkdir()
        for name in names:
            Image.fromarray(footage.picture(0)).save(home / name)
        return home

    return make


def _damaged(number: int) -> Made:
    def make(folder: Path) -> Path:
        home = footage.folder(folder / "frames", 4, "{}.png")
        (home / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        return home

    return make


def _cut_picture(folder: Path) -> Path:
    home = footage.folder(folder / "frames", 4, "{}.jpg")
    path = home / "3.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return home


def _bomb(folder: Path) -> Path:
    home = folder / "frames"
    home.mkdir()
    Image.fromarray(np.zeros((1, 1), np.uint8)).resize((70_000, 1_000)).save(home / "1.png")
    return home


def _truth(*lines: str) -> Made:
    def make(folder: Path) -> Path:
        home = footage.folder(folder / "frames", 3, "{}.png")
        (home / "groundtruth.txt").write_text("\n".join(lines) + "\n")
        return home

    return make


SOURCES: dict[str, tuple[Made, str]] = {
    "missing": (lambda folder: folder / "none.mp4", "no such file"),
    "missing folder of frames": (lambda folder: folder / "none" / "frames", "no such file"),
    "missing pattern": (lambda folder: folder / "*.jpg", "no picture is called so"),
    "empty file": (_written("a.mp4", b""), "is empty"),
    "no video": (_written("a.mp4", b"no video at all"), "no video that can be read"),
    "cut video": (_cut, "it is cut"),
    "video of a header": (_header, "no stream of pictures"),
    "video of sound": (_only_sound, "only sound"),
    "stream that nobody sends": (lambda folder: "tcp://127.0.0.1:9", "Connection refused"),
    "page that nobody serves": (lambda folder: "http://127.0.0.1:9/a.mp4", "Connection refused"),
    "address of a file": (lambda folder: "file:///etc/passwd", "no such file"),
    "address of another scheme": (lambda folder: "ftp://127.0.0.1/a.mp4", "no such file"),
    "one picture": (lambda folder: footage.folder(folder, 1, "{}.png") / "1.png", "is one picture"),
    "empty folder": (_no_pictures, "holds no frame"),
    "folder of text": (_only_text, "holds no frame"),
    "same number twice": (_folder("01.png"), "both frame 1"),
    "same number twice with a word": (_called("a_1.png", "a_001.png"), "both frame 1"),
    "frames of two kinds": (_folder("2.jpg"), "several kinds"),
    "frames of three kinds": (_called("1.png", "2.bmp", "3.jpg"), "several kinds"),
    "a name without a number": (_folder("cover.png"), "order is unknown"),
    "names without numbers": (_called("a.png", "b.png"), "order is unknown"),
    "first frame damaged": (_damaged(1), "frame 0"),
    "later frame damaged": (_damaged(3), "frame 2"),
    "later frame cut": (_cut_picture, "frame 2"),
    "huge picture": (_bomb, "million"),
    "fewer boxes than frames": (_truth("10,12,14,14", "11,12,14,14"), "2 boxes"),
    "more boxes than frames": (_truth(*["10,12,14,14"] * 4), "4 boxes"),
    "no number in a box": (_truth("10,12,14,14", "a,b,c,d", "1,2,3,4"), "line 2"),
    "object in no frame": (_truth(*["nan,nan,nan,nan"] * 3), "in sight in no frame"),
}


@pytest.mark.parametrize("case", sorted(SOURCES))
def test_sources_that_cannot_be_tracked(case: str, tmp_path: Path) -> None:
    make, words = SOURCES[case]
    (tmp_path / "in").mkdir()
    source, out = make(tmp_path / "in"), tmp_path / "out"
    good = footage.video(tmp_path / "in" / "good.mp4", 3)
    bad, fine = TRACKER.predict([str(source), good], out=out, formats=("txt",), box=BOX)
    assert bad.error is not None and words in bad.error and "\n" not in bad.error
    assert fine.error is None and fine.rows.frames == 3
    names = {path.name for path in out.iterdir()}
    assert names == {
        "good.txt",
        "good.annotated.mp4",
        "good.frames.png",
        "good.scores.png",
        "tracks.csv",
        "progress.jsonl",
    }


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no box": ({}, "where is the object"),
    "three numbers": ({"box": ("1,2,3",)}, "3 numbers"),
    "three and then five": ({"box": ("1,2,3", "1,2,3,4,5")}, "3 numbers"),
    "five numbers": ({"box": ("1,2,3,4,5",)}, "5 numbers"),
    "a word": ({"box": ("1,2,x,4",)}, "'x' is no number"),
    "NaN": ({"box": ("1,2,nan,4",)}, "not finite"),
    "infinite": ({"optional_box": (1.0, 2.0, float("inf"), 4.0)}, "not finite"),
    "no width": ({"box": ("1,2,0,4",)}, "no area"),
    "negative height": ({"box": ("1,2,3,-4",)}, "no area"),
    "corners the wrong way round": ({"box_xyxy": ("30,30,10,10",)}, "no area"),
    "outside": ({"box": ("200,200,10,10",)}, "outside the frame of 96 x 64"),
    "outside on the left": ({"box": ("-50,10,10,10",)}, "outside the frame"),
    "tiny": ({"box": ("10,10,1,1",)}, "less than 2 pixels"),
    "tiny in the frame": ({"box": ("95,10,20,20",)}, "less than 2 pixels"),
    "start beyond the end": ({"box": BOX, "start_frame": 900}, "ends before frame 900"),
    "object beyond the end": ({"first_boxes": [{"name": "a", "box": [1, 2, 9, 9], "frame": 77}]}, "frame 77 is beyond"),
    "file without a box": ({"first_boxes": ""}, "holds no box"),
    "file of words": ({"first_boxes": "a box\n"}, "is no number"),
    "file of an absent object": ({"first_boxes": "nan,nan,nan,nan\n"}, "not finite"),
    "MOT's frame is no number": ({"first_boxes": "nan,1,10,12,14,14,1\n"}, "line 1: frame nan"),
    "MOT's frame is infinite": ({"first_boxes": "1,1,10,12,14,14,1\ninf,2,10,12,14,14,1\n"}, "line 2: frame inf"),
    "MOT's frames count from 0": ({"first_boxes": "0,1,10,12,14,14,1\n"}, "count from 1"),
    "MOT's object is no number": ({"first_boxes": "1,nan,10,12,14,14,1\n"}, "line 1: object nan"),
    "JSON that is none": ({"first_boxes": {"a": "here"}}, "is no box"),
    "JSON of a truth": ({"first_boxes": {"a": [True, 2, 20, 20]}}, "is no box"),
    "JSON beyond all numbers": ({"first_boxes": {"a": [10**400, 1, 20, 20]}}, "entry 1"),
    "frame of words": ({"first_boxes": [{"box": [1, 2, 9, 9], "frame": "two"}]}, "frame is 'two'"),
    "COCO of nothing": ({"first_boxes": {"annotations": None}}, "annotations is no list"),
    "COCO of words": ({"first_boxes": {"annotations": ["a box"]}}, "annotations is no list"),
    "COCO with images of words": ({"first_boxes": {"images": ["1.jpg"], "annotations": []}}, "images is no list"),
    "COCO with a frame of words": (
        {
            "first_boxes": {
                "images": [{"id": 1, "frame_id": "two"}],
                "annotations": [{"image_id": 1, "bbox": [1, 2, 9, 9]}],
            }
        },
        "frame is 'two'",
    ),
    "COCO with a list for an id": (
        {"first_boxes": {"images": [{"id": [1]}], "annotations": [{"image_id": [1], "bbox": [1, 2]}]}},
        "2 numbers",
    ),
    "two ways": ({"box": BOX, "box_xyxy": BOX}, "two ways"),
    "more names than objects": ({"box": BOX, "name": ("a", "b")}, "2 names for 1 objects"),
    "the same name twice": ({"box": ("1,2,9,9", "20,20,9,9"), "name": ("a", "a")}, "same name"),
    "stride 0": ({"box": BOX, "stride": 0}, "stride is 0"),
    "no frame at all": ({"box": BOX, "max_frames": 0}, "max_frames is 0"),
    "no rate": ({"box": BOX, "fps": 0}, "fps is 0"),
    "thresholds crossed": ({"box": BOX, "lost_below": 0.8}, "the first the lower"),
    "port": ({"box": BOX, "mjpeg": 99999}, "port"),
    "unknown policy": ({"box": BOX, "memory_policy": "halves"}, "segments or thirds"),
    "unknown form": ({"box": BOX, "formats": ("xml",)}, "xml"),
    "no screen": ({"select": True}, "screen"),
    "no such sequence": ({"box": BOX, "sequence": "none"}, "no sequence"),
}


@pytest.mark.parametrize("case", sorted(OPTIONS))
def test_options_that_mean_nothing(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    given, words = OPTIONS[case]
    options = dict(given)
    if "first_boxes" in options:
        content = options["first_boxes"]
        name = "first.txt" if isinstance(content, str) else "first.json"
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        options["first_boxes"] = tmp_path / name
    source, out = _video(tmp_path), tmp_path / "out"
    with pytest.raises(InputError) as error:
        for result in TRACKER.predict(source, out=out, **options):
            assert result.error is not None, "it was tracked"
            raise InputError(result.error)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not out.exists() or {path.name for path in out.iterdir()} <= {"tracks.csv", "progress.jsonl"}


@pytest.mark.parametrize("absent", ["nan,nan,nan,nan", "0,0,0,0"])
def test_an_object_that_is_absent_first_is_followed_from_where_it_is_in_sight(absent: str, tmp_path: Path) -> None:
    source = _truth(absent, "10,12,14,14", "11,12,14,14")(tmp_path)
    boxes = TRACKER(source).boxes()
    assert np.isnan(boxes[0]).all() and boxes[1].tolist() == [10, 12, 14, 14]


@pytest.mark.parametrize("size", [(60, 40), (120, 80)])
def test_frames_that_change_their_size_are_said(size: tuple[int, int], tmp_path: Path) -> None:
    home = footage.folder(tmp_path / "frames", 4, "{}.png")
    Image.fromarray(footage.picture(2)).resize(size).save(home / "3.png")
    result = TRACKER(home, box=BOX)
    assert any("change their size, from 96 x 64 to {} x {}".format(*size) in notice for notice in result.notices)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ("-5,10,20,20", "partly outside"),
        ("85,50,20,20", "partly outside"),
        ("60,30,200,300", "left,top,right,bottom"),
        ("40,30,80,60", "left,top,right,bottom"),
    ],
)
def test_boxes_partly_outside_are_cut_and_said(box: str, words: str, tmp_path: Path) -> None:
    result = TRACKER(_video(tmp_path), box=(box,))
    assert any(words in notice for notice in result.notices)
    x, y, width, height = result.boxes()[0]
    assert x >= 0 and y >= 0 and x + width <= footage.WIDTH and y + height <= footage.HEIGHT


def test_results_of_an_earlier_run_and_files_in_the_way_are_kept(tmp_path: Path) -> None:
    source, out = _video(tmp_path), tmp_path / "out"
    list(TRACKER.predict(source, out=out, box=BOX))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for options in ({}, {"formats": ("csv",)}):
        with pytest.raises(InputError, match="--overwrite"):
            list(TRACKER.predict(source, out=out, box=BOX, **options))  # type: ignore[arg-type]
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    for place in (source, source / "below"):
        with pytest.raises(InputError, match="is a file; give a folder"):
            list(TRACKER.predict(source, out=place, box=BOX))
