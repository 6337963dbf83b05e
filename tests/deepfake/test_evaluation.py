"""Calibration and evaluation: what is kept with an adapter, what is refused, every figure and file of the protocol."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from domains.deepfake import metrics
from domains.deepfake.data.corruption import corruption
from domains.deepfake.data.frame_set import list_hash
from domains.deepfake.data.sources import open_set
from domains.deepfake.evaluation import evaluate as evaluation
from domains.deepfake.evaluation.calibrate import calibrate, fit
from domains.deepfake.evaluation.evaluate import evaluate
from domains.deepfake.evaluation.scoring import read_scores
from domains.deepfake.output import curves
from suite.cli.main import main
from suite.errors import InputError
from tests.deepfake.small import write_adapter, write_base
from tests.deepfake.test_data import picture


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An adapter that no training made, and its base, as options."""
    home = tmp_path_factory.mktemp("home")
    write_adapter(write_base(home / "base"), home / "adapter", noise=0.3)
    return {"adapter": str(home / "adapter"), "base": str(home / "base"), "device": "cpu"}


@pytest.fixture(scope="module")
def calibrated(words: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("calibrated") / "adapter"
    calibrate("faces:val:8", threshold="fpr20", out=out, **words)
    return {**words, "adapter": str(out)}


def stated(words: dict[str, Any]) -> dict[str, Any]:
    return json.loads((Path(words["adapter"]) / "suite.json").read_text())["domain"]


def drawn(count: int, sharpness: float, frames: int = 1) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Paths, logits and labels of the frames of videos; logits are `sharpness` times too large."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, count)
    labels = (rng.uniform(size=count) < 1 / (1 + np.exp(-true))).astype(int).repeat(frames)
    logits = np.stack([np.zeros(frames * count), sharpness * true.repeat(frames)], 1)
    return [f"d/{('real', 'fake')[label]}/{n // frames}/{n}" for n, label in enumerate(labels)], logits, labels


def test_every_threshold_and_how_many_frames_gave_it_are_kept(calibrated: dict[str, Any]) -> None:
    known = stated(calibrated)
    assert set(known["thresholds"]) == {"fpr20", "eer", "youden", "fpr1", "fpr5", "fpr10"}
    assert known["threshold"] == pytest.approx(known["thresholds"]["fpr20"], abs=1e-6)
    assert (known["calibrated_frames"], known["calibrated_videos"]) == (32, 8)
    assert known["threshold_rule"] == "fpr20" and known["calibrated_on"] == "faces:val:8"
    assert {"ece_before", "ece_after"} <= set(known["metrics"])


@pytest.mark.parametrize("rule", ["fpr", "fpr0", "fpr100", "EER", "best"])
def test_a_rule_that_is_none_is_refused(rule: str, words: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"is no rule; give eer, youden, or fprN"):
        calibrate("faces:val:8", threshold=rule, **words)


def test_thresholds_are_where_their_rules_are_met() -> None:
    paths, logits, labels = drawn(400, 1.0, 4)
    found = fit(paths, logits, labels, "fpr7.5")
    _, means, videos = metrics.by_video(paths, 1 / (1 + np.exp(-logits[:, 1] / found.temperature)), labels)
    real, forged = means[videos == 0], means[videos == 1]
    assert (real >= found.thresholds["fpr7.5"]).mean() <= 0.075 < (real >= found.thresholds["fpr10"]).mean() + 0.05
    assert found.threshold == found.thresholds["fpr7.5"] > found.thresholds["fpr10"]
    eer = found.thresholds["eer"]
    assert abs((real >= eer).mean() - (forged < eer).mean()) < 0.01
    best = max((forged >= cut).mean() - (real >= cut).mean() for cut in np.unique(means))
    youden = found.thresholds["youden"]
    assert (forged >= youden).mean() - (real >= youden).mean() == pytest.approx(best)


def test_calibration_on_half_of_the_videos_lowers_the_error_of_the_other_half() -> None:
    paths, logits, labels = drawn(8000, 2.5)
    half = np.arange(len(paths)) < len(paths) // 2
    found = fit([p for p, own in zip(paths, half, strict=True) if own], logits[half], labels[half])
    margins = logits[~half, 1]
    before = metrics.expected_calibration_error(1 / (1 + np.exp(-margins)), labels[~half])
    after = metrics.expected_calibration_error(1 / (1 + np.exp(-margins / found.temperature)), labels[~half])
    assert after < before / 2
    assert found.ece_after == pytest.approx(after, abs=0.03)  # which each half told of the other one


def test_the_error_after_calibration_is_of_frames_that_did_not_fit_the_temperature() -> None:
    """Of two videos a class, one temperature cannot serve both halves: the error of a fit on all would hide that."""
    paths = [f"d/{video}/{frame}" for video in ("r0", "r1", "f0", "f1") for frame in range(4)]
    labels = np.array([0] * 8 + [1] * 8)
    margin = np.array([-3, -3, 3, 3, -3, -3, -3, -3, 3, 3, -3, -3, 3, 3, 3, 3], dtype=float)
    found = fit(paths, np.stack([np.zeros(16), margin], 1), labels)
    whole = metrics.expected_calibration_error(1 / (1 + np.exp(-margin / found.temperature)), labels)
    assert found.ece_after > whole + 0.01


def test_a_table_of_scores_calibrates_as_the_frames_themselves(
    words: dict[str, Any], calibrated: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_pictures", lambda *given: {})  # a second for each data set
    evaluate(["faces:val:8"], out=tmp_path / "scores", **words)
    rows = [row for row in csv.DictReader((tmp_path / "scores" / "frames.csv").open()) if row["data"] == "faces:val:8"]
    table = tmp_path / "frames.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    calibrate(str(table), threshold="fpr20", out=tmp_path / "again", **words)
    again, before = stated({"adapter": tmp_path / "again"}), stated(calibrated)
    assert again["temperature"] == pytest.approx(before["temperature"], rel=1e-4)
    assert again["calibrated_list"] == before["calibrated_list"] and again["calibrated_on"] == "frames.csv"
    official = (tmp_path / "scores" / "predictions.csv").read_text().splitlines()
    assert official[0] == "files,labels,prob_class_0,prob_class_1" and len(official) == 33
    read = read_scores(tmp_path / "scores" / "predictions.csv")
    assert read.scores()[0] == pytest.approx(float(official[1].split(",")[3]), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no row"),
        ("files,labels\na,1\n", "has no column logit or prob_class_1"),
        ("files,labels,prob_class_1\na,1,x\n", "line 2: label or score is no number"),
        ("files,labels,prob_class_1\na,1,0.5\nb,2,0.5\n", "line 3: label 2"),
        ("files,labels,prob_class_1\na,1,1.5\n", "score 1.5; give 0 or 1, and 0 to 1"),
    ],
)
def test_what_is_wrong_with_a_table_of_scores_is_said(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_scores(tmp_path / "s.csv")


def test_frames_that_calibrated_an_adapter_do_not_evaluate_it(calibrated: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="calibrated on these very frames"):
        evaluate(["faces:val:8"], **calibrated)
    assert list_hash(["/a/real/v/0.png", "b/fake/v/1.png"]) == list_hash(["x/fake/v/1.png", "real/v/0.png"])
    assert list_hash(["a/real/v/0.png"]) != list_hash(["a/real/v/1.png"])


def test_figures_curves_and_confusion_of_every_data_set_are_written(calibrated: dict[str, Any], tmp_path: Path) -> None:
    told = evaluate(["faces:test:8"], corrupt=["jpeg:20"], out=tmp_path, **calibrated)
    assert told["threshold_from"] == "fpr20 on faces:val:8" and told["videos_without_face"] == "left out"
    video = told["faces:test:8"]["video"]
    assert sum(map(sum, video["confusion"])) == 8 and 0 <= video["w1_separation"] <= 1
    assert told["faces:test:8 jpeg:20"]["frame"]["auroc"] != told["faces:test:8"]["frame"]["auroc"]
    with Image.open(tmp_path / "curves.faces_test_8.png") as drawn:
        assert drawn.width > 1000
    assert "faces:test:8 splice" in told and "undefined_because" not in told["faces:test:8"]


def test_videos_are_the_mean_of_their_frames_or_the_median() -> None:
    paths, scores, labels = ["v/0", "v/1", "v/2"], np.array([0.1, 0.2, 0.9]), np.zeros(3, dtype=np.int64)
    assert metrics.by_video(paths, scores, labels)[1].tolist() == pytest.approx([0.4])
    assert metrics.by_video(paths, scores, labels, reduce="median")[1].tolist() == pytest.approx([0.2])


def test_distances_of_the_classes_scores() -> None:
    scores, labels = np.array([0.1, 0.2, 0.7, 0.8]), np.array([0, 0, 1, 1])
    found = metrics.separation(scores, labels)
    assert found["w1_separation"] == pytest.approx(0.6)
    assert found["w1_confidence_real"] == pytest.approx(0.7) and found["w1_confidence_fake"] == pytest.approx(0.5)
    assert metrics.separation(scores[:2], labels[:2])["w1_separation"] is None


def _dfdc(root: Path) -> Path:
    for name in ("aa", "bb"):
        picture(root / "test" / name / "000.png")
    (root / "test" / "labels.csv").write_text("filename,label\naa.mp4,1\nbb.mp4,0\ncc.mp4,1\n")
    return root


def test_videos_without_a_face_are_left_out_or_scored_a_half_and_counted(words: dict[str, Any], tmp_path: Path) -> None:
    source = f"{_dfdc(tmp_path / 'dfdc')}:test"
    assert len(open_set(source).missing) == 1
    told = evaluate([source], **words)
    assert any("1 of 3 videos have no face and are left out" in notice for notice in told["notices"])
    assert sum(map(sum, told[source]["video"]["confusion"])) == 2
    told = evaluate([source], no_face="half", **words)
    assert sum(map(sum, told[source]["video"]["confusion"])) == 3
    assert any("are scored 0.5" in notice for notice in told["notices"])


@pytest.mark.parametrize("label", ["real", "fake"])
def test_a_single_class_is_undefined_and_said_which(label: str, words: dict[str, Any], tmp_path: Path) -> None:
    root = tmp_path / "dfdc"
    (root / "test").mkdir(parents=True)
    picture(root / "test" / "aa" / "000.png")
    (root / "test" / "labels.csv").write_text(f"filename,label\naa.mp4,{int(label == 'fake')}\n")
    told = evaluate([f"{root}:test"], **words)
    assert told[f"{root}:test"]["video"]["auroc"] == "undefined" and "undefined" in told["message"]
    name = {"real": "real", "fake": "manipulated"}[label]
    assert told[f"{root}:test"]["undefined_because"] == f"only {name} present"


def test_corruptions_change_a_picture_as_they_say() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    changed = {name: corruption(name)(noise) for name in ("jpeg:90", "jpeg:10", "blur:2", "resize:32:nearest")}
    far = {name: np.abs(np.asarray(p, float) - np.asarray(noise)).mean() for name, p in changed.items() if p.width > 32}
    assert 0 < far["jpeg:90"] < far["jpeg:10"] and far["blur:2"] > 20
    assert changed["resize:32:nearest"].size == (32, 32) and corruption("resize:200")(noise) is noise


@pytest.mark.parametrize("name", ["jpg:3", "jpeg:0", "jpeg:101", "blur:0", "resize:4", "resize:64:cubic", "blur:1:box"])
def test_corruptions_that_there_are_not_are_refused(name: str, words: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="corruption"):
        evaluate(["faces:test:2"], corrupt=[name], **words)


def test_a_threshold_is_a_number_or_a_rule_that_the_adapter_keeps(calibrated: dict[str, Any]) -> None:
    known = stated(calibrated)["thresholds"]
    told = evaluate(["faces:test:2"], threshold="youden", **calibrated)
    assert told["threshold"] == pytest.approx(known["youden"]) and told["threshold_from"] == "youden on faces:val:8"
    assert evaluate(["faces:test:2"], threshold=0.7, **calibrated)["threshold"] == 0.7
    with pytest.raises(InputError, match=r"'fpr3': give 0 to 1, or a rule that the adapter keeps \(fpr20, eer"):
        evaluate(["faces:test:2"], threshold="fpr3", **calibrated)
    with pytest.raises(InputError, match=r"threshold is 1\.5"):
        evaluate(["faces:test:2"], threshold=1.5, **calibrated)


def test_the_command_takes_both(calibrated: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "a.png", size=64)
    words = ["deepfake", "predict", str(tmp_path / "a.png"), "--adapter", calibrated["adapter"]]
    words += ["--base", calibrated["base"], "--detector", "crops"]
    for given, said in (("youden", "youden on faces:val:8"), ("0.25", "threshold 0.250, as asked for")):
        assert main([*words, "--threshold", given]) == 0
        assert said in capsys.readouterr().out
    assert main([*words, "--threshold", "half"]) == 2
    assert "a rule that the adapter keeps" in capsys.readouterr().err


def test_each_panel_of_the_curves_has_one_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(curves.plots, "save", lambda figure, path: drawn.append(figure) or path)
    scores = (np.array([0.1, 0.9]), np.array([0, 1]))
    curves.draw({"frame": scores, "video": scores}, 0.5, "made", tmp_path / "curves.png")
    [figure] = drawn
    titles = [(axes.get_title("left"), axes.get_title()) for axes in figure.axes]
    assert len(titles) == 10 and all(left and not middle for left, middle in titles)
