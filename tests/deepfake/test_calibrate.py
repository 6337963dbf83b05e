"""A temperature found, kept with the adapter, and predicted and evaluated by."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.deepfake import DeepfakeDetector
from domains.deepfake.evaluation.calibrate import best_temperature, calibrate, fit
from domains.deepfake.evaluation.evaluate import evaluate
from suite.errors import InputError


def test_calibration_is_kept_with_the_adapter_and_predicted_by(home: Path, tmp_path: Path) -> None:
    told = calibrate(
        "faces:val:6", adapter=str(home / "adapter"), base=str(home / "base"), out=tmp_path / "calibrated", device="cpu"
    )
    stated = json.loads((tmp_path / "calibrated" / "suite.json").read_text())["domain"]
    assert stated["temperature"] == told["temperature"] != 1 and stated["calibrated_on"] == "faces:val:6"
    again = DeepfakeDetector.from_pretrained(str(tmp_path / "calibrated"), base=str(home / "base"), device="cpu")
    result = again(home / "media" / "face.png", detector="crops")
    assert result.how.threshold == told["threshold"] and result.how.temperature == told["temperature"]
    crop = again.preprocessing.batch([Image.open(home / "media" / "face.png")])
    margin = again.logits(crop)[0]
    share = torch.sigmoid((margin[1] - margin[0]).double() / told["temperature"])
    assert result.p_fake == pytest.approx(float(share))
    untouched = json.loads((home / "adapter" / "suite.json").read_text())["domain"]
    assert untouched["temperature"] == 1


def test_the_temperature_is_the_one_of_least_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 4000)
    labels = (rng.uniform(size=4000) < 1 / (1 + np.exp(-true))).astype(int)
    logits = np.stack([np.zeros(4000), 3 * true], 1)  # three times too sure
    assert best_temperature(logits, labels) == pytest.approx(3, rel=0.1)
    half = np.arange(4000) % 2 == 0
    fitted = fit([f"v/{n}/0" for n in range(2000)], logits[half], labels[half])
    assert fitted.ece_after < fitted.ece_before
    with pytest.raises(InputError, match="one class alone"):
        fit(["a/0"], logits[:1], labels[:1])


def test_evaluation_prints_a_row_a_data_set_and_undefined_for_a_single_class(home: Path, tmp_path: Path) -> None:
    words = {"adapter": str(home / "adapter"), "base": str(home / "base"), "device": "cpu"}
    told = evaluate(["faces:test:4"], out=tmp_path / "scores", **words)  # type: ignore[arg-type]
    head, row, *_ = told["message"].splitlines()
    assert "video AUROC" in head and row.startswith("faces:test:4")
    assert 0 <= told["faces:test:4"]["video"]["auroc"] <= 1
    assert (tmp_path / "scores" / "report.html").is_file()
    frames = list(csv.DictReader((tmp_path / "scores" / "frames.csv").open()))
    assert len([frame for frame in frames if frame["data"] == "faces:test:4"]) == 16
    single = tmp_path / "real" / "a"
    single.mkdir(parents=True)
    Image.open(home / "media" / "face.png").save(single / "0.png")
    (tmp_path / "one.txt").write_text("real/a/0.png\n")
    told = evaluate([str(tmp_path / "one.txt")], **words)  # type: ignore[arg-type]
    assert "undefined" in told["message"]


@pytest.mark.parametrize("size", [0, -1])
def test_batches_of_no_frame_are_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"batch_size is {size}"):
        evaluate(["faces:unseen:2"], batch_size=size)
    with pytest.raises(InputError, match=f"batch_size is {size}"):
        calibrate("faces:val:2", adapter="./nowhere", batch_size=size)


def test_a_folder_that_is_no_adapter_is_kept_before_anything_is_scored(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not replaced, it holds mine\.txt"):
        calibrate("faces:nosuch", adapter=str(home / "adapter"), base=str(home / "base"), out=tmp_path)
