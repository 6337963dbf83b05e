"""One's own videos, from real/ and fake/ to a trained adapter in one command."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.deepfake.data import world
from domains.deepfake.data.datamodule import DeepfakeData
from domains.deepfake.data.datasets import own_videos
from domains.deepfake.data.sources import Options, open_set
from suite import training
from suite.errors import InputError
from suite.media.video_writing import video_writer
from tests.deepfake.small import experiment, write_base


def write_video(path: Path, number: int, family: str, size: int = 128, frames: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer(path, Fraction(10)) as writer:
        for frame in world.clip(number, family, frames=frames, size=size).frames:
            writer.write(frame)


FOUND = (304, 305, 306, 307, 308, 309)
"""Numbers of made people; of most of them the cascades find the face."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "videos"
    for number in FOUND:
        write_video(folder / "real" / f"p{number}.mp4", number, "real")
        write_video(folder / "fake" / f"p{number}.mp4", number, "smooth")
    return folder


def test_videos_train_in_one_command_and_their_faces_are_cut_once(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_base(tmp_path / "base")
    source = str(videos)
    data = {"train": source, "val": f"{source}:val", "val_share": 0.2, "detector": "haar", "video_frames": 2}
    run = training.run(experiment(base, data=data), run_dir=tmp_path / "run")
    assert (run.adapter / "suite.json").is_file()
    faces = videos.parent / "videos-faces"
    cut = sorted(faces.rglob("*.png"))
    assert cut and Image.open(cut[0]).size == (256, 256)
    times = [path.stat().st_mtime_ns for path in cut]
    options = Options(val_share=0.2, cutting=own_videos.Cutting(detector="haar", frames=2))
    found = {split: open_set(f"{source}:{split}", options) for split in ("train", "val")}
    assert [path.stat().st_mtime_ns for path in cut] == times
    seen = {split: {frame.identity for frame in own.frames} for split, own in found.items()}
    assert seen["train"] and seen["val"] and not seen["train"] & seen["val"]
    assert "cutting the faces of" in capsys.readouterr().err


def test_classes_that_differ_as_files_are_told_before_training(tmp_path: Path) -> None:
    for number in range(4):
        write_video(tmp_path / "real" / f"a{number}.mp4", number, "real", 128)
        write_video(tmp_path / "fake" / f"a{number}.mp4", number, "smooth", 64)
    assert any("128 pixels wide and forged ones 64" in notice for notice in own_videos.shortcuts(tmp_path))
    assert own_videos.fits(tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "real" / "face.png")
    assert not own_videos.fits(tmp_path)  # pictures are faces already


@pytest.mark.parametrize("setting", [{"detector": "dlib"}, {"detector_file": "./none.onnx", "detector": "yunet"}])
def test_a_detector_that_is_not_there_ends_training_in_one_line(videos: Path, setting: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"detector|no such file"):
        DeepfakeData(str(videos), None, faces=str(videos.parent / "other"), **setting).setup("fit")  # type: ignore[arg-type]


def test_videos_without_any_face_are_refused_by_the_detectors_name(tmp_path: Path) -> None:
    blank = np.full((96, 96, 3), 90, dtype=np.uint8)
    for name in ("real", "fake"):
        (tmp_path / "v" / name).mkdir(parents=True)
        with video_writer(tmp_path / "v" / name / "a.mp4", Fraction(10)) as writer:
            writer.write(blank)
            writer.write(blank)
    with pytest.raises(InputError, match="haar:frontalface_alt2 finds no face in any of 2 videos"):
        DeepfakeData(str(tmp_path / "v"), None, detector="haar").setup("fit")
