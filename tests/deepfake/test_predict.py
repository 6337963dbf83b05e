"""What users hand to a detector, and what it answers: pictures, videos, lists, cameras."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.deepfake import DeepfakeDetector
from domains.deepfake.data import detection, world
from domains.deepfake.inference import frames
from domains.deepfake.model.manifest import Manifest
from domains.deepfake.output.result import DetectionResult, How
from suite.cli.main import main
from suite.errors import InputError
from suite.media.video import Frame, probe, read_frames
from suite.media.video_writing import video_writer
from tests.deepfake.small import face


def test_a_folder_of_pictures_and_videos_gives_tables_and_annotated_copies(
    home: Path, detector: DeepfakeDetector, tmp_path: Path
) -> None:
    results = {
        Path(r.source).name: r for r in detector.predict(home / "media", out=tmp_path, frames=3, keep_crops=True)
    }
    assert {name: result.status for name, result in results.items()} == {
        "face.png": "ok",
        "clip.mp4": "ok",
        "nobody.jpg": "no_face",
        "empty.mkv.mp4": "no_face",
    }
    clip = results["clip.mp4"]
    assert clip.frames_read == 3 and [face.frame for face in clip.faces] == [0, 2, 5]
    assert len(clip.tracks) == 1
    assert clip.p_fake == pytest.approx(np.mean([face.p_fake for face in clip.faces]))
    rows = list(csv.DictReader((tmp_path / "faces.csv").open()))
    faces = [row for row in rows if row["status"] == "ok"]
    assert len(faces) == 4 and all(0 <= float(row["p_fake"]) <= 1 for row in faces)
    assert all((tmp_path / row["crop"]).is_file() for row in faces)
    assert {row["detector"] for row in rows} == {"haar:frontalface_alt2"}
    nobody = [row for row in rows if row["status"] == "no_face"]
    assert len(nobody) == 2 and all(row["p_fake"] == "" for row in nobody)
    lines = [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()]
    assert len(lines) == len(rows)
    summary = {Path(row["path"]).name: row for row in csv.DictReader((tmp_path / "summary.csv").open())}
    assert float(summary["clip.mp4"]["p_fake_max"]) == pytest.approx(max(f.p_fake for f in clip.faces))
    assert summary["nobody.jpg"]["decision"] == "no_face"
    copy = probe(tmp_path / "clip.annotated.mp4")
    assert (copy.width, copy.height) == (160, 160)
    assert sum(1 for _ in read_frames(tmp_path / "clip.annotated.mp4")) == 6
    original = np.asarray(Image.open(home / "media" / "face.png"))
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "face.annotated.png")), original)
    for name in ("contact_sheet.png", "clip.timeline.png", "face.json"):
        assert (tmp_path / name).is_file()


def test_no_face_is_an_answer_of_the_command_and_what_cannot_be_read_is_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--adapter", str(home / "adapter"), "--base", str(home / "base")]
    assert main(["deepfake", "predict", str(home / "media" / "nobody.jpg"), *words]) == 0
    assert "no face found in the picture; nothing to judge" in capsys.readouterr().out
    for name, content in (("cut.jpg", b"\xff\xd8\xff"), ("cut.mp4", b"no video"), ("notes.txt", b"words")):
        (tmp_path / name).write_bytes(content)
    bad = [str(tmp_path / name) for name in ("cut.jpg", "cut.mp4", "notes.txt", "absent.png")]
    assert main(["deepfake", "predict", str(home / "media" / "face.png"), *bad, *words]) == 2
    said = capsys.readouterr()
    assert "face.png" in said.out and "1 done, 4 failed" in said.out
    lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 4
    assert "not a picture" in said.err and "neither a picture" in said.err and "no such file" in said.err
    assert "Traceback" not in said.err


def test_the_next_inputs_are_read_while_the_model_has_one_and_errors_stay_their_own(
    detector: DeepfakeDetector, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["0.png", "1.png", "cut.jpg", "3.png"]
    for name in names:
        shutil.copy(home / "media" / "face.png", tmp_path / name)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    opened, second, readers = [], threading.Event(), set()
    read, score = frames.open_picture, detector.predict_crops

    def reading(path: Path) -> Image.Image:
        opened.append(Path(path).name)
        readers.add(threading.current_thread())
        if len(opened) == 2:
            second.set()
        return read(path)

    def scoring(crops: list[np.ndarray]) -> np.ndarray:
        assert second.wait(60), "nothing was read while the model had the first picture"
        return score(crops)

    monkeypatch.setattr(frames, "open_picture", reading)
    monkeypatch.setattr(detector, "predict_crops", scoring)
    results = list(detector.predict([tmp_path / name for name in names]))
    assert [Path(result.source).name for result in results] == names == opened
    assert [result.error is None for result in results] == [True, True, False, True]
    assert len({result.faces[0].p_fake for result in results if result.faces}) == 1
    assert threading.current_thread() not in readers and not any(reader.is_alive() for reader in readers)


def test_what_is_said_beside_a_score(detector: DeepfakeDetector, home: Path) -> None:
    result = detector(home / "media" / "face.png")
    record = result.to_dict()
    assert "no proof" in record["scope"] and "nothing" in record["scope"]  # what it was trained on
    assert record["decision"] in ("likely manipulated", "no sign of manipulation")
    assert any("Haar cascades" in notice for notice in result.notices)
    points = np.zeros((5, 2))
    assert detection.Face((0, 0, 39, 39), 0.9, points).low_quality
    assert detection.Face((0, 0, 90, 90), 0.6, points).low_quality
    assert not detection.Face((0, 0, 90, 90), 0.9, points).low_quality


def test_crops_are_scored_as_they_are_in_batches_of_any_size(detector: DeepfakeDetector, home: Path) -> None:
    crop = np.asarray(Image.open(home / "media" / "face.png"))
    as_given = detector(home / "media" / "face.png", detector="crops")
    assert as_given.faces[0].p_fake == pytest.approx(float(detector.predict_crops([crop])[0]), abs=1e-6)
    options = {"detector": "crops", "frames": 5}
    one, many = (detector(home / "media" / "clip.mp4", batch_size=size, **options) for size in (1, 4))
    assert [f.p_fake for f in one.faces] == pytest.approx([f.p_fake for f in many.faces], abs=1e-6)


def test_a_camera_is_looked_at_a_few_times_a_second(
    detector: DeepfakeDetector, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def camera(source: str, *, fps: float) -> Iterator[Frame]:
        asked[source] = fps
        for number in itertools.count():  # without an end
            yield Frame(number / fps, np.asarray(Image.open(home / "media" / "face.png")), number)

    monkeypatch.setattr(frames, "read_frames", camera)
    [result] = detector.predict("webcam", frames=3)
    assert asked == {"webcam": 4.0} and result.kind == "video" and result.frames_read == 3
    assert [face.time for face in result.faces] == [0.0, 0.25, 0.5] and len(result.tracks) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [({"frames": 0}, "frames is 0"), ({"threshold": 2.0}, "threshold is 2"), ({"detector": "scrfd"}, "non-commercial")],
)
def test_options_out_of_range_are_refused(detector: DeepfakeDetector, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        list(detector.predict(["x.png"], **options))


def test_a_video_is_judged_by_its_most_suspicious_person_who_is_there_long_enough() -> None:
    real = [face(t, 0.1) for t in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)]
    forged = [face(t, 0.9, 1, 50) for t in (2.0, 3.0)]
    passing = [face(5.0, 1.0, 2, 90)]
    result = DetectionResult("v.mp4", kind="video", faces=(*real, *forged, *passing), how=How(threshold=0.5))
    assert result.p_fake == pytest.approx(0.9) and result.decision == "likely manipulated"
    assert result.suspicious_span == (2.0, 3.0)
    assert result.frames_with_face == 8 and len(result.tracks) == 3
    calm = DetectionResult("v.mp4", kind="video", faces=tuple(real), how=How(threshold=0.5))
    assert calm.suspicious_span is None and calm.p_fake == pytest.approx(0.1)
    assert DetectionResult("v.mp4", status="no_face").p_fake is None


def test_a_result_says_which_threshold_and_where_it_is_from(detector: DeepfakeDetector, home: Path) -> None:
    result = detector(home / "media" / "face.png")
    assert "threshold 0.500, uncalibrated" in str(result) and result.to_dict()["threshold_from"] == "uncalibrated"
    assert "threshold 0.900, as asked for" in str(detector(home / "media" / "face.png", threshold=0.9))
    known = Manifest(calibrated_on="faces:val:320", threshold_rule="eer")
    assert known.origin == "eer on faces:val:320"


def test_the_largest_face_of_each_frame_alone_gives_the_benchmarks_mean(
    detector: DeepfakeDetector, home: Path, tmp_path: Path
) -> None:
    """Two people in turn, far apart: two tracks, or one video of one mean."""
    clip = world.clip(77, "splice", frames=4, size=160)
    with video_writer(tmp_path / "turns.mp4", Fraction(10)) as writer:
        for number, frame in enumerate(clip.frames):
            wide = np.full((160, 480, 3), 90, dtype=np.uint8)
            left = 320 * (number % 2)
            wide[:, left : left + 160] = frame
            writer.write(wide)
    followed = detector(tmp_path / "turns.mp4", detector="haar")
    alone = detector(tmp_path / "turns.mp4", detector="haar", face="largest")
    assert len(followed.tracks) == 2 and len(alone.tracks) == 1
    assert alone.p_fake == pytest.approx(np.mean([one.p_fake for one in alone.faces]))
    assert [one.p_fake for one in alone.faces] == pytest.approx([one.p_fake for one in followed.faces])


def test_patterns_lists_and_streams_are_inputs_of_the_command(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--adapter", str(home / "adapter"), "--base", str(home / "base"), "--detector", "haar"]
    assert main(["deepfake", "predict", str(home / "media" / "*.[pj][np]g"), *words]) == 0
    said = capsys.readouterr().out
    assert "face.png" in said and "nobody.jpg" in said and "2 done" in said
    (tmp_path / "list.txt").write_text(f"# mine\n{home / 'media' / 'face.png'}\n\n")
    assert main(["deepfake", "predict", str(tmp_path / "list.txt"), *words]) == 0
    assert "1 done" in capsys.readouterr().out
    assert main(["deepfake", "predict", "rtsp://127.0.0.1:9/none", *words]) == 2
    assert "rtsp://127.0.0.1:9/none: " in capsys.readouterr().err.replace("error: ", "")
    assert main(["deepfake", "predict", str(tmp_path / "*.mp4"), *words]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no path in it"), ("a.png\nb.png\n", r"2 of 2 paths are not there: .*a\.png, .*b\.png")],
)
def test_what_is_wrong_with_a_list_of_inputs_is_said(
    text: str, said: str, detector: DeepfakeDetector, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        detector(tmp_path / "list.txt")


def test_what_holds_for_every_input_is_said_once(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--adapter", str(home / "adapter"), "--base", str(home / "base"), "--detector", "haar"]
    for name in ("a.png", "b.png"):
        shutil.copy(home / "media" / "face.png", tmp_path / name)
    assert main(["deepfake", "predict", str(tmp_path), *options]) == 0
    out = capsys.readouterr().out
    assert out.count("score 0.") == 2 and out.count("note: faces were found by OpenCV's Haar cascades") == 1


def test_a_rule_that_the_adapter_lacks_is_no_lack_of_calibration() -> None:
    with pytest.raises(InputError, match=r"that the adapter keeps \(none; calibrate keeps some\)"):
        Manifest(calibrated_on="faces:val:320").cut("fpr5")
