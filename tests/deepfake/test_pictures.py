"""What is drawn: boxes over frames, colours of scores, the demo's families."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domains.deepfake import DeepfakeDetector
from domains.deepfake.data import world
from domains.deepfake.demo import demo
from domains.deepfake.evaluation.benchmark import benchmark
from domains.deepfake.inference.frames import Looked
from domains.deepfake.output import pictures
from domains.deepfake.output.result import DetectionResult, ScoredFace
from domains.deepfake.predict import SUSPICIOUS, Painter, _Gathered
from suite.errors import InputError
from suite.media.video import Frame
from tests.deepfake.small import face


def test_boxes_move_evenly_between_the_frames_that_were_looked_at() -> None:
    low = {"landmarks": (), "det_score": 1.0, "p_fake": 0.9}
    seen = tuple(ScoredFace(None, t, 0, (left, 5.0, left + 10, 38.0), **low) for t, left in ((0.0, 10.0), (1.0, 30.0)))
    painter = Painter(DetectionResult("v.mp4", kind="video", faces=seen, times=(0.0, 1.0)))
    black = np.zeros((40, 60, 3), dtype=np.uint8)
    halfway = painter(Frame(0.5, black.copy()))
    lit = np.flatnonzero(halfway[38].any(-1))
    assert lit.min() in (19, 20) and lit.max() in (30, 31)
    assert not painter(Frame(5.0, black.copy())).any()


def test_the_demo_draws_and_scores_every_family(tmp_path: Path) -> None:
    told = demo(tmp_path)
    assert all(Path(picture).is_file() for picture in told["pictures"])
    assert told["seconds"] < 20
    rows = told["tables"]["Families"]
    assert [row["family"] for row in rows] == ["real", *world.SEEN, *world.UNSEEN]
    real, *forged = (float(row["score"]) for row in rows)
    assert sum(forged) / len(forged) > real + 0.2


def test_scores_go_from_green_to_red_and_the_corner_says_the_mean_so_far() -> None:
    colors = [pictures.color_of(score) for score in (0.0, 0.5, 1.0)]
    assert colors[0][1] > colors[0][0] and colors[2][0] > 2 * colors[2][1]
    assert colors[0][0] < colors[1][0] and colors[1][1] > colors[2][1]
    black = np.zeros((200, 300, 3), dtype=np.uint8)
    boxed = pictures.boxes(black, [((100.0, 60.0, 160.0, 120.0), 1.0)])
    assert tuple(boxed[119, 130]) == colors[2] and not boxed[:8].any()  # nothing in the corner
    seen = tuple(face(t, score) for t, score in ((0.0, 0.2), (1.0, 0.8)))
    painter = Painter(DetectionResult("v.mp4", kind="video", faces=seen, times=(0.0, 1.0)))
    assert painter.means.tolist() == pytest.approx([0.2, 0.5])
    early, late = (painter(Frame(t, black.copy()))[4:24, 20:].copy() for t in (0.5, 1.0))
    assert early.any() and not np.array_equal(early, late)


def test_the_most_suspicious_frames_of_a_video_are_shown(
    detector: DeepfakeDetector, home: Path, tmp_path: Path
) -> None:
    [result] = detector.predict(home / "media" / "clip.mp4", out=tmp_path, frames=6)
    worst = sorted(result.faces, key=lambda one: -one.p_fake)
    assert [time for time, _ in result.suspicious] == sorted(one.time for one in worst[:SUSPICIOUS])
    assert (tmp_path / "clip.suspicious.png").is_file()
    gathered = _Gathered()
    for number in range(20):
        gathered.see(Looked(np.zeros((8, 8, 3), np.uint8), float(number), (None,)))  # type: ignore[arg-type]
        gathered.take(face(float(number), (7 * number % 20) / 20))
    assert [time for time, _ in gathered.suspicious()] == sorted(
        sorted(range(20), key=lambda n: -(7 * n % 20))[:SUSPICIOUS]
    )


def test_a_benchmark_says_what_a_face_costs(home: Path) -> None:
    told = benchmark(adapter=str(home / "adapter"), base=str(home / "base"), faces=5, batch_size=4, device="cpu")
    assert told["faces_per_second"] > 0 and told["loading_seconds"] > 0 and told["peak_memory_gb"] > 0.05
    assert "a second by 4" in told["message"]
    with pytest.raises(InputError, match="faces is 0"):
        benchmark(faces=0)
