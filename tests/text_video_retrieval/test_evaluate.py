"""The verb `evaluate`: figures, what they cost, what went wrong, and schedules that nothing was trained for."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from domains.text_video_retrieval.evaluation.evaluate import evaluate
from suite.errors import InputError
from tests.text_video_retrieval import clips


def test_figures_come_with_their_cost_and_the_rank_of_every_sentence(tmp_path: Path) -> None:
    found = evaluate("world:val:12", out=tmp_path / "out", device="cpu")
    assert (found["pairs"], found["videos"], found["missing"], found["frames"]) == (12, 12, 0, 4)
    assert found["ms_a_video"] > 0 and found["embeddings_mb"] == pytest.approx(12 * 128 * 4 / 1e6)
    assert "GMACs a video, 39 of 260 tokens" in found["message"]
    assert found["text_to_video"]["R-Sum"] == sum(found["text_to_video"][f"R@{k}"] for k in (1, 5, 10))
    with (tmp_path / "out" / "ranks.csv").open() as file:
        rows = list(csv.DictReader(file))
    first = [float(row["rank"]) for row in rows]
    assert 100 * sum(rank <= 1 for rank in first) / 12 == pytest.approx(found["text_to_video"]["R@1"])
    assert all((row["video"] == row["first"]) == (float(row["rank"]) == 1) for row in rows)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The worst" in page and "data:image/png" in page


def test_missing_and_unreadable_videos_stand_beside_the_figures(tmp_path: Path) -> None:
    clips.made(tmp_path / "a.mp4", 1)
    (tmp_path / "torn.mp4").write_bytes(b"none")
    (tmp_path / "captions.csv").write_text("video,caption\na,one\ntorn,two\ngone,three\nlost,four\n")
    found = evaluate(str(tmp_path / "captions.csv"), out=tmp_path / "out", device="cpu")
    assert (found["pairs"], found["missing"], found["unread"]) == (1, 2, 1)
    with (tmp_path / "out" / "missing.csv").open() as file:
        assert [row["video"] for row in csv.DictReader(file)] == ["gone", "lost", "torn"]


def test_merging_that_nothing_was_trained_for(tmp_path: Path) -> None:
    """Of the plain base, which has no positions; an adapter with positions keeps the layers that have them."""
    merged = "{merge_layer: 3-4, merge_frame_num: 2-2, merge_token_proportion: 40-20, tome_r: 4, frame_pos: false}"
    found = evaluate("world:val:8", adapter="none", frames=4, schedule=merged, device="cpu")
    assert "41 of 260 tokens" in found["message"]
    with pytest.raises(InputError, match=r"temporal positions for \[4, 2\] clips in layers \[1, 2\]; keep merge_layer"):
        evaluate("world:val:8", schedule="image", device="cpu")
    with pytest.raises(InputError, match="schedule is '7'; give a preset"):
        evaluate("world:val:8", schedule="7", device="cpu")
