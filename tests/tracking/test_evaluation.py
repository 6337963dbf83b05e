"""Evaluations: figures, several trackers, going on, processes, archives, attributes and pictures."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domains.tracking import metrics
from domains.tracking.data.pictures import Pixels
from domains.tracking.data.sources import open_set
from domains.tracking.evaluation import runs
from domains.tracking.evaluation.evaluate import evaluate
from domains.tracking.evaluation.peers import OpenCvFollower
from domains.tracking.evaluation.samples import samples
from domains.tracking.inference.following import Follower
from domains.tracking.output.submissions import Tracked, files_of, write_archive
from domains.tracking.types import Box, TrackedBox
from suite.errors import InputError
from tests.real_data import real_data
from tests.tracking import layouts


class Still:
    """Says that nothing ever moves."""

    def __init__(self) -> None:
        self.known: dict[str, Box] = {}

    def add(self, name: str, frame: Pixels, box: Box) -> None:
        self.known[name] = box

    def remove(self, name: str) -> None:
        del self.known[name]

    def track(self, frame: Pixels) -> Mapping[str, TrackedBox]:
        return {name: TrackedBox(box, 0.5) for name, box in self.known.items()}


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every adapter is a tracker that says that nothing moves; the sequences that it was asked for."""
    asked: list[str] = []
    maker = runs.Contestant.maker

    def standing(self: runs.Contestant) -> Callable[[], Follower]:
        if self.reference.startswith("peer:"):
            return maker(self)

        def make() -> Follower:
            asked.append(self.name)
            return Still()

        return make

    monkeypatch.setattr(runs.Contestant, "maker", standing)
    return asked


def test_a_perfect_tracker_has_twenty_of_twenty_one() -> None:
    boxes = np.array([[5.0, 5, 20, 30], [6, 5, 21, 30], [7, 5, 22, 30]])
    assert metrics.one_pass(boxes, boxes).figures["auc"] == pytest.approx(20 / 21)
    plain, means = metrics.plain(boxes, boxes)
    assert plain.figures["auc"] == 1 and means["ao"] == pytest.approx(1)


def test_absent_frames_count_as_each_benchmark_has_it() -> None:
    truth = np.array([[5.0, 5, 20, 30], [0, 0, 0, 0]])
    found = np.array([[5.0, 5, 20, 30], [80.0, 80, 90, 90]])
    present = np.array([True, False])
    figures = {name: metrics.one_pass(found, truth, present, name).figures for name in ("ope", "lasot", "uav")}  # type: ignore[arg-type]
    assert [figures[name]["precision"] for name in figures] == [0.5, 0.5, 1.0]
    assert [figures[name]["norm_precision"] for name in figures] == [1.0, 0.5, 1.0]
    assert [figures[name]["auc"] for name in figures] == pytest.approx([10 / 21] * 3)


def test_evaluate_says_figures_of_trackers_side_by_side(still: list[str], tmp_path: Path) -> None:
    given = tmp_path / "other"
    given.mkdir()
    for sequence in open_set("world:test:3").sequences:
        boxes = [(x, y, r - x, b - y) for x, y, r, b in sequence.track.boxes.tolist()]
        (given / f"{sequence.name}.txt").write_text("".join("{},{},{},{}\n".format(*box) for box in boxes))
    out = tmp_path / "out"
    answer = evaluate("world:test:3", adapter=("mine",), results=(given,), out=out, archive="pytracking")
    assert answer["other"]["auc"] == pytest.approx(20 / 21, abs=1e-3)
    assert 0 < answer["mine"]["auc"] < 0.9
    assert answer["other"]["ao"] == pytest.approx(1, abs=1e-3)
    names = {path.name for path in out.iterdir()}
    assert names >= {
        *("metrics.json", "report.html", "trackers.csv", "sequences.csv", "attributes.csv", "attributes.png"),
        *("success.png", "precision.png", "norm_precision.png", "trackers.png"),
        *("mine.pytracking.zip", "other.pytracking.zip"),
    }
    with zipfile.ZipFile(out / "other.pytracking.zip") as archive:
        assert len([name for name in archive.namelist() if name.startswith("other/test-")]) == 3
    assert json.loads((out / "metrics.json").read_text())["mine"]["auc"] == answer["mine"]["auc"]


