"""Rooms, and points that nobody classified."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.point_cloud.data.blocks import SCENE
from domains.point_cloud.data.datasets import s3dis
from domains.point_cloud.data.datasets.cloud_set import Options
from domains.point_cloud.data.inspect import inspect
from domains.point_cloud.data.sources import open_set
from domains.point_cloud.inference import parts as of_parts
from domains.point_cloud.inference import scenes
from domains.point_cloud.predict import PointCloudSegmenter
from suite.errors import InputError
from tests.point_cloud import rooms
from tests.point_cloud.scanned import shape, write_las


def room(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A made room of z up, floor (1), ceiling (0) and walls (2), in metres: points (N, 3), classes (N,)."""
    rng = np.random.default_rng(seed)
    width, depth, height = 3.4, 2.6, 2.7
    ground = rng.uniform((0, 0), (width, depth), (3000, 2))
    sides = rng.uniform((0, 0), (width, height), (1500, 2))
    pieces = [
        np.column_stack([ground, np.zeros(3000)]),
        np.column_stack([ground, np.full(3000, height)]),
        np.column_stack([sides[:, 0], np.zeros(1500), sides[:, 1]]),
    ]
    return np.concatenate(pieces), np.repeat([1, 0, 2], [3000, 3000, 1500])


def test_use_05_scenes_are_predicted_by_the_blocks_of_training_and_evaluation(tmp_path):
    points, classes = room()
    table = np.column_stack([points + 30, np.zeros((len(points), 3)), classes]).astype(np.float32)
    np.save(tmp_path / "Area_5_room.npy", table)
    seen: list[np.ndarray] = []

    def scores(batch: torch.Tensor) -> torch.Tensor:
        seen.extend(batch.numpy())
        high = batch[..., 1:2] / 0.5  # in a block floor and ceiling lie far below and above its centre
        return torch.cat([high, -high, torch.full_like(high, 0.5)], -1).log_softmax(-1)

    y_up = (points + 30)[:, [1, 2, 0]]
    found = scenes.segment(y_up, scores, 512, normalise=True, passes=1, seed=0)
    assert (found[classes == 1] == 1).all() and (found[classes == 0] == 0).all()
    assert all(part.shape == (512, 3) and np.linalg.norm(part, axis=1).max() <= 1 + 1e-5 for part in seen)
    blocks = s3dis.read(tmp_path, "test", Options())
    sizes = [len(blocks.load(number)[0]) for number in range(len(blocks))]
    assert len(seen) == sum(-(-size // 512) for size in sizes)
    shuffled = np.random.default_rng(1).permutation(len(points))
    again = scenes.segment(y_up[shuffled], scores, 512, normalise=True, passes=1, seed=0)
    assert np.array_equal(again, found[shuffled])


def test_use_05_the_segmenter_of_scenes_labels_every_point_of_a_room(small):
    points, _ = room()
    parts = {"scene": tuple(f"class {number}" for number in range(small.model.head_config.parts))}
    settings = replace(small.settings, classes=SCENE, parts=parts)
    scene = PointCloudSegmenter(small.model, settings)
    scene.one_hot = lambda names: torch.nn.functional.one_hot(torch.zeros(len(names), dtype=torch.long), 8).float()
    result = scene(points, up="z")
    assert result.category == "scene" and (result.labels >= 0).all() and result.points_used == len(points)
    assert any("--up z" in notice for notice in scene(points[:, [0, 2, 1]] * [1, 1, 3], up="z").notices)


def test_use_05_a_class_that_a_scene_does_not_have_counts_for_nothing():
    labels, truth = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    scores = of_parts.agreement(labels, truth, tuple(range(13)), scene=True)
    assert scores["mIoU"] == pytest.approx((2 / 3 + 1 / 2) / 2) and scores["accuracy"] == 0.75


def test_use_07_points_that_nobody_classified_are_no_truth(small, tmp_path):
    never = write_las(tmp_path / "never.las", shape(), classification=np.arange(600) % 2)
    assert small(never, category="mug").scores == {}
    true = write_las(tmp_path / "true.las", shape(), label=np.arange(600) % 2)
    assert small(true, category="mug").scores


def test_use_14_inspect_knows_prepared_rooms(tmp_path):
    rooms.write(tmp_path, {1: 3, 5: 1}, density=60)
    splits = inspect(str(tmp_path))["splits"]
    assert list(splits) == ["train", "val", "test"] and set(splits["test"]["classes"]) == {"scene"}
    assert set(splits["train"]["parts"]) >= {0, 1, 2}


def test_use_07_a_training_set_that_nobody_classified_has_no_parts(tmp_path):
    labels = np.arange(600) % 2
    for number in range(4):
        (tmp_path / "mug").mkdir(exist_ok=True)
        write_las(tmp_path / "mug" / f"{number}.las", shape(), classification=labels)
    with pytest.raises(InputError, match=r"0\.las: no part of each point .*where anybody has classified it"):
        open_set(f"{tmp_path}:trainval", Options(parts=True))
    for number in range(4):
        write_las(tmp_path / "mug" / f"{number}.las", shape(), classification=labels + 2, label=labels)
    assert dict(open_set(f"{tmp_path}:trainval", Options(parts=True)).parts) == {"mug": ("part 0", "part 1")}
