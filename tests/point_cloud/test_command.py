"""Acceptance: `suite point_cloud predict` over real meshes, broken ones among them, and one shape in seven formats."""

import json

import laspy
import numpy as np
import open3d
import pytest
import trimesh

from domains.point_cloud.data import clouds
from domains.point_cloud.predict import PointCloudClassifier
from suite.cli.predict import run
from suite.domain import Domain, Task
from tests.point_cloud.small import CLASSES, write_adapter
from tests.real_data import real_data

TASK = Task(
    recipe="domains.point_cloud.recipe:PointCloudRecipe",
    data="domains.point_cloud.data.datamodule:PointCloudData",
    predictor="domains.point_cloud.predict:PointCloudClassifier",
    query="domains.point_cloud.types:ClassificationQuery",
    result="domains.point_cloud.types:ClassificationResult",
)
DOMAIN = Domain("point_cloud", "clouds and meshes to classes", "point_cloud", {"classification": TASK})

BROKEN = {
    "empty.ply": (b"", "the file is empty"),
    "words.xyz": (b"1 2 3\nfour five six\n", "line 2: not numbers"),
    "short.stl": (b"\0" * 80 + (99).to_bytes(4, "little"), "99 triangles announced"),
    "flat.obj": (b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "no area"),
    "dot.csv": (b"1,2,3\n" * 500, "1 distinct points, 32 needed"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    base, adapter = write_adapter(tmp_path_factory.mktemp("trained"))
    return ["--adapter", str(adapter), "--base", str(base)]


def test_every_real_mesh_is_classified_and_broken_ones_refused(tmp_path, trained, capsys):
    folder = tmp_path / "meshes"
    folder.mkdir()
    for path in real_data("meshes").iterdir():
        (folder / path.name).symlink_to(path)
    for name, (content, _) in BROKEN.items():
        (folder / name).write_bytes(content)
    out = tmp_path / "out"
    answer = run(DOMAIN, [str(folder), "--out", str(out), "--samples", "1000", *trained])
    assert answer.code == 2 and (answer.data["done"], answer.data["failed"]) == (22, 5)
    refused = {record["source"]: record["error"] for record in answer.data["results"] if record["error"]}
    assert all(reason in refused[str(folder / name)] for name, (_, reason) in BROKEN.items())
    assert all(str(folder / name) in capsys.readouterr().err for name in list(BROKEN)[:1])
    done = {record["source"].rsplit("/", 1)[1]: record for record in answer.data["results"] if not record["error"]}
    assert done["points_emptyface.ply"]["points_read"] == len(clouds.read(folder / "points_emptyface.ply").points)
    assert all((out / f"{name}.png").is_file() and record["label"] in CLASSES for name, record in done.items())
    assert (out / "contact_sheet.png").is_file()
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 27 and sum(row["error"] is not None for row in rows) == 5


def test_one_shape_in_seven_formats_has_one_class(tmp_path, trained):
    mesh = trimesh.creation.annulus(0.3, 0.5, 0.8)
    for ending in ("obj", "off", "ply"):
        mesh.export(tmp_path / f"shape.{ending}")
    points = clouds.read(tmp_path / "shape.obj", samples=800, seed=5).points
    np.savetxt(tmp_path / "shape.xyz", points)
    np.save(tmp_path / "shape.npy", points)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    open3d.io.write_point_cloud(str(tmp_path / "shape.pcd"), cloud)
    las = laspy.LasData(laspy.LasHeader(point_format=0))
    las.header.scales = [1e-7] * 3
    las.x, las.y, las.z = points.T
    las.write(str(tmp_path / "shape.las"))
    predictor = PointCloudClassifier.from_pretrained(trained[1], trained[3])
    results = list(predictor.predict([tmp_path], samples=800, seed=5, top=8))
    assert len(results) == 7 and len({result.label for result in results}) == 1
    reference = results[0].scores
    assert all(result.scores == pytest.approx(reference, abs=0.02) for result in results)


def test_standard_input_and_z_up_files(tmp_path, trained, monkeypatch):
    class Piped:
        def __init__(self, content):
            self.buffer = self
            self.read = lambda: content

    predictor = PointCloudClassifier.from_pretrained(trained[1], trained[3])
    points = np.random.default_rng(0).normal(size=(300, 3))
    np.savetxt(tmp_path / "a.xyz", points)
    monkeypatch.setattr("sys.stdin", Piped((tmp_path / "a.xyz").read_bytes()))
    [piped] = predictor.predict(["-"])
    assert piped.source == "stdin" and piped.scores == pytest.approx(predictor(tmp_path / "a.xyz").scores)
    monkeypatch.setattr("sys.stdin", Piped(b"ply nothing"))
    [broken] = predictor.predict(["-"])
    assert "damaged or not .ply" in broken.error and "/tmp" not in broken.error
    turned = points[:, [2, 0, 1]]
    assert predictor(turned, up="z", seed=0).scores == pytest.approx(predictor(points, seed=0).scores, abs=1e-6)
