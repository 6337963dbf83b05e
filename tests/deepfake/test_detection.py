"""Faces found, told from crops, and followed from frame to frame."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from domains.deepfake.data import detection, world
from domains.deepfake.data.alignment import template
from domains.deepfake.inference.frames import fills
from domains.deepfake.inference.tracks import Tracks
from suite.errors import InputError


def test_a_crop_is_told_by_how_its_face_fills_it_and_lies_in_it() -> None:
    square, landmarks = np.zeros((200, 200, 3), dtype=np.uint8), template("deepfakebench", 200)
    whole = detection.Face((50.0, 20.0, 150.0, 160.0), 1.0, landmarks)
    assert fills(square, [whole]) and not fills(square, [whole, whole])
    assert not fills(np.zeros((200, 300, 3), dtype=np.uint8), [whole])
    assert not fills(square, [detection.Face((50.0, 50.0, 150.0, 160.0), 1.0, landmarks)])  # 55 %
    assert not fills(square, [detection.Face(whole.box, 1.0, landmarks + 10)])
    assert fills(square, [detection.Face(whole.box, 1.0, landmarks + 10, estimated=True)])


def test_detectors_that_are_not_there_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; give YuNet's"):
        detection.detector("yunet", tmp_path / "yunet.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match="reads no YuNet in it"):
        detection.detector("yunet", tmp_path / "bad.onnx")
    with pytest.raises(InputError, match="shape_predictor_81_face_landmarks"):
        detection.detector("dlib")
    with pytest.raises(InputError, match="needs no file"):
        detection.detector("haar", tmp_path / "bad.onnx")


def test_the_cascades_find_most_made_portraits_about_where_they_are() -> None:
    find, found, misses = detection.Haar(), 0, []
    for number in range(12):
        clip = world.clip(300 + number, frames=1, size=128)
        faces = find(clip.frames[0])
        found += len(faces) == 1
        if len(faces) == 1:
            unit = np.linalg.norm(clip.landmarks[0][1] - clip.landmarks[0][0])
            misses.append(np.linalg.norm(faces[0].landmarks - clip.landmarks[0], axis=1).mean() / unit)
    assert found >= 8
    assert np.mean(misses) < 0.25


def test_tracks_follow_faces_that_move_and_cross_frames_without_them() -> None:
    tracks = Tracks()
    left, right = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)
    assert tracks.take([left, right]) == [0, 1]
    assert tracks.take([(52.0, 1.0, 62.0, 11.0), (2.0, 1.0, 12.0, 11.0)]) == [1, 0]
    assert tracks.take([]) == []
    assert tracks.take([(3.0, 1.0, 13.0, 11.0), (100.0, 0.0, 110.0, 10.0)]) == [0, 2]


def test_a_small_face_that_walks_on_stays_one_person() -> None:
    """Looked at a few times a second, a face of 10 pixels is beside where it was, and nobody else is near."""
    tracks = Tracks()
    for step in range(5):
        left = 12.0 * step
        assert tracks.take([(left, 0.0, left + 10, 10.0), (200.0, 0.0, 210.0, 10.0)]) == [0, 1]
    # Another one who stands twice as far away is somebody else, and so is a face of three times the size.
    assert tracks.take([(75.0, 0.0, 85.0, 10.0)]) == [2]
    assert tracks.take([(215.0, 0.0, 245.0, 30.0)]) == [3]


def test_a_detector_that_must_be_surer_finds_fewer_and_boxes_cover_their_last_pixel() -> None:
    picture = world.clip(77, "splice", frames=1, size=160).frames[0]
    [found] = detection.detector("haar")(picture)
    assert detection.detector("haar", None, found.score)(picture)
    assert not detection.detector("haar", None, min(1.0, found.score + 0.01))(picture)
    with pytest.raises(InputError, match=r"detector score 1\.5: give 0 to 1"):
        detection.detector("haar", None, 1.5)
    # Of 4 x 4 pixels each, shifted by 1: 12 of 20 are shared. As areas they would be 6 of 12.
    boxes = np.array([[0.0, 0.0, 3.0, 3.0], [1.0, 0.0, 4.0, 3.0], [20.0, 20.0, 30.0, 30.0]])
    scores = np.array([0.9, 0.8, 0.95])
    assert detection.suppressed(boxes, scores, 0.55) == [2, 0]
    assert detection.suppressed(boxes, scores, 0.65) == [2, 0, 1]


def test_yunets_file_is_the_one_for_this_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, year in (("4.14.0", "2023mar"), ("5.0.1", "2026may")):
        monkeypatch.setattr(detection, "opencv", lambda version=version: SimpleNamespace(__version__=version))
        assert year in detection._yunet_url().address and len(detection._yunet_url().sha256) == 64
