"""Sets of scenes in the layouts that are published: sweeps with labels beside them, meshes with labels on vertices."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import plyfile
import pytest
from numpy.lib.recfunctions import repack_fields

from domains.point_cloud.data.datasets import scannet, semantic_kitti
from domains.point_cloud.data.datasets.cloud_set import NO_PART, Options
from domains.point_cloud.data.sources import open_set
from domains.point_cloud.evaluation import scoring
from suite.errors import InputError
from tests.point_cloud.test_scenes import scene_segmenter

CAR, MOVING_CAR, ROAD, OUTLIER = 10, 252, 40, 1


def sweep(rng: np.random.Generator, root: Path, sequence: str, name: str, labelled: bool = True) -> np.ndarray:
    """A street of 30 m x 10 m with a car on it; returns x y z intensity (n, 4)."""
    road = np.column_stack([rng.uniform((0, 0), (30, 10), (4000, 2)), rng.normal(0, 0.02, 4000), rng.random(4000)])
    car = np.column_stack([rng.uniform((4, 4, 0), (8, 6, 1.5), (800, 3)), rng.random(800)])
    table = np.concatenate([road, car]).astype("<f4")
    folder = root / "dataset" / "sequences" / sequence
    (folder / "velodyne").mkdir(parents=True, exist_ok=True)
    table.tofile(folder / "velodyne" / f"{name}.bin")
    if labelled:
        (folder / "labels").mkdir(exist_ok=True)
        semantic = np.repeat([ROAD, CAR, MOVING_CAR], [4000, 400, 400])
        semantic[:50] = OUTLIER
        instance = np.repeat([0, 7], [4000, 800])
        (semantic | instance << 16).astype("<u4").tofile(folder / "labels" / f"{name}.label")
    return table


@pytest.fixture
def kitti(tmp_path):
    rng = np.random.default_rng(0)
    for sequence in ("00", "08"):
        sweep(rng, tmp_path, sequence, "000000")
    sweep(rng, tmp_path, "11", "000000", labelled=False)
    return tmp_path


def test_semantic_kitti_gathers_its_labels_into_nineteen_classes(kitti):
    found = open_set(f"{kitti}:train")
    assert found.parts["scene"] == tuple(semantic_kitti.CLASSES) and len(found.parts["scene"]) == 19
    assert found.side == 10 and len(found) == 3 and len(found.whole) == 1
    points, labels = found.whole.load(0)
    assert np.ptp(points[:, 1]) < 2 and np.ptp(points[:, 2]) > 29  # y up; x of the file is z
    assert {int(label): int(count) for label, count in zip(*np.unique(labels, return_counts=True), strict=True)} == {
        NO_PART: 50, list(semantic_kitti.CLASSES).index("car"): 800, list(semantic_kitti.CLASSES).index("road"): 3950,
    }  # fmt: skip
    assert all(np.ptp(found.load(number)[0][:, [0, 2]], axis=0).max() <= 10 for number in range(3))
    assert len(open_set(f"{kitti}:train", Options(block=5.0))) == 12
    assert "08" in open_set(f"{kitti}:val").names[0]


def test_semantic_kitti_says_what_is_missing(kitti):
    with pytest.raises(InputError, match=r"not public, score PATH:val"):
        open_set(f"{kitti}:test")
    label = next(kitti.glob("dataset/sequences/00/labels/*.label"))
    label.write_bytes(label.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"000000\.label: 19196 bytes are no 4 for each of the sweep's 4800 points"):
        open_set(f"{kitti}:train")
    label.unlink()
    with pytest.raises(InputError, match=r"no labels/000000\.label beside velodyne/$"):
        open_set(f"{kitti}:train")


def test_points_that_nobody_labelled_count_in_no_score(kitti):
    scored = scoring.segmentation(scene_segmenter(19, block=10.0), open_set(f"{kitti}:val"))
    assert scored.confusion.sum() == 4750 and "columns of 10 m" in scored.provenance["points"]


def test_points_that_nobody_labelled_count_in_no_loss(kitti):
    import torch

    from domains.point_cloud.data.datamodule import PointCloudData
    from domains.point_cloud.recipe import PartSegmentationRecipe

    data = PointCloudData("segmentation", f"{kitti}:train", f"{kitti}:val", npoints=256, batch_size=3)
    data.setup("fit")
    recipe = PartSegmentationRecipe(
        "tiny", adapter={"preset": "linear"}, head={"fetch": [1, 3, 5], "propagation": [16, 16], "head": [16, 8]}
    )
    recipe.learn_names(data)
    assert recipe.preprocessing["block"] == 10
    recipe.configure_model()
    recipe.eval()
    batch = next(iter(data.val_dataloader()))
    parts = batch["parts"].clone()
    parts[:, :100] = NO_PART
    known = {"points": batch["points"], "category": batch["category"], "parts": parts}
    torch.manual_seed(0)
    outputs = recipe.compute(known)
    scores = outputs.logits.gather(2, parts.clamp(min=0)[..., None])[..., 0]
    wanted = torch.stack([-row[own != NO_PART].mean() for row, own in zip(scores, parts, strict=True)])
    assert torch.allclose(outputs.per_sample, wanted)


def scan(root: Path, name: str, labelled: bool = True, nyu: tuple[int, ...] = (2, 5, 40)) -> None:
    """A floor of 2 m x 2 m as ScanNet writes scenes: vertices, colours, faces; labels of thirds of the vertices."""
    folder = root / "scans" / name
    folder.mkdir(parents=True)
    axis = np.linspace(0, 2, 45)
    places = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    vertices = np.zeros(len(places), dtype=[(axis, "f4") for axis in "xyz"] + [("red", "u1"), ("label", "u2")])
    vertices["x"], vertices["y"] = places.T
    vertices["label"] = np.asarray(nyu)[np.arange(len(places)) * len(nyu) // len(places)]
    faces = np.array([([0, 1, 45],)], dtype=[("vertex_indices", "i4", (3,))])

    def write(fields: list[str], file: Path) -> None:
        elements = [plyfile.PlyElement.describe(repack_fields(vertices[fields]), "vertex")]
        plyfile.PlyData([*elements, plyfile.PlyElement.describe(faces, "face")]).write(str(file))

    write(["x", "y", "z", "red"], folder / f"{name}_vh_clean_2.ply")
    if labelled:
        write(["x", "y", "z", "label"], folder / f"{name}_vh_clean_2.labels.ply")


@pytest.fixture
def scans(tmp_path):
    for name, labelled in (("scene0000_00", True), ("scene0011_00", True), ("scene0707_00", False)):
        scan(tmp_path, name, labelled)
    for split, name in (("train", "scene0000_00"), ("val", "scene0011_00"), ("test", "scene0707_00")):
        (tmp_path / f"scannetv2_{split}.txt").write_text(f"{name}\n")
    return tmp_path


def test_scannet_takes_the_vertices_and_twenty_of_the_forty_classes(scans):
    found = open_set(f"{scans}:train")
    assert found.parts["scene"] == tuple(scannet.CLASSES) and len(scannet.CLASSES) == 20 and found.side == 1
    points, labels = found.whole.load(0)
    assert points.shape == (2025, 3) and np.ptp(points[:, 1]) == 0
    assert np.bincount(labels + 1).tolist() == [675, 0, 675, 0, 0, 675]
    assert [name.split("/")[1] for name in open_set(f"{scans}:val").whole.names] == ["scene0011_00"]
    assert len(open_set(f"{scans}:trainval").whole) == 2


def test_scannet_says_what_is_missing(scans):
    with pytest.raises(InputError, match=r"labels\.ply: no such file; the test labels are not public, score PATH:val"):
        open_set(f"{scans}:test")
    (scans / "scannetv2_val.txt").write_text("scene0999_00\n")
    with pytest.raises(InputError, match=r"none of the 1 scenes of the split val, e\.g\. scene0999_00"):
        open_set(f"{scans}:val")
    (scans / "scannetv2_val.txt").unlink()
    with pytest.raises(InputError, match=r"no scannetv2_val\.txt; put the official lists"):
        open_set(f"{scans}:val")


def test_the_vertices_of_a_mesh_can_be_the_cloud(scans, tmp_path):
    mesh = scans / "scans/scene0000_00/scene0000_00_vh_clean_2.labels.ply"
    segmenter = scene_segmenter(20, block=1.0)
    result = segmenter(mesh, samples=0, up="z")
    assert len(result.labels) == 2025 and any("its vertices are the cloud" in notice for notice in result.notices)
    [written] = [path for path in result.save(tmp_path / "out") if path.name.endswith(".labelled.ply")]
    kept = plyfile.PlyData.read(str(written))
    assert kept["vertex"]["label"].tolist() == result.labels.tolist() and len(kept["face"].data) == 1
    with pytest.raises(InputError, match="samples is -1"):
        next(segmenter.predict([mesh], samples=-1))


def test_what_a_scene_adapter_says_of_its_blocks_is_read_back():
    stated = scene_segmenter(block=10.0).settings
    assert type(stated).from_dict({**stated.to_dict(), "task": "segmentation"}, "here").block == 10.0
    assert "block" not in dataclasses.replace(stated, block=None).to_dict()
