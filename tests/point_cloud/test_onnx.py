"""Classifiers as ONNX files, run by onnxruntime."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.point_cloud.data import sampling, world
from domains.point_cloud.inference import exporting
from domains.point_cloud.inference.onnx import onnx
from domains.point_cloud.model import attachments, bases
from suite.adapters.methods.additive.point_cloud import pcsa, pointsets
from suite.errors import InputError
from tests.point_cloud.small import ARCHITECTURE, classifier, segmenter, write_adapter


def shapes(count: int = 4, points: int = 256) -> torch.Tensor:
    names = list(world.CATEGORIES)
    made = [world.make(names[number % 8], 2_000_000 + number, points).points for number in range(count)]
    return torch.from_numpy(np.stack(made)).float()


def test_what_is_said_in_loops_is_what_the_model_computes():
    clouds = shapes()
    picked = pointsets.farthest_point_sample(clouds, 32)
    assert torch.equal(exporting._farthest(clouds, 32), picked)
    centers = pointsets.gather(clouds, picked)
    wanted, found = pcsa.spectrum(centers, 16), exporting._spectrum(centers, 16)
    assert torch.equal(found.order, wanted.order) and torch.equal(found.inverse, wanted.inverse)
    exact = torch.linalg.eigh(pcsa.laplacian(centers).double()).eigenvalues
    energies = (found.whole.mT.double() @ pcsa.laplacian(centers).double() @ found.whole.double()).diagonal(0, 1, 2)
    assert torch.allclose(energies, exact, atol=1e-6)
    for own, theirs in ((found.whole, wanted.whole), (found.local, wanted.local)):
        # Where two components are equally large but for rounding, either decides the sign.
        alike = (own * theirs).sum(-2)
        assert (alike.abs() > 0.999).all() and (alike > 0).float().mean() > 0.95


@pytest.mark.parametrize("normalise", [True, False])
def test_the_graphs_logits_are_the_models(normalise):
    small = classifier()
    clouds = torch.stack([torch.from_numpy(sampling.unit_sphere(one.double().numpy())).float() for one in shapes()])
    given = clouds * 7 + 3 if normalise else clouds
    with torch.no_grad():
        found = exporting.Exportable(small.model, normalise).eval()(given)
    wanted = small.logits(clouds)
    assert (found - wanted).abs().max() < 1e-3 * wanted.abs().max()


def test_a_file_answers_as_the_model_does(tmp_path: Path):
    for module in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(module, reason="classifiers become ONNX files with the extra onnx")
    import onnxruntime

    base, adapter = write_adapter(tmp_path)
    answer = onnx(out=tmp_path / "small.onnx", adapter=str(adapter), base=str(base))
    assert answer["npoints"] == 128 and len(answer["classes"]) == 8 and answer["difference"] < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "small.onnx"))
    [logits] = session.run(None, {"input": shapes(5, 128).numpy()})
    assert logits.shape == (5, 8) and np.isfinite(logits).all()


def test_what_has_no_such_graph_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="basis: released depends on the batch"):
        exporting.Exportable(classifier(basis="released").model, True)
    with pytest.raises(InputError, match="only classifiers on Point-MAE's network are written, not PartSegmenter"):
        exporting.Exportable(segmenter().model, True)
    peft = attachments.attach(bases.build(ARCHITECTURE), "point_peft", prompts=4)
    with pytest.raises(InputError, match="Point-PEFT's adapters have no graph"):
        exporting.Exportable(peft, True)
    base, adapter = write_adapter(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'peft-suite\[onnx\]'$"):
        onnx(out=tmp_path / "small.onnx", adapter=str(adapter), base=str(base))
    assert not (tmp_path / "small.onnx").exists()
