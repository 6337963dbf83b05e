"""The acceptance list of tracking, on the embedded default and real clips: what the command gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domains.tracking.data.readers.mot import read_mot
from domains.tracking.data.sources import open_set
from suite.cli.main import main
from suite.media.video import frame_times, probe
from tests.real_data import real_data
from tests.tracking import footage

BAG = "video/vot15_bag"
CUT = 24


def _command(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main([*map(str, argv), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_real_clip_gives_every_file_and_an_auc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, out = real_data(BAG), tmp_path / "out"
    code, answer = _command(capsys, "tracking", "predict", clip, "--max-frames", CUT, "--out", out)
    assert code == 0 and answer["results"][0]["frames"] == CUT
    boxes = np.loadtxt(out / "vot15_bag.txt", delimiter=",")
    stored = json.loads((out / "vot15_bag.json").read_text())
    mot = read_mot(out / "vot15_bag.mot.txt", CUT)
    assert boxes.shape == (CUT, 4) and len(stored["frames"]) == CUT and mot["1"].present.all()
    assert len(frame_times(out / "vot15_bag.annotated.mp4")) == CUT
    info = probe(out / "vot15_bag.annotated.mp4")
    assert (info.width, info.height) == open_set(str(clip)).sequences[0].frames.size
    code, answer = _command(capsys, "tracking", "evaluate", clip, "--max-frames", CUT)
    assert code == 0 and 0 < answer["tiny"]["auc"] <= 20 / 21


def test_a_video_with_two_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, out = real_data("video/01_dog.mp4"), tmp_path / "out"
    boxes = ("--box", "540,390,150,170", "--box", "330,190,110,190", "--name", "dog,woman")
    code, answer = _command(capsys, "tracking", "predict", clip, *boxes, "--max-frames", 6, "--out", out)
    assert code == 0 and [one["id"] for one in answer["results"][0]["objects"]] == ["dog", "woman"]
    assert {path.name for path in out.glob("*.txt")} == {"01_dog.txt", "01_dog.woman.txt", "01_dog.mot.txt"}
    copy, original = probe(out / "01_dog.annotated.mp4"), probe(clip)
    assert (copy.width, copy.height, copy.fps) == (original.width, original.height, original.fps)


def test_the_copy_of_a_whole_video_has_its_frames_rate_and_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = footage.video(tmp_path / "squares.mp4", 30), tmp_path / "out"
    code, _ = _command(capsys, "tracking", "predict", clip, "--optional_box", 10, 12, 14, 14, "--out", out)
    copy, original = probe(out / "squares.annotated.mp4"), probe(clip)
    assert code == 0 and (copy.width, copy.height, copy.fps) == (original.width, original.height, original.fps)
    assert np.allclose(frame_times(out / "squares.annotated.mp4"), frame_times(clip))


def test_what_a_user_gets_wrong_at_the_prompt_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = footage.video(tmp_path / "squares.mp4", 5), tmp_path / "out"
    for wrong in (["--box", "1,2,3"], [], ["--box", "200,200,9,9"], ["--first-boxes", str(tmp_path / "none.txt")]):
        capsys.readouterr()
        assert main(["tracking", "predict", str(clip), *wrong, "--out", str(out)]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and said[0].startswith("error: ")
        assert not list(out.glob("squares*"))
