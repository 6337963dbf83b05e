"""Whole rooms: what `evaluate` says of them is what `predict` finds in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from domains.point_cloud.data.blocks import SCENE
from domains.point_cloud.data.datasets.s3dis import CLASSES
from domains.point_cloud.data.sources import open_set
from domains.point_cloud.evaluation import scoring
from domains.point_cloud.model import attachments, bases
from domains.point_cloud.model.manifest import Stated
from domains.point_cloud.predict import PointCloudSegmenter
from suite import training
from suite.hub import paths
from tests.point_cloud import rooms
from tests.point_cloud.small import ARCHITECTURE


def scene_segmenter(parts: int = 13, channels: int = 0, **stated: object) -> PointCloudSegmenter:
    """Random weights, so that the answer changes within a room."""
    head = {"parts": parts, "categories": 1, "fetch": (0, 1), "propagation": (32, 32), "head": (32, 16)}
    architecture = {name: value for name, value in ARCHITECTURE.items() if name != "cls_dim"} | {"channels": channels}
    net = attachments.attach(
        bases.build({**architecture, "class": "part_segmenter", "head": head}), "pointgst", rank=8, local=16
    )
    names = tuple(f"class {number}" for number in range(parts))
    return PointCloudSegmenter(net, Stated(SCENE, 256, parts={"scene": names}, **stated))


def accuracy_by_predict(segmenter: PointCloudSegmenter, folder: Path, passes: int | None = None) -> float:
    right = points = 0
    for file in sorted(folder.glob("Area_5_*.npy")):
        table = np.load(file)
        found = segmenter(table[:, :3].astype(np.float64), up="z", passes=passes).labels
        right += int((found == table[:, 6]).sum())
        points += len(table)
    return right / points


@pytest.mark.parametrize("passes", [1, None])
def test_evaluate_scores_what_predict_finds_in_whole_rooms(tmp_path, passes):
    folder = rooms.write(tmp_path, {1: 1, 5: 2}, density=60)
    segmenter = scene_segmenter()
    scored = scoring.segmentation(segmenter, open_set(f"{folder}:test"), passes=passes)
    assert scored.metrics["overall accuracy"] == pytest.approx(accuracy_by_predict(segmenter, folder, passes), abs=1e-9)
    several = segmenter.predict(sorted(folder.glob("Area_5_*.npy")), up="z", passes=passes)
    found = {result.source[-5]: result for result in several}
    sizes = {number: len(result.labels) for number, result in found.items()}
    told = sum(found[number].scores["accuracy"] * size for number, size in sizes.items()) / sum(sizes.values())
    assert told == pytest.approx(scored.metrics["overall accuracy"], abs=1e-6)
    assert scored.clouds == 2 and scored.confusion.sum() == sum(len(np.load(f)) for f in folder.glob("Area_5_*"))


@pytest.mark.slow
def test_rooms_are_segmented_whole(tmp_path):
    """0.93 of the points of rooms that training has not seen, by `predict` as by `evaluate`; about 4 minutes."""
    folder = rooms.write(tmp_path / "rooms", {1: 8, 2: 8, 3: 8, 5: 6})
    config = training.load_config(paths.assets() / "configs" / "point_cloud" / "tiny_parts.yaml")
    data = {**config.data, "train": f"{folder}:train", "val": f"{folder}:val"}
    run = training.run(dataclasses.replace(config, data=data), run_dir=tmp_path / "run")
    segmenter = PointCloudSegmenter.from_pretrained(str(run.adapter))
    assert segmenter.settings.block == 1.0 and segmenter.settings.parts == {"scene": CLASSES}
    predicted = accuracy_by_predict(segmenter, folder)
    evaluated = scoring.score(f"{folder}:test", str(run.adapter), task="segmentation").metrics["overall accuracy"]
    print(f"whole rooms: {predicted:.4f} by predict, {evaluated:.4f} by evaluate")
    assert predicted >= 0.93 and abs(predicted - evaluated) < 0.01
