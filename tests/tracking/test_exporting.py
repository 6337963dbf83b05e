"""One step of a tracker in files for other programs: the same answers, and the same tracks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from domains.tracking.data import world
from domains.tracking.inference.exported import ExportedTracker
from domains.tracking.inference.exporting import export
from domains.tracking.inference.loaded import LoadedTracker
from domains.tracking.model.manifest import Manifest
from domains.tracking.model.spmtrack import SpmTrack
from domains.tracking.predict import Tracker
from suite.errors import InputError
from tests.tracking import small


def loaded(lora: bool = False, dtype: torch.dtype = torch.float32) -> LoadedTracker:
    torch.manual_seed(0)
    settings = small.LORAT if lora else small.SETTINGS
    model = small.attached(SpmTrack(small.SIZES, settings, split=lora), "lorat" if lora else "spmtrack")
    with torch.no_grad():
        model.head.reg_mlp.layers[-1].bias.fill_(-2.2)
    return LoadedTracker(model, Manifest(settings, lora), dtype=dtype)


def exported(folder: Path, format: Any, made: LoadedTracker, **settings: Any) -> dict[str, Any]:
    with patch.object(LoadedTracker, "from_pretrained", return_value=made):
        return export(folder, format=format, **settings)


@pytest.mark.parametrize(("format", "lora"), [("torchscript", False), ("onnx", False), ("torchscript", True)])
def test_a_file_of_one_step_tracks_as_the_model_does(format: str, lora: bool, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    said = exported(tmp_path / "out", format, loaded(lora))
    assert said["difference"] < 1e-4
    about = json.loads((tmp_path / "out" / "tracker.json").read_text())
    assert about["inputs"][0] == "z_0" and ("state" in about["inputs"]) == (not lora)
    scene = world.scene("val", 3, frames=8)
    boxes = {"a": (60.0, 40.0, 30.0, 24.0), "b": (150.0, 90.0, 20.0, 36.0)}
    trackers = [Tracker(loaded(lora)), Tracker.from_pretrained(exported=tmp_path / "out")]
    found = []
    for tracker in trackers:
        tracker.init(scene.picture(0), boxes)
        found.append([tracker.track(scene.picture(frame)) for frame in range(1, 8)])
    for one, two in zip(*found, strict=True):
        for name in boxes:
            np.testing.assert_allclose(one.objects[name].box or (), two.objects[name].box or (), atol=0.05)
            assert one.objects[name].score == pytest.approx(two.objects[name].score, abs=1e-4)


def test_half_precision_is_exported_and_what_is_no_export_is_refused(tmp_path: Path) -> None:
    said = exported(tmp_path / "half", "torchscript", loaded(dtype=torch.float16), dtype="float16")
    assert said["difference"] < 2e-2
    assert (tmp_path / "half" / "step.pt").stat().st_size < 0.8e6
    with pytest.raises(InputError, match=r"lacks tracker\.json; write one with suite tracking export"):
        ExportedTracker(tmp_path)
