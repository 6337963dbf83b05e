"""What the catalogue and the pages say of the shipped adapters is what their commands print, to the digit."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.point_cloud import metrics
from domains.point_cloud.data.datasets.cloud_set import Options, part_ids
from domains.point_cloud.data.sources import open_set
from domains.point_cloud.predict import PointCloudSegmenter
from suite import hub
from suite.cli.main import main
from suite.hub import paths

MEASURES = {"accuracy": "overall accuracy", "instance_miou": "instance mIoU"}
"""What `evaluate` calls the catalogue's measures."""

ENTRIES = [entry for entry in hub.catalogue("point_cloud", "adapter") if entry.embedded]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_catalogues_figure_is_what_its_command_prints(entry, capsys):
    stated = entry.metric
    [command] = re.findall(r"\((suite .*)\)", stated.data)
    assert main([*shlex.split(command)[1:], "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert f"{printed['metrics'][MEASURES[stated.name]]:.3f}" == f"{stated.value:.3f}"
    assert str(printed["clouds"]) in stated.data
    card = (paths.checkpoints() / entry.source / "README.md").read_text()
    assert command in card and f"{stated.value:.3f}" in card
    assert command in (Path(__file__).parents[2] / "docs" / "point_cloud.md").read_text()


@pytest.mark.slow
def test_the_figures_of_segmentation_by_predict():
    """What the pages say of parts where the classifier names the category, and where `--category` does."""
    shapes = open_set("shapes:test:400", Options(npoints=512, parts=True))
    segmenter, ids = PointCloudSegmenter.from_pretrained("tiny-parts"), part_ids(shapes.parts)
    loaded = [shapes.load(number) for number in range(len(shapes))]
    names = [shapes.classes[label] for label in shapes.labels]

    def mean_iou(found):
        pairs = zip(found, loaded, names, strict=True)
        parts = [metrics.shape_iou(torch.from_numpy(r.labels), torch.from_numpy(t), ids[n]) for r, (_, t), n in pairs]
        return f"{np.mean(parts):.3f}"

    clouds = [points.astype(np.float64) for points, _ in loaded]
    named = list(segmenter.predict(clouds))
    told = [segmenter(points, category=name) for points, name in zip(clouds, names, strict=True)]
    assert sum(r.category == n for r, n in zip(named, names, strict=True)) == 367  # 91.8 %
    assert (mean_iou(named), mean_iou(told)) == ("0.765", "0.835")
    page = (Path(__file__).parents[2] / "docs" / "point_cloud.md").read_text()
    assert "0.765 (and 0.835 with `--category`)" in page
