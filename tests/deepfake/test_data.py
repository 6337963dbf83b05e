"""Frames of faces: selection, alignment, lists, the layouts of data sets, one's own folders, the made world."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.deepfake.data import alignment, selection, world
from domains.deepfake.data.datamodule import augmentation
from domains.deepfake.data.datasets import benchmarks, frame_lists, own_folder
from domains.deepfake.data.detection import Face, overlapping
from domains.deepfake.data.frame_set import label_of, limited, open_picture, shuffled, source_of, video_ids
from domains.deepfake.data.sources import Options, open_set, open_sets, parsed
from suite.errors import InputError
from suite.media import portraits


def picture(path: Path, size: int = 24, seed: int = 0, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)  # type: ignore[arg-type]
    return path


def test_frames_evenly_spread_and_farthest_first() -> None:
    assert selection.evenly(40, 4) == [0, 13, 26, 39]
    assert selection.evenly(3, 5) == [0, 0, 1, 1, 2]  # a short video repeats frames
    assert selection.strided(25, 10) == [0, 10, 20]
    assert list(selection.farthest_first(12)) == [6, 0, 11, 3, 8, 1, 2, 4, 5, 7, 9, 10]
    assert list(selection.farthest_first(5)) == [2, 0, 4, 1, 3]
    with pytest.raises(InputError, match="0 frames"):
        selection.evenly(0, 4)


@pytest.mark.parametrize("total", [1, 2, 3, 17, 64, 101])
def test_farthest_first_takes_the_index_farthest_from_all_before(total: int) -> None:
    chosen = [total // 2]
    while len(chosen) < total:
        rest = [n for n in range(total) if n not in chosen]
        chosen.append(max(rest, key=lambda n: (min(abs(n - c) for c in chosen), -n)))
    assert list(selection.farthest_first(total)) == chosen


def turned(points: np.ndarray, angle: float, factor: float, shift: tuple[float, float]) -> np.ndarray:
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return factor * points @ rotation.T + shift


@pytest.mark.parametrize("protocol", ["deepfakebench", "gend"])
def test_alignment_takes_landmarks_to_the_template(protocol: str) -> None:
    target = alignment.template(protocol, 256)  # type: ignore[arg-type]
    landmarks = turned(target, 0.3, 0.6, (40, 30))
    find = alignment.similarity if protocol == "deepfakebench" else alignment.robust_similarity
    matrix = find(landmarks, target)
    found = landmarks @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(found, target, atol=1e-2)


def test_the_templates_are_the_published_ones() -> None:
    left_eye = alignment.template("deepfakebench", 256)[0]
    # 38.2946 of 112 at 256 pixels, moved by a margin of 0.15 sides and shrunk by 1.3.
    assert left_eye[0] == pytest.approx((38.2946 * 256 / 112 + 256 * 0.15) / 1.3)
    assert alignment.template("gend", 100, 1.0)[2].tolist() == pytest.approx([50, 64])


def test_the_least_squares_similarity_is_the_best_one() -> None:
    rng = np.random.default_rng(0)
    target = alignment.template("deepfakebench", 256)
    landmarks = turned(target, -0.2, 1.4, (5, 9)) + rng.normal(0, 4, (5, 2))
    # [x, -y, 1, 0] and [y, x, 0, 1] times (a, b, tx, ty), solved directly.
    rows = [[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in landmarks]
    (a, b, tx, ty), *_ = np.linalg.lstsq(np.array(rows).reshape(10, 4), target.ravel(), rcond=None)
    np.testing.assert_allclose(alignment.similarity(landmarks, target), [[a, -b, tx], [b, a, ty]], atol=1e-9)


def test_a_landmark_far_off_does_not_count_for_the_robust_similarity() -> None:
    target = alignment.template("gend", 200)
    landmarks = turned(target, 0.1, 0.8, (3, 4))
    landmarks[2] += 70
    matrix = alignment.robust_similarity(landmarks, target)
    found = landmarks @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(np.delete(found, 2, 0), np.delete(target, 2, 0), atol=0.5)


def test_a_crop_is_black_beyond_the_picture_and_its_mask_is_cut_alike() -> None:
    white = np.full((60, 60, 3), 255, dtype=np.uint8)
    landmarks = alignment.template("deepfakebench", 60) - 30  # a face half outside, at the upper left
    crop = alignment.align(white, landmarks, size=60, mask=white[..., 0])
    assert crop.pixels[:25, :25].max() == 0 and crop.pixels[40:, 40:].min() == 255
    assert crop.mask is not None and np.array_equal(crop.mask, crop.pixels[..., 0])
    native = alignment.align(white, alignment.template("gend", 40, 1.0), "gend", size=None)
    assert native.pixels.shape == (52, 52, 3)  # 40 pixels of template, 1.3 times as wide
    with pytest.raises(InputError, match="one point"):
        alignment.align(white, np.ones((5, 2)))


def test_the_first_eye_is_the_one_at_the_left_of_the_picture() -> None:
    points = np.array([[70, 20], [30, 20], [50, 40], [65, 60], [35, 60]])
    assert alignment.ordered(points).tolist() == [[30, 20], [70, 20], [50, 40], [35, 60], [65, 60]]


def test_the_forged_one_of_two_faces_is_the_one_under_the_mask() -> None:
    faces = [Face((0, 0, 40, 40), 1, np.zeros((5, 2))), Face((60, 0, 80, 20), 1, np.zeros((5, 2)))]
    mask = np.zeros((50, 100), dtype=np.uint8)
    mask[5:15, 62:78] = 255
    assert overlapping(faces, mask) is faces[1]
    assert overlapping(faces, np.zeros_like(mask)) is None


def test_label_source_video_and_identity_come_from_the_path() -> None:
    path = "data/FF/real-c23/012_026/0003.png"
    assert (source_of(path), label_of(source_of(path)), video_ids(path)) == ("real-c23", 0, ("012", "026"))
    assert video_ids("FF/DF/000/1.png") == ("000", "000")
    assert label_of("Celeb-synthesis") == 1


def _listed(root: Path, names: dict[str, list[str]]) -> Path:
    for name, frames in names.items():
        for frame in frames:
            picture(root / name / frame)
    listing = root / "split.txt"
    listing.write_text("\n".join(f"{name}/{frame}" for name, own in names.items() for frame in own) + "\n")
    return listing


def test_lists_are_joined_once_sorted_by_bytes_and_scored_by_name(tmp_path: Path) -> None:
    first = _listed(tmp_path / "a", {"real/Z": ["1.png"], "fake/b": ["1.png", "0.png"]})
    second = tmp_path / "a" / "again.txt"
    second.write_text("fake/b/1.png\n")
    found = frame_lists.read({"A": [first], "B": [second]})
    inside = [Path(frame.path).relative_to(tmp_path / "a").as_posix() for frame in found.frames]
    assert inside == ["fake/b/0.png", "fake/b/1.png", "real/Z/1.png"]
    assert found.labels.tolist() == [1, 1, 0]
    assert [len(found.groups[name]) for name in ("A", "B")] == [3, 1]


def test_what_is_wrong_with_a_list_is_said(tmp_path: Path) -> None:
    listing = _listed(tmp_path, {"fake/a": ["0.png"]})
    with pytest.raises(InputError, match="no real source found; label is taken from the folder name"):
        frame_lists.read([listing])
    listing.write_text("fake/a/0.png\nreal/a/7.png\nreal/a/8.png\n")
    with pytest.raises(InputError, match=r"2 of 3 frames are not there: real/a/7\.png, real/a/8\.png"):
        frame_lists.read([listing])
    listing.write_text("../../etc/passwd\n")
    with pytest.raises(InputError, match="leads out of the list's folder"):
        frame_lists.read([listing])


def test_a_limit_takes_whole_videos_in_the_released_order() -> None:
    paths = sorted(f"d/real/{video}/{frame}.png" for video in "abcd" for frame in range(3))
    videos = [f"d/real/{video}/" for video in "abcd"]
    np.random.RandomState(42).shuffle(videos)
    chosen = limited(paths, 5)
    assert chosen == [f"{videos[0]}{n}.png" for n in range(3)] + [f"{videos[1]}{n}.png" for n in range(2)]


def test_validation_is_shuffled_once_as_released(tmp_path: Path) -> None:
    found = frame_lists.read([_listed(tmp_path, {"real/a": [f"{n}.png" for n in range(5)], "fake/a": ["0.png"]})])
    order = np.random.RandomState(42).permutation(6)
    assert [frame.path for frame in shuffled(found).frames] == [found.frames[n].path for n in order]
    assert found.sources() == {"real": 0, "fake": 1}


def _tree(root: Path, videos: list[str]) -> None:
    for name in videos:
        picture(root / name / "000.png")


def test_faceforensics_and_dfd_by_their_folders_and_pairs(tmp_path: Path) -> None:
    made, real = "manipulated_sequences", "original_sequences/youtube/c23/videos"
    _tree(tmp_path, [f"{real}/000", f"{real}/003", f"{real}/999", f"{made}/Deepfakes/c23/videos/000_003"])
    _tree(tmp_path, [f"{made}/Deepfakes/c23/videos/003_000", "original_sequences/actors/c23/videos/01__walk"])
    _tree(tmp_path, [f"{made}/DeepFakeDetection/c23/videos/01_02__walk__X"])
    (tmp_path / "test.json").write_text('[["000", "003"]]')
    found = open_set(f"{tmp_path}:test")
    assert [(frame.source, frame.identity, frame.label) for frame in found.frames] == [
        ("real", "000", 0),
        ("real", "003", 0),
        ("Deepfakes", "000_003", 1),
        ("Deepfakes", "003_000", 1),
    ]
    videos = benchmarks.videos_of("faceforensics", tmp_path, "test")
    assert videos[2].mask == tmp_path / made / "Deepfakes" / "masks" / "videos" / "000_003"
    dfd = open_set(f"{tmp_path}:test", format="dfd")
    assert [frame.label for frame in dfd.frames] == [0, 1]
    with pytest.raises(InputError, match="for testing alone"):
        open_set(f"{tmp_path}:train", format="dfd")


def test_celebdf_in_whose_list_1_is_real(tmp_path: Path) -> None:
    _tree(tmp_path, ["Celeb-real/id0_0000", "YouTube-real/00000", "Celeb-synthesis/id0_id1_0000"])
    _tree(tmp_path, ["Celeb-synthesis/id2_id3_0000", "Celeb-real/id9_0000"])
    lines = ["1 Celeb-real/id0_0000.mp4", "1 YouTube-real/00000.mp4", "0 Celeb-synthesis/id0_id1_0000.mp4"]
    (tmp_path / "List_of_testing_videos.txt").write_text("\n".join(lines))
    tested = open_set(f"{tmp_path}:test")
    assert [(frame.source, frame.label) for frame in tested.frames] == [
        ("Celeb-real", 0),
        ("YouTube-real", 0),
        ("Celeb-synthesis", 1),
    ]
    trained = open_set(f"{tmp_path}:train")
    assert {Path(frame.video).name for frame in trained.frames} == {"id9_0000", "id2_id3_0000"}


def test_dfdc_ffiw_and_deepspeak(tmp_path: Path) -> None:
    dfdc = tmp_path / "dfdc"
    _tree(dfdc, ["test/aa", "test/bb"])
    (dfdc / "test" / "labels.csv").write_text("filename,label\naa.mp4,1\nbb.mp4,0\ncc.mp4,1\n")
    found = open_set(f"{dfdc}:test")
    assert [frame.label for frame in found.frames] == [1, 0]
    assert found.notices == ("dfdc: 2 of 3 videos have frames; none: cc.mp4",)
    part = tmp_path / "part"
    _tree(part, ["x", "y"])
    (part / "metadata.json").write_text('{"x.mp4": {"label": "FAKE"}, "y.mp4": {"label": "REAL"}}')
    assert [frame.label for frame in open_set(f"{part}:train").frames] == [1, 0]
    ffiw = tmp_path / "ffiw"
    _tree(ffiw, ["source/test/v1", "target/test/v1"])
    assert [frame.label for frame in open_set(f"{ffiw}:test").frames] == [0, 1]
    speak = tmp_path / "speak"
    _tree(speak, ["test/real/a", "test/wav2lip/b", "test/facefusion/c"])
    assert {frame.source: frame.label for frame in open_set(f"{speak}:test").frames} == {
        "real": 0,
        "wav2lip": 1,
        "facefusion": 1,
    }


def test_deepfakebench_json_with_levels_of_compression(tmp_path: Path) -> None:
    frames = [str(picture(tmp_path / "f" / f"{n}.png")) for n in (10, 2)]
    video = {"label": "FF-real", "frames": frames}
    forged = {"label": "FF-DF", "frames": ["f/2.png"], "masks": []}
    content = {"FF": {"FF-real": {"test": {"c23": {"000": video}}}, "FF-DF": {"test": {"c23": {"000_003": forged}}}}}
    file = tmp_path / "FF.json"
    file.write_text(json.dumps(content))
    found = open_set(f"{file}:test")
    assert [(Path(frame.path).name, frame.label) for frame in found.frames] == [
        ("2.png", 0),
        ("10.png", 0),
        ("2.png", 1),
    ]
    with pytest.raises(InputError, match="has no c40"):
        open_set(f"{file}:test", Options(compression="c40"))
    content["FF"]["FF-DF"]["test"]["c23"]["000_003"]["label"] = "FF-XX"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="label 'FF-XX' of video 000_003 is unknown"):
        open_set(f"{file}:test")


def test_no_identity_of_an_own_folder_is_on_both_sides(tmp_path: Path) -> None:
    people = "abcdefghij"
    for number, name in enumerate(people):
        picture(tmp_path / "real" / name / "0.png", seed=number)
        picture(tmp_path / "fake" / f"{name}_{people[(number // 2) * 2]}" / "0.png", seed=number + 50)
    parts = {split: own_folder.read(tmp_path, split, val_share=0.2) for split in ("train", "val", "test")}
    seen = {split: {p for f in found.frames for p in f.identity.split("_")} for split, found in parts.items()}
    assert not seen["train"] & seen["val"] and not seen["train"] & seen["test"] and not seen["val"] & seen["test"]
    assert sum(map(len, parts.values())) == 20
    assert all(set(found.labels.tolist()) == {0, 1} for found in parts.values())


def test_shortcuts_between_the_classes_are_told(tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / "train" / "real" / f"a{number}" / "0.png", size=48, seed=number)
        picture(tmp_path / "train" / "fake" / f"b{number}" / "0.jpg", size=24, seed=number, quality=30)
    notices = own_folder.read(tmp_path, "train").notices
    assert any("48 pixels wide and forged ones 24" in notice for notice in notices)
    assert any("PNG and forged ones JPEG" in notice for notice in notices)
    assert any("show other people" in notice for notice in notices)
    fair = tmp_path / "fair"
    for number in range(6):
        picture(fair / "train" / "real" / f"a{number}" / "0.png", seed=number)
        picture(fair / "train" / "fake" / f"a{number}_a0" / "0.png", seed=number + 9)
    assert own_folder.read(fair, "train").notices == ()


def test_sources_that_are_not_there_are_told(tmp_path: Path) -> None:
    for source, said in (
        ("./nowhere", "no such file or folder"),
        ("faces", "write faces:SPLIT"),
        ("faces:x", "no split"),
    ):
        with pytest.raises(InputError, match=said):
            open_set(source)
    with pytest.raises(InputError, match="not a known data set"):
        open_set(str(tmp_path))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.png: cannot be read as a picture \(not a picture\)"):
        open_picture(tmp_path / "bad.png")


@pytest.fixture(scope="module")
def shot() -> world.Shot:
    own, other = portraits.draw(portraits.person(5), size=96), portraits.draw(portraits.person(6), size=96)
    return world.Shot(own, lambda: other, 0.8, 5)


@pytest.mark.parametrize("family", world.FAMILIES)
def test_every_forgery_changes_the_face_alone(family: str, shot: world.Shot) -> None:
    forged, mask = world.FAMILIES[family](shot)
    difference = np.abs(forged - shot.pixels).mean(-1)
    assert difference[mask > 0.5].mean() > 0.004
    assert difference[mask < 0.01].mean() < 0.002  # what is moved pulls at its surroundings
    assert 0 < (mask > 0.5).mean() < 0.5 and forged.min() >= 0 and forged.max() <= 1


def test_a_real_clip_and_its_forgery_are_of_the_same_moments() -> None:
    real, forged = world.clips(5, ("real", "splice"), frames=2, size=48)
    assert np.array_equal(real.landmarks, forged.landmarks) and real.person == forged.person
    assert real.masks.max() == 0 < forged.masks.max()
    assert np.array_equal(forged.frames, world.clip(5, "splice", frames=2, size=48).frames)
    assert not np.array_equal(real.frames, forged.frames)


def test_clips_are_the_same_every_time_and_no_person_is_in_two_splits() -> None:
    first, second = (world.clip(7, "splice", frames=2, size=48) for _ in range(2))
    assert np.array_equal(first.frames, second.frames)
    casts = {split: {number for number, _ in world.cast(split, 50)} for split in world.SPLITS}
    assert len(set().union(*casts.values())) == 25 * len(world.SPLITS)
    assert {family for _, family in world.cast("unseen", 40)} == {"real", *world.UNSEEN}
    assert not {family for _, family in world.cast("train", 40)} & set(world.UNSEEN)


def test_pictures_of_any_mode_come_as_rgb_turned_as_the_camera_says(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    deep = np.asarray(open_picture(tmp_path / "deep.png"))
    assert np.abs(deep[..., 0].astype(float) - ramp / 257).max() <= 0.5  # pillow cuts 16 bits off at 255
    colored = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    rgb = Image.fromarray(colored)
    for name, made in (("grey", rgb.convert("L")), ("palette", rgb.convert("P")), ("alpha", rgb.convert("RGBA"))):
        made.save(tmp_path / f"{name}.png")
        assert np.asarray(open_picture(tmp_path / f"{name}.png")).shape == (6, 9, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    rgb.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(open_picture(tmp_path / "turned.png")), np.rot90(colored, -1))


def test_several_sources_are_one_and_named_ones_are_scored_apart(tmp_path: Path) -> None:
    real = _listed(tmp_path / "a", {"real/a": ["0.png", "1.png"]})
    fake = _listed(tmp_path / "b", {"DF/a_b": ["0.png"]})
    found = open_sets([str(real), str(fake)])
    assert found.labels.tolist() == [0, 0, 1]  # of one list alone there would be no real source
    named = open_sets({"FF": [str(real), str(fake)], "again": [str(fake)]})
    assert {name: len(own) for name, own in named.groups.items()} == {"FF": 3, "again": 1}
    mixed = open_sets(["faces:val:2", "faces:test:2"])
    assert len(mixed) == 16 and mixed.open(mixed.frames[0]).size == (world.CROP, world.CROP)
    assert parsed(str(real)) == (str(real), [str(real)])
    assert parsed(f"X={real},{fake}") == ("X", [str(real), str(fake)])
    with pytest.raises(InputError, match="empty list of sources"):
        open_sets([])
    with pytest.raises(InputError, match=r"gone\.txt: no such file"):
        open_sets([str(real), str(tmp_path / "gone.txt")])


def test_a_limit_counts_over_all_lists(tmp_path: Path) -> None:
    real = _listed(tmp_path / "a", {f"real/{n}": ["0.png", "1.png"] for n in range(3)})
    fake = _listed(tmp_path / "b", {f"DF/{n}_0": ["0.png", "1.png"] for n in range(3)})
    assert len(open_sets([str(real), str(fake)], Options(limit=5))) == 5


def test_faceshifter_is_a_data_set_of_its_own_and_forgeries_are_scored_apart(tmp_path: Path) -> None:
    made, real = "manipulated_sequences", "original_sequences/youtube/c23/videos"
    _tree(tmp_path, [f"{real}/000", f"{real}/003"])
    for forgery in ("Deepfakes", "NeuralTextures", "FaceShifter"):
        _tree(tmp_path, [f"{made}/{forgery}/c23/videos/000_003", f"{made}/{forgery}/c23/videos/003_000"])
    (tmp_path / "test.json").write_text('[["000", "003"]]')
    (tmp_path / "train.json").write_text('[["000", "003"]]')
    trained = open_set(f"{tmp_path}:train")
    assert {frame.source for frame in trained.frames} == {"real", "Deepfakes", "NeuralTextures"}
    assert {name: len(own) for name, own in trained.groups.items()} == {"Deepfakes": 4, "NeuralTextures": 4}
    tested = open_set(f"{tmp_path}:test", format="faceshifter")
    assert {frame.source for frame in tested.frames} == {"real", "FaceShifter"}
    with pytest.raises(InputError, match="FaceShifter is for testing alone"):
        open_set(f"{tmp_path}:train", format="faceshifter")


def test_gends_augmentation_blurs_one_picture_in_ten() -> None:
    white = Image.fromarray(np.kron(np.indices((16, 16)).sum(0) % 2, np.ones((4, 4))).astype(np.uint8) * 255)
    white = white.convert("RGB")
    torch.manual_seed(0)
    blur = augmentation("gend").transforms[2]
    blurred = sum(not np.array_equal(np.asarray(blur(white)), np.asarray(white)) for _ in range(400))
    assert 20 < blurred < 60
    assert augmentation("none") is None and len(augmentation("published").transforms) == 5


def test_made_clips_are_as_many_as_the_source_says_and_of_as_many_frames() -> None:
    assert [len(open_set(f"faces:test{rest}", Options(frames=3))) for rest in (":2", ":2:1", ":4:2")] == [6, 2, 8]
    assert len(open_set("faces:test", Options(frames=1))) == 400
    for source in ("faces:test:0", "faces:test:2:x", "faces:test:2:1:1"):
        with pytest.raises(InputError, match="with :CLIPS and :FRAMES"):
            open_set(source)