def test_an_evaluation_goes_on_with_what_is_there(still: list[str], tmp_path: Path) -> None:
    first = evaluate("world:test:3", adapter=("mine",), out=tmp_path)
    (next((tmp_path / "results" / "mine").glob("*.csv"))).unlink()
    with pytest.raises(InputError, match="--resume"):
        evaluate("world:test:3", adapter=("mine",), out=tmp_path)
    again = evaluate("world:test:3", adapter=("mine",), out=tmp_path, resume=True)
    assert len(still) == 4
    assert {k: v for k, v in first["mine"].items() if k != "fps"} == {
        k: v for k, v in again["mine"].items() if k != "fps"
    }


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    alone = evaluate("world:test:2", adapter=("none",), peer=("mil",), max_frames=3)
    several = evaluate("world:test:2", adapter=("none",), peer=("mil",), max_frames=3, workers=2, out=tmp_path)
    assert alone["OpenCV MIL"]["auc"] == several["OpenCV MIL"]["auc"]


def test_a_set_with_first_boxes_alone_gives_an_archive(still: list[str], tmp_path: Path) -> None:
    layouts.got10k(tmp_path / "data")
    with pytest.raises(InputError, match="--archive auto"):
        evaluate(f"{tmp_path / 'data'}:test", adapter=("mine",))
    answer = evaluate(f"{tmp_path / 'data'}:test", adapter=("mine",), archive="auto", out=tmp_path / "out")
    assert "upload" in answer["message"]
    with zipfile.ZipFile(tmp_path / "out" / "mine.got10k.zip") as archive:
        name = "mine/GOT-10k_Test_000001/GOT-10k_Test_000001_001.txt"
        assert archive.read(name).decode().splitlines()[0] == "5.0000,6.0000,12.0000,9.0000"
        assert f"{name[:-7]}time.txt" in archive.namelist()


def test_archives_are_the_same_bytes_and_hold_no_path(tmp_path: Path) -> None:
    tracked = [Tracked("a", np.array([[1.0, 2, 3, 4]]), np.array([0.1]))]
    for name in ("one.zip", "two.zip"):
        write_archive(tmp_path / name, "got10k", "t", "got10k", tracked)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    for bad in ("../x", "a/b", ".."):
        with pytest.raises(InputError, match="no name of a sequence"):
            files_of("pytracking", "t", "otb", Tracked(bad, np.array([[1.0, 2, 3, 4]])))
    with pytest.raises(InputError, match="two sequences"):
        write_archive(tmp_path / "three.zip", "matlab", "t", "lasot", tracked * 2)
    assert not (tmp_path / "three.zip").exists()


def test_every_form_of_archive_has_its_own_paths() -> None:
    tracked = Tracked("s", np.array([[1.25, 2, 3, 4]]), np.array([0.5]), np.array([1.0]), repeat=1)
    assert list(files_of("matlab", "t", "lasot", tracked)) == ["t_001_tracking_result/s.txt"]
    assert list(files_of("got10k", "t", "got10k", tracked)) == ["t/s/s_002.txt"]
    assert files_of("pytracking", "t", "nfs", tracked) == {
        "t_002/nfs_s.txt": "1.250\t2.000\t1.750\t2.000\n",
        "t_002/nfs_s_time.txt": "0.50000000\n",
        "t_002/nfs_s_object_presence_scores.txt": "1.000000\n",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"peer": ("csrd",)}, "there is csrt, kcf, mil"),
        ({"workers": 0}, "workers is 0"),
        ({"resume": True}, "needs --out"),
        ({"adapter": ("none",)}, "no tracker"),
        ({"data": "./nowhere"}, "no such file"),
        ({"results": (Path("./nowhere"),)}, "no such folder of results"),
    ],
)
def test_evaluations_that_mean_nothing(options: dict[str, Any], words: str, still: list[str]) -> None:
    with pytest.raises(InputError, match=words):
        evaluate(**{"data": "world:test:1", "adapter": ("mine",), **options})


def test_objects_that_nobody_sees_are_left_out(still: list[str], tmp_path: Path) -> None:
    layouts.mot(tmp_path / "street")
    truth = tmp_path / "street" / "street" / "gt" / "gt.txt"
    truth.write_text(truth.read_text() + "1,3,5,5,9,9,1,1,0\n")
    answer = evaluate(str(tmp_path / "street"), adapter=("mine",))
    assert answer["sequences"] == 2 and "1 objects are in sight in no frame" in answer["notices"][0]


