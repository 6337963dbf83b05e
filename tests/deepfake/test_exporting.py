"""A detector as a graph for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.deepfake import DeepfakeDetector
from domains.deepfake.inference.onnx import onnx


def test_a_detector_goes_out_as_a_graph_that_answers_the_same(home: Path, tmp_path: Path) -> None:
    words = {"adapter": str(home / "adapter"), "base": str(home / "base")}
    told = onnx(out=tmp_path / "detector.pt", format="torchscript", **words)  # type: ignore[arg-type]
    assert told["side"] == 64 and told["difference"] < 1e-4
    scorer = DeepfakeDetector.from_pretrained(**words, device="cpu")
    crop = np.asarray(Image.open(home / "media" / "face.png").resize((64, 64)))
    pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
    loaded = torch.jit.load(str(tmp_path / "detector.pt"))
    assert float(loaded(pixels)[0, 1]) == pytest.approx(float(scorer.predict_crops([crop])[0]), abs=1e-5)


def test_the_onnx_file_answers_the_same_too(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    words = {"adapter": str(home / "adapter"), "base": str(home / "base")}
    onnx(out=tmp_path / "detector.onnx", **words)  # type: ignore[arg-type]
    pixels = torch.rand(3, 3, 64, 64)
    scorer = DeepfakeDetector.from_pretrained(**words, device="cpu")
    wanted = scorer.predict_crops(scorer.preprocessing.normalize(255 * pixels.movedim(1, -1)))
    session = onnxruntime.InferenceSession(str(tmp_path / "detector.onnx"))
    [found] = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    assert found[:, 1] == pytest.approx(wanted, abs=1e-5)
