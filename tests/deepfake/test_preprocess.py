"""Faces cut out of videos into a tree of their own, and the masks of what was forged."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.deepfake.data import world
from domains.deepfake.data.preprocess import _mask_of, preprocess
from suite.errors import InputError
from suite.media.video_writing import video_writer


def test_faces_are_cut_into_a_tree_of_their_own_and_a_second_call_goes_on(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "set"
    (source / "real").mkdir(parents=True)
    (source / "lists.txt").write_text("real/clip\n")
    for name in ("clip.mp4", "empty.mkv.mp4"):
        (source / "real" / name).write_bytes((home / "media" / name).read_bytes())
    out = tmp_path / "faces"
    told = preprocess(source, out=out, detector="haar", num_frames=3)
    assert told["with_face"] == 1 and told["files"] == 2 and told["failed"] == 0
    pictures = sorted((out / "real" / "clip").iterdir())
    assert [path.name for path in pictures] == ["000.png", "002.png", "005.png"]
    assert Image.open(pictures[0]).size == (256, 256)
    assert (out / "lists.txt").is_file()
    for path in pictures:
        path.unlink()
    preprocess(source, out=out, detector="haar", num_frames=3)
    assert not list((out / "real" / "clip").iterdir())  # noted as done, and not cut again
    with pytest.raises(InputError, match="cut with frames 3, now 4"):
        preprocess(source, out=out, detector="haar", num_frames=4)
    with pytest.raises(InputError, match="native belongs to protocol gend"):
        preprocess(source, out=tmp_path / "x", target_size="native")


def test_gend_takes_frames_from_the_middle_until_enough_have_a_face(home: Path, tmp_path: Path) -> None:
    told = preprocess(
        home / "media" / "clip.mp4", out=tmp_path, protocol="gend", detector="haar", num_frames=2, target_size="native"
    )
    names = sorted(path.name for path in (tmp_path / "clip").iterdir())
    assert names == ["000.png", "003.png"] and told["mode"] == "at_least"


def test_masks_of_faceforensics_lie_in_itself_whatever_the_compression(tmp_path: Path) -> None:
    forgery = tmp_path / "manipulated_sequences" / "Deepfakes"
    video, mask = forgery / "c23" / "videos" / "000_003.mp4", forgery / "masks" / "videos" / "000_003.mp4"
    for path in (video, mask):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    assert _mask_of(video, tmp_path, tmp_path) == mask
    assert _mask_of(video, tmp_path, None) is None
    mask.unlink()
    assert _mask_of(video, tmp_path, tmp_path) is None  # and not the video itself
    other = tmp_path.parent / "masks" / "manipulated_sequences" / "Deepfakes" / "c23" / "videos" / "000_003_mask.mp4"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"")
    assert _mask_of(video, tmp_path, tmp_path.parent / "masks") == other


def test_masks_choose_the_forged_face_and_are_cut_beside_it(home: Path, tmp_path: Path) -> None:
    clip = world.clip(77, "splice", frames=2, size=160)
    source, masks = tmp_path / "set", tmp_path / "masks_of_set"
    source.mkdir()
    masks.mkdir()
    wide = np.concatenate([clip.frames, clip.frames], axis=2)  # the same face twice; the right one is forged
    marks = np.concatenate([0 * clip.masks, clip.masks], axis=2)
    for path, shown in (
        (source / "v.mp4", wide),
        (masks / "v.mp4", (255 * marks[..., None]).astype(np.uint8).repeat(3, 3)),
    ):
        with video_writer(path, Fraction(10)) as writer:
            for frame in shown:
                writer.write(frame)
    preprocess(source, out=tmp_path / "out", detector="haar", num_frames=1, masks=masks)
    mask = np.asarray(Image.open(tmp_path / "out" / "v" / "masks" / "000.png"))
    assert mask.mean() > 20  # of the left face it would be empty


@pytest.mark.parametrize("kind", ["link", "name"])
def test_faces_stay_in_their_folder_and_are_of_one_video_each(kind: str, home: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "set", tmp_path / "out"
    (source / "real").mkdir(parents=True)
    shutil.copy(home / "media" / "clip.mp4", source / "real" / "clip.mp4")
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        out.mkdir()
        (out / "real").symlink_to(tmp_path / "elsewhere")
    else:
        shutil.copy(home / "media" / "clip.mp4", source / "real" / "clip.mov")
    told = preprocess(source, out=out, detector="haar", num_frames=2)
    assert told["failed"] == 1
    assert ("a link leads out of" if kind == "link" else "as those of real/clip.mov do") in told["message"]
    assert not list((tmp_path / "elsewhere").iterdir()) if kind == "link" else (out / "real" / "clip").is_dir()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0, "mode": "fixed_stride"}, "stride 0"),
        ({"scale": float("inf")}, "scale is inf"),
        ({"stride": 5}, "stride 5 is of mode fixed_stride"),
        ({"masks": Path("nowhere")}, "nowhere: no such folder of masks"),
    ],
)
def test_what_cannot_be_cut_is_refused_and_nothing_is_written(options: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "v.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        preprocess(tmp_path / "set", out=tmp_path / "faces", detector="haar", **options)
    assert not (tmp_path / "faces").exists()


def test_a_broken_file_is_told_by_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "v.mp4").write_bytes(b"no video")
    told = preprocess(tmp_path / "set", out=tmp_path / "faces", detector="haar")
    assert told["failed"] == 1 and told["exit_code"] == 2


def test_crops_may_be_as_close_as_the_shipped_ones(home: Path, tmp_path: Path) -> None:
    told = preprocess(home / "media" / "clip.mp4", out=tmp_path, detector="haar", num_frames=2, scale=0.9)
    assert told["with_face"] == 1