def test_a_peer_that_this_opencv_lacks_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip("cv2")
    monkeypatch.delattr(cv2, "TrackerKCF_create", raising=False)
    with pytest.raises(InputError, match="opencv-contrib-python-headless"):
        OpenCvFollower("kcf")


@pytest.mark.parametrize("name", ["csrt", "kcf"])
def test_peers_follow_the_real_clip(name: str) -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, f"Tracker{name.upper()}_create"):
        pytest.skip(f"this OpenCV has no {name.upper()} (opencv-contrib-python-headless)")
    sequence = open_set(str(real_data("video/vot15_bag"))).sequences[0]
    tracked = runs.followed(OpenCvFollower(name), sequence, most=10)  # type: ignore[arg-type]
    assert metrics.overlap(tracked.boxes, sequence.track.boxes[:10]).mean() > 0.5


def test_samples_are_counted_and_drawn(tmp_path: Path) -> None:
    answer = samples(("world:train:3",), count=1, template_size=56, search_size=126, out=tmp_path)
    [counts] = answer["sets"]
    assert (counts["sequences"], counts["objects"], counts["frames"]) == (3, 3, 120) and 60 < counts["boxes"] <= 120
    assert (tmp_path / "samples.png").is_file()


def test_experts_are_drawn_and_counted_by_what_they_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from domains.tracking.evaluation.experts import experts
    from domains.tracking.inference.loaded import LoadedTracker
    from domains.tracking.model.manifest import Manifest
    from domains.tracking.model.spmtrack import SpmTrack
    from tests.tracking import footage, small

    torch.manual_seed(0)
    model = small.attached(SpmTrack(small.SIZES, small.SETTINGS))
    tracker = LoadedTracker(model, Manifest(tracker=small.SETTINGS))
    monkeypatch.setattr(LoadedTracker, "from_pretrained", lambda *_, **__: tracker)
    clip = footage.video(tmp_path / "clip.mp4")
    answer = experts(str(clip), box=("10,12,14,14",), frame=5, out=tmp_path / "out")
    assert (tmp_path / "out" / "experts.png").is_file()
    first = answer["experts"][0]
    same = [row for row in answer["experts"] if (row["layer"], row["part"]) == (first["layer"], first["part"])]
    for region in ("state", "template object", "search object", "search ground", "all"):
        # Where an untrained tracker's box lies outside the search crop there is no object in it.
        assert same[0][region] is None or sum(row[region] for row in same) == pytest.approx(1, abs=1e-3)
    assert same[0]["state"] is not None and same[0]["template object"] is not None
    with pytest.raises(InputError, match="ends before frame 99"):
        experts(str(clip), box=("10,12,14,14",), frame=99, out=tmp_path / "out")
    with pytest.raises(InputError, match="no layer has 'fc9'"):
        experts(str(clip), box=("10,12,14,14",), frame=4, layers="fc9", out=tmp_path / "out")


def test_the_vot_toolkit_is_answered_frame_by_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from domains.tracking.evaluation.vot import serve, vot
    from domains.tracking.predict import Tracker
    from tests.tracking import footage

    files = iter([str(path) for path in sorted(footage.folder(tmp_path / "frames", 4).iterdir())])
    reported: list[Any] = []
    first = [SimpleNamespace(x=10, y=12, width=14, height=14), SimpleNamespace(x=70, y=40, width=14, height=14)]
    handle = SimpleNamespace(frame=lambda: next(files, None), objects=lambda: first, report=reported.append)
    toolkit = SimpleNamespace(VOT=lambda *_, **__: handle, Rectangle=lambda *box: box)
    standing = SimpleNamespace(loaded=SimpleNamespace(session=footage.ColourFollower))
    monkeypatch.setattr(Tracker, "from_pretrained", lambda *_, **__: standing)
    assert serve("tiny", vot=toolkit) == 3
    assert np.abs(np.array(reported[-1]) - [footage.red(3), footage.blue(3)]).max() < 1.5
    with pytest.raises(InputError, match="name is"):
        vot(name="my tracker", out=tmp_path)
