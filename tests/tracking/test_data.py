"""Benchmarks' layouts, own data, files of boxes, and training samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.tracking.data import crops, listing
from domains.tracking.data.augment import augmented
from domains.tracking.data.datamodule import TrackingData
from domains.tracking.data.pictures import frame_files, read_picture
from domains.tracking.data.readers.boxes import polygon_box, read_boxes
from domains.tracking.data.readers.coco import read_coco
from domains.tracking.data.readers.first_boxes import read_first_boxes
from domains.tracking.data.sampling import FrameSampling, SequenceOrder
from domains.tracking.data.sources import open_set
from suite.errors import InputError
from tests.tracking import layouts

EXPECTED = np.array([(x, y, x + w, y + h) for x, y, w, h in map(layouts.xywh, range(layouts.FRAMES))])


@pytest.mark.parametrize("name", sorted(layouts.LAYOUTS))
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_layout_is_known_and_its_boxes_count_from_0(name: str, split: str, tmp_path: Path) -> None:
    layouts.LAYOUTS[name](tmp_path / name)
    found = open_set(str(tmp_path / name), split=split)
    assert found.benchmark == {"mot": "own"}.get(name, name)
    track = found.sequences[0].track
    if track.annotated:
        assert np.allclose(track.boxes[: len(EXPECTED)], EXPECTED, atol=1 if name == "vot" else 1e-9)
    else:
        assert np.allclose(track.boxes[0], EXPECTED[0]) and np.isnan(track.boxes[1:]).all()
    assert len(found.sequences[0].frames.picture(0)) == layouts.HEIGHT


def test_got10k_says_what_is_hidden_and_what_the_object_is(tmp_path: Path) -> None:
    layouts.got10k(tmp_path)
    [sequence] = open_set(f"{tmp_path}:train").sequences
    assert sequence.track.present.tolist() == [True, True, False, True, False, True]
    assert sequence.track.covered is not None and sequence.track.covered.tolist() == [
        False,
        False,
        True,
        False,
        True,
        False,
    ]
    assert (sequence.track.kind, sequence.fps) == ("bear", 10.0)
    layouts.write(tmp_path / "got10k_vot_train_split.txt", "0\n")
    assert open_set(f"{tmp_path}:train").notices
    layouts.write(tmp_path / "got10k_vot_train_split.txt", "7\n")
    with pytest.raises(InputError, match="sequence 7 of 1"):
        open_set(f"{tmp_path}:train")


def test_lasot_goes_by_its_annotations_and_lists(tmp_path: Path) -> None:
    layouts.lasot(tmp_path)
    [sequence] = open_set(f"{tmp_path}:test").sequences
    assert sequence.name == "airplane-2" and len(sequence.frames) == layouts.FRAMES
    assert sequence.track.present.tolist() == [True, True, False, True, False, True]
    assert sequence.text == "white airplane landing on ground"
    layouts.write(tmp_path / "att" / "airplane-2.txt", "0,1,0,0,0,0,0,0,0,0,0,0,0,1\n")
    assert open_set(f"{tmp_path}:test").sequences[0].attributes == ("partial occlusion", "aspect ratio change")
    (tmp_path / "testing_set.txt").unlink()
    assert [one.name for one in open_set(f"{tmp_path}:test").sequences] == ["airplane-2", "airplane-10"]


def test_lasot_extension_counts_from_0(tmp_path: Path) -> None:
    layouts.lasot_extension(tmp_path)
    found = open_set(str(tmp_path))
    assert found.benchmark == "lasot_extension"
    assert np.allclose(found.sequences[0].track.boxes, EXPECTED)


def test_trackingnet_sorts_frames_by_their_numbers(tmp_path: Path) -> None:
    layouts.trackingnet(tmp_path)
    [sequence] = open_set(f"{tmp_path}:train").sequences
    assert [int(file.stem) for file in sequence.frames.files] == list(range(11))  # type: ignore[attr-defined]


def test_uav_finds_parts_of_folders_absence_and_attributes(tmp_path: Path) -> None:
    layouts.uav(tmp_path)
    bike, bird = open_set(f"{tmp_path}:test").sequences
    assert bike.track.present.tolist() == [True, True, False, True, True, True]
    assert bike.attributes == ("scale variation", "fast motion", "similar object")
    assert bird.frames.files[0].stem == "000775"  # type: ignore[attr-defined]


def test_nfs_takes_every_eighth_line(tmp_path: Path) -> None:
    layouts.nfs(tmp_path)
    [sequence] = open_set(str(tmp_path)).sequences
    assert sequence.track.present.tolist() == [True, True, False, True, True, True]
    assert sequence.track.kind == "bee"


def test_otb_knows_its_irregular_sequences(tmp_path: Path) -> None:
    layouts.otb(tmp_path)
    found = {one.name: one for one in open_set(str(tmp_path)).sequences}
    assert list(found) == ["Basketball", "Board", "David", "Jogging-1", "Jogging-2", "Tiger1"]
    assert found["David"].frames.files[0].stem == "0300"  # type: ignore[attr-defined]
    assert found["Tiger1"].frames.files[0].stem == "0006"  # type: ignore[attr-defined]
    assert found["Tiger1"].track.boxes[0][0] == layouts.xywh(5)[0]


def test_several_objects_of_one_sequence(tmp_path: Path) -> None:
    layouts.mot(tmp_path)
    [sequence] = open_set(str(tmp_path)).sequences
    assert list(sequence.tracks) == ["1", "2"] and sequence.fps == 25
    assert sequence.tracks["2"].present.tolist() == [False, False, True, False, True, True]
    first, second = sequence.single()
    assert (second.name, second.track.first, first.track.first) == ("street-2", 2, 0)


def test_coco_of_pictures_and_of_videos(tmp_path: Path) -> None:
    layouts.frames(tmp_path / "images" / "train2017", 2)
    images = [{"id": n, "file_name": f"{n:08d}.jpg"} for n in (1, 2)]
    boxes = [
        {"id": 1, "image_id": 1, "bbox": list(layouts.xywh(0)), "category_id": 3, "iscrowd": 0},
        {"id": 2, "image_id": 1, "bbox": [1, 1, 5, 5], "category_id": 3, "iscrowd": 1},
    ]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 3, "name": "cat"}]}
    layouts.write(tmp_path / "annotations" / "instances_train2017.json", json.dumps(content))
    [sequence] = open_set(str(tmp_path)).sequences
    assert len(sequence.frames) == 1 and sequence.track.kind == "cat"
    assert np.allclose(sequence.track.boxes, EXPECTED[:1])
    videos = {
        "videos": [{"id": 7, "name": "a/b"}],
        "images": [{"id": n, "video_id": 7, "frame_id": 2 - n, "file_name": f"{n:08d}.jpg"} for n in (1, 2)],
        "annotations": [{"id": 5, "image_id": 2, "track_id": 4, "bbox": list(layouts.xywh(0))}],
    }
    layouts.write(tmp_path / "images" / "train2017" / "videos.json", json.dumps(videos))
    [video] = open_set(str(tmp_path / "images" / "train2017" / "videos.json")).sequences
    assert video.name == "a-b" and video.tracks["4"].present.tolist() == [True, False]
    for outside in ("../../secret.jpg", "/etc/secret.jpg"):
        videos["images"][0]["file_name"] = outside  # type: ignore[index]
        layouts.write(tmp_path / "images" / "train2017" / "videos.json", json.dumps(videos))
        with pytest.raises(InputError, match="names the picture"):
            open_set(str(tmp_path / "images" / "train2017" / "videos.json"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"annotations": ["a box"]}, "annotations is no list"),
        ({"images": None}, "images is no list"),
        ({"categories": None}, "categories is no list"),
        ({"images": [], "videos": [7]}, "videos is no list"),
        ({"annotations": [{"image_id": 1, "bbox": [10**400, 1, 5, 5]}]}, "not laid out as COCO"),
        ({"annotations": [{"image_id": 1, "bbox": [1, 5, 5]}]}, "not laid out as COCO"),
        ({"annotations": [{"image_id": 1}]}, "lacks 'bbox'"),
    ],
)
def test_files_that_are_not_laid_out_as_coco(content: dict[str, object], words: str, tmp_path: Path) -> None:
    whole = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": []}
    layouts.write(tmp_path / "a.json", json.dumps({**whole, **content}))
    with pytest.raises(InputError, match=words) as error:
        read_coco(tmp_path / "a.json")
    assert "\n" not in str(error.value)


def test_folders_are_listed_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "WORTHWHILE", 1)
    looked: list[Path] = []
    monkeypatch.setattr(listing, "frame_files", lambda folder: looked.append(folder) or frame_files(folder))
    layouts.tnl2k(tmp_path / "data")
    first, again = (open_set(str(tmp_path / "data")).sequences[0] for _ in range(2))
    assert len(looked) == 1
    Image.new("RGB", (7, 5)).save(tmp_path / "data" / "Cat_video_01-Done" / "imgs" / "00001.png")
    assert again.frames.size == (layouts.WIDTH, layouts.HEIGHT)  # known without a look at the picture
    assert first.frames.files == again.frames.files and len(first.frames) == layouts.FRAMES  # type: ignore[attr-defined]
    folder = tmp_path / "data" / "Cat_video_01-Done" / "imgs"
    (folder / "00006.png").unlink()
    with pytest.raises(InputError, match="6 boxes of 1 for 5 frames"):
        open_set(str(tmp_path / "data"))
    assert len(looked) == 2


@pytest.mark.parametrize(
    "names", [["0.jpg", "1.jpg"], ["f_009.png", "f_010.png"], ["9.png", "10.png"], ["1.jpg", "3.jpg"]]
)
def test_names_of_frames_are_packed_without_loss(names: list[str]) -> None:
    assert listing._names(listing._packed(names)) == names
    assert listing._names(json.loads(json.dumps(listing._packed(names)))) == names


def test_polygons_become_the_box_of_their_corners_where_that_is_asked_for(tmp_path: Path) -> None:
    layouts.vot(tmp_path)
    for source in (tmp_path, tmp_path / "bag"):
        boxes = open_set(str(source), format="corners").sequences[0].track.boxes
        assert np.allclose(boxes, EXPECTED)
        assert not np.allclose(open_set(str(source)).sequences[0].track.boxes, EXPECTED)


def test_polygons_by_both_rules() -> None:
    square = (0.0, 5.0, 5.0, 0.0, 10.0, 5.0, 5.0, 10.0)
    assert polygon_box(square, "corners") == (0, 0, 10, 10)
    x, y, width, height = polygon_box(square, "area")
    assert width == height == pytest.approx(50**0.5 + 1) and x + width / 2 == pytest.approx(5) == pytest.approx(
        y + height / 2
    )


@pytest.mark.parametrize(
    "text", ["1,2,3,4\n5 6 7 8\n", "1\t2\t3\t4\n5;6;7;8\n\n \n", "\ufeff1, 2, 3, 4\r\n5,6,7,8\r\n"]
)
def test_files_of_boxes_of_any_hand(text: str, tmp_path: Path) -> None:
    layouts.write(tmp_path / "a.txt", text)
    assert read_boxes(tmp_path / "a.txt").tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2,3\n", "line 1: 3 numbers"),
        ("1,2,3,4\n1,2,x,4\n", "line 2: 'x' is no number"),
        ("m12,3,4\n", "is a mask"),
        ("1\n", "VOT's code 1"),
        ("1,2,inf,4\n", "infinite"),
        ("\n \n", "holds no box"),
    ],
)
def test_files_of_boxes_that_are_none(text: str, words: str, tmp_path: Path) -> None:
    layouts.write(tmp_path / "a.txt", text)
    with pytest.raises(InputError, match=words) as error:
        read_boxes(tmp_path / "a.txt")
    assert "\n" not in str(error.value)


def test_absent_objects_are_nan_or_empty(tmp_path: Path) -> None:
    layouts.frames(tmp_path / "s")
    layouts.write(tmp_path / "s" / "groundtruth.txt", "nan,nan,nan,nan\n0,0,0,0\n" + layouts.lines(count=4))
    track = open_set(str(tmp_path / "s")).sequences[0].track
    assert track.present.tolist() == [False, False, True, True, True, True] and track.first == 2


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1.jpg", "01.jpg"], "both frame 1"),
        (["1.jpg", "1.png"], "several kinds"),
        (["1.jpg", "2.PNG"], "several kinds"),
        (["1.jpg", "cover.jpg"], "order is unknown"),
        (["a.jpg", "b.jpg"], "order is unknown"),
        (["a.txt"], "holds no frame"),
    ],
)
def test_folders_whose_order_is_unknown(names: list[str], words: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=words):
        frame_files(tmp_path)


@pytest.mark.parametrize("name", ["../../etc", "/etc", "..", "a/b", "..\\etc"])
def test_a_sequence_name_leads_out_of_no_folder(name: str, tmp_path: Path) -> None:
    layouts.got10k(tmp_path)
    layouts.write(tmp_path / "train" / "list.txt", f"{name}\n")
    with pytest.raises(InputError, match="no name of a sequence"):
        open_set(f"{tmp_path}:train")


def test_boxes_and_frames_must_be_as_many(tmp_path: Path) -> None:
    layouts.frames(tmp_path / "s")
    layouts.write(tmp_path / "s" / "groundtruth.txt", layouts.lines(count=4))
    with pytest.raises(InputError, match="4 boxes of 1 for 6 frames"):
        open_set(str(tmp_path / "s"))


def test_pictures_of_any_kind_become_red_green_and_blue(tmp_path: Path) -> None:
    red = Image.new("RGB", (6, 4), (200, 10, 20))
    red.save(tmp_path / "a.png")
    red.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    red.convert("RGBA").save(tmp_path / "rgba.png")
    red.convert("L").save(tmp_path / "grey.png")
    Image.fromarray(np.full((4, 6), 30000, np.uint16)).save(tmp_path / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    red.save(tmp_path / "turned.jpg", exif=turned)
    turned[0x0112] = 8
    red.save(tmp_path / "other.jpg", exif=turned)
    red.convert("CMYK").save(tmp_path / "cmyk.tif")
    red.convert("LA").save(tmp_path / "grey_and_opaque.png")
    red.quantize(4).save(tmp_path / "palette.png", transparency=3)
    Image.fromarray(np.full((4, 6), 30000, np.uint16)).save(tmp_path / "deep.tif")
    assert read_picture(tmp_path / "a.png")[0, 0].tolist() == [200, 10, 20]
    assert abs(read_picture(tmp_path / "cmyk.jpg")[0, 0].astype(int) - [200, 10, 20]).max() < 12
    assert read_picture(tmp_path / "rgba.png")[0, 0].tolist() == [200, 10, 20]
    assert read_picture(tmp_path / "grey.png").shape == (4, 6, 3)
    assert read_picture(tmp_path / "deep.png")[0, 0].tolist() == [117, 117, 117]
    assert read_picture(tmp_path / "turned.jpg").shape == (6, 4, 3)
    assert read_picture(tmp_path / "other.jpg").shape == (6, 4, 3)
    assert abs(read_picture(tmp_path / "cmyk.tif")[0, 0].astype(int) - [200, 10, 20]).max() < 12
    assert read_picture(tmp_path / "grey_and_opaque.png").shape == (4, 6, 3)
    assert read_picture(tmp_path / "palette.png")[0, 0].tolist() == [200, 10, 20]
    assert read_picture(tmp_path / "deep.tif")[0, 0].tolist() == [117, 117, 117]


def test_first_boxes_of_every_form(tmp_path: Path) -> None:
    forms = {
        "samurai.txt": "10,20,30,40\n",
        "several.txt": "10 20 30 40\n1 2 3 4\n",
        "mot.txt": "3,7,11,21,30,40,1,-1,-1,-1\n4,7,12,21,30,40,1,-1,-1,-1\n",
        "names.json": json.dumps({"dog": [10, 20, 30, 40]}),
        "anew.json": json.dumps(
            [{"name": "dog", "box": [10, 20, 30, 40]}, {"name": "dog", "box": [1, 2, 3, 4], "frame": 9}]
        ),
        "coco.json": json.dumps(
            {"images": [{"id": 5}], "annotations": [{"image_id": 5, "track_id": 2, "bbox": [10, 20, 30, 40]}]}
        ),
        "groundtruth.txt": "10,20,30,40\n11,20,30,40\n",
    }
    for name, text in forms.items():
        layouts.write(tmp_path / name, text)
    read = {name: read_first_boxes(tmp_path / name) for name in forms}
    assert {name: starts[0].box for name, starts in read.items()} == dict.fromkeys(forms, (10, 20, 30, 40))
    assert [(one.name, one.frame) for one in read["mot.txt"]] == [("7", 2)]
    assert [one.name for one in read["several.txt"]] == ["1", "2"]
    assert [(one.name, one.frame) for one in read["anew.json"]] == [("dog", 0), ("dog", 9)]
    assert len(read["groundtruth.txt"]) == 1


def test_frames_of_a_sample_run_in_one_direction_and_stay_near() -> None:
    rng, visible = np.random.default_rng(0), np.arange(0, 3000, 2)
    directions = set()
    for _ in range(200):
        five = FrameSampling().frames(visible, 3000, rng)
        assert five is not None
        steps = np.diff(five)
        assert (steps >= 0).all() or (steps <= 0).all()
        directions.add(bool(five[0] <= five[-1]))
        assert abs(five[-1] - five[0]) <= 200 + 200 + 400
    assert directions == {True, False}


def test_tracks_of_few_frames_end_their_tries() -> None:
    rng = np.random.default_rng(0)
    for count in range(4):
        assert FrameSampling().frames(np.arange(count), 100, rng) is None
    assert FrameSampling().frames(np.array([0]), 1, rng).tolist() == [0] * 5  # type: ignore[union-attr]


def test_sets_have_equal_weight_and_every_sequence_its_turn() -> None:
    sets = [open_set("world:train:3"), open_set("world:train:7")]
    order = SequenceOrder(sets, seed=1)
    places = [order.at(draw) for draw in range(42)]
    assert sum(place.set == 0 for place in places) == 21
    for own, size in ((0, 3), (1, 7)):
        turns = [place.sequence for place in places if place.set == own]
        for start in range(0, 21, size):
            assert sorted(turns[start : start + size]) == list(range(size))


def _data(**options: object) -> TrackingData:
    data = TrackingData("world:train:6", "world:val:3", samples_per_epoch=8, val_samples=4, batch_size=4, **options)  # type: ignore[arg-type]
    data.meet(56, 126, 14)
    return data


def test_a_batch_holds_what_model_and_losses_take() -> None:
    batch = next(iter(_data().train_dataloader()))
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "templates": (4, 3, 3, 56, 56),
        "masks": (4, 3, 4, 4),
        "searches": (4, 2, 3, 126, 126),
        "positives": (4, 2, 9, 9),
        "boxes": (4, 2, 4),
    }
    assert batch["positives"].flatten(2).any(2).all() and batch["masks"].flatten(2).any(2).all()
    sides = batch["boxes"][..., 2:] - batch["boxes"][..., :2]
    assert (sides * 126 >= 10 - 1e-3).all() and batch["boxes"].min() >= 0 and batch["boxes"].max() <= 1


def test_samples_are_others_in_each_epoch_and_the_same_for_a_seed() -> None:
    torch.manual_seed(3)
    loader = _data().train_dataloader()
    one, two = [b["boxes"] for b in loader], [b["boxes"] for b in loader]
    assert not torch.equal(torch.cat(one), torch.cat(two))
    torch.manual_seed(3)
    assert torch.equal(torch.cat(one), torch.cat([b["boxes"] for b in _data().train_dataloader()]))


def test_frames_that_cannot_be_read_are_left_out_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layouts.frames(tmp_path / "s", 8)
    layouts.write(tmp_path / "s" / "groundtruth.txt", layouts.lines(count=8))
    (tmp_path / "s" / "00000003.jpg").write_bytes(b"no picture")
    data = TrackingData(str(tmp_path / "s"), None, samples_per_epoch=12, batch_size=4)
    data.meet(56, 126, 14)
    assert sum(len(batch["boxes"]) for batch in data.train_dataloader()) == 12
    assert capsys.readouterr().err.count("left out of training") == 1


def test_validation_samples_stay_the_same() -> None:
    loader = _data().val_dataloader()
    first, second = [b["searches"] for b in loader], [b["searches"] for b in loader]
    assert torch.equal(torch.cat(first), torch.cat(second))


def test_flips_take_the_box_along_and_each_crop_is_flipped_by_itself() -> None:
    rng = np.random.default_rng(2)
    crop, box, sides = torch.zeros(3, 28, 28), np.array([2.0, 3.0, 9.0, 12.0]), set()
    crop[:, 3:12, 2:9] = 1
    for _ in range(20):
        pictures, boxes = augmented([crop] * 5, [box] * 5, rng)
        for picture, moved in zip(pictures, boxes, strict=True):
            left = int(moved[0])
            change = (picture - picture[:, 27:, 14:15]).abs().mean(0)  # (28, 28): how far from the background
            half = change[:, :14] if left == 2 else change[:, 14:]
            assert half.sum() >= 0.9 * change.sum()
            sides.add((len({tuple(one) for one in boxes}), left))
    assert {left for _, left in sides} == {2, 19} and 2 in {count for count, _ in sides}


def test_positive_cells_are_those_that_the_box_touches() -> None:
    assert crops.cells(np.array([13.9, 14.0, 28.0, 28.1]), 126, 14).tolist() == [0, 1, 2, 3]
    assert crops.cells(np.array([30.0, 30.0, 30.5, 30.5]), 126, 14).tolist() == [2, 2, 3, 3]


def test_a_source_that_is_none_says_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for source, words in (
        (str(tmp_path), "laid out as none"),
        ("./nowhere", "no such file"),
        ("world:best", "world:SPLIT"),
    ):
        with pytest.raises(InputError, match=words):
            open_set(source)
