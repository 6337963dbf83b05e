import json

import laspy
import numpy as np
import open3d
import plyfile
import pytest
from PIL import Image

from domains.point_cloud.data import clouds, world
from domains.point_cloud.output.result import ClassificationResult
from suite.errors import InputError
from tests.point_cloud.small import segmenter

NUMBERS = np.arange(300)


@pytest.fixture(scope="module")
def small():
    return segmenter()


@pytest.fixture(scope="module")
def points():
    return world.make("chair", 0, 300).points.astype(np.float32)


def write_ply(path, points, **fields):
    columns = {**dict(zip("xyz", points.T, strict=True)), **fields}
    table = np.empty(len(points), dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")], text=True).write(str(path))


def write_las(path, points):
    las = laspy.LasData(laspy.LasHeader(point_format=2, version="1.2"))
    las.header.scales = [1e-6] * 3
    las.x, las.y, las.z = points.T
    las.intensity = NUMBERS.astype(np.uint16)
    las.classification = np.full(300, 2, dtype=np.uint8)
    las.write(str(path))


def saved(small, path, out, **options):
    [result] = small.predict([path], category="chair", out=out, **options)
    assert result.error is None, result.error
    [labelled, *others] = result.save(out)
    return result, labelled, others


def test_labels_follow_the_order_of_the_file_and_stay_within_the_category(small, points):
    one = small(points, category="chair")
    shuffled = np.random.default_rng(0).permutation(300)
    assert one.labels.shape == (300,) and {*one.labels} <= {*one.parts}
    assert list(one.parts.values()) == ["seat", "legs", "back"]
    # The first point starts the sampling of centres, so it stays first; the others may come in any order.
    shuffled = np.concatenate([[0], shuffled[shuffled != 0]])
    other = small(points[shuffled], category="chair", seed=0)
    assert (other.labels == one.labels[shuffled]).mean() > 0.8


def test_ply_keeps_every_field_and_gains_label_and_colour(small, points, tmp_path):
    given = {"quality": NUMBERS.astype(np.float32), "red": NUMBERS.astype(np.uint8), "label": NUMBERS.astype(np.int32)}
    write_ply(tmp_path / "scan.ply", points, **given)
    result, labelled, _ = saved(small, tmp_path / "scan.ply", tmp_path / "out")
    assert labelled.name == "scan.ply.labelled.ply"
    assert b"format binary_little_endian" in labelled.read_bytes()[:60]
    vertex = plyfile.PlyData.read(str(labelled))["vertex"]
    assert np.array_equal(vertex["label"], result.labels) and vertex["label"].dtype == np.int32
    assert np.array_equal(vertex["quality"], given["quality"]) and np.allclose(vertex["x"], points[:, 0])
    assert np.array_equal(vertex["original_label"], NUMBERS) and np.array_equal(vertex["original_red"], given["red"])
    assert vertex["green"].dtype == np.uint8 and len(set(vertex["green"])) == len(set(result.labels))
    assert np.asarray(open3d.io.read_point_cloud(str(labelled)).colors).shape == (300, 3)


def test_las_keeps_every_field_and_gets_its_classification(small, points, tmp_path):
    write_las(tmp_path / "scan.las", points)
    result, labelled, _ = saved(small, tmp_path / "scan.las", tmp_path / "out")
    las = laspy.read(str(labelled))
    assert np.array_equal(las.classification, result.labels) and np.array_equal(las["label"], result.labels)
    assert np.array_equal(las.intensity, NUMBERS) and set(las["original_classification"]) == {2}
    assert np.allclose(las.xyz, points, atol=1e-5)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".xyz", ".csv", ".pcd"])
def test_other_formats_are_written_as_they_came(small, points, tmp_path, ending):
    path = tmp_path / f"scan{ending}"
    if ending == ".npy":
        np.save(path, np.column_stack([points, NUMBERS]).astype(np.float32))
    elif ending == ".npz":
        np.savez(path, points=points, quality=NUMBERS)
    elif ending == ".pcd":
        cloud = open3d.t.geometry.PointCloud(open3d.core.Tensor(points))
        cloud.point["quality"] = open3d.core.Tensor(NUMBERS[:, None].astype(np.float32))
        open3d.t.io.write_point_cloud(str(path), cloud)
    else:
        header = "x,y,z,quality" if ending == ".csv" else ""
        table = np.column_stack([points, NUMBERS])
        np.savetxt(path, table, delimiter="," if ending == ".csv" else " ", header=header, comments="")
    result, labelled, _ = saved(small, path, tmp_path / "out")
    again = clouds.read(labelled)
    values = list(again.fields.values())
    assert labelled.name == f"scan{ending}.labelled{ending}" and np.allclose(again.points, points, atol=1e-5)
    assert np.array_equal(again.fields.get("label", values[-1]), result.labels)
    kept = again.fields.get("quality", values[0])
    assert np.array_equal(kept, NUMBERS)


def test_points_without_a_place_keep_theirs_in_the_order(small, points, tmp_path):
    holes = points.copy()
    holes[[0, 7]] = np.nan
    np.save(tmp_path / "holes.npy", holes)
    result, labelled, _ = saved(small, tmp_path / "holes.npy", tmp_path / "out")
    assert result.labels[0] == result.labels[7] == -1 and (result.labels >= 0).sum() == 298
    assert np.array_equal(np.load(labelled)[:, 3], result.labels)
    assert "2 points with NaN" in result.notices[0]


def test_every_point_of_a_large_cloud_gets_a_label(small, tmp_path, monkeypatch):
    from domains.point_cloud.data import sampling

    monkeypatch.setattr(sampling, "MOST", 700)
    cloud = world.make("mug", 1, 3000).points
    first, again = (small(cloud, category="mug") for _ in range(2))
    assert np.array_equal(first.labels, again.labels) and first.points_used == 700 and set(first.labels) <= {8, 9}
    assert len(first.labels) == 3000 and (first.labels >= 0).all()


def test_true_labels_give_scores_and_a_picture_of_the_errors(small, points, tmp_path):
    truth = world.make("chair", 0, 300).parts
    write_ply(tmp_path / "truth.ply", points, label=truth.astype(np.int32))
    result, _, others = saved(small, tmp_path / "truth.ply", tmp_path / "out")
    assert set(result.scores) == {"accuracy", "instance mIoU"}
    first = min(result.parts)
    assert result.scores["accuracy"] == pytest.approx((result.labels == truth + first).mean())
    picture = Image.open(next(path for path in others if path.suffix == ".png"))
    assert picture.width == 3 * 480
    with pytest.raises(InputError, match="no field 'nothing' for --truth; there are label"):
        small(tmp_path / "truth.ply", category="chair", truth="nothing")


def test_categories_are_checked_or_found(small, points):
    assert small(points).category in small.parts
    with pytest.raises(InputError, match="unknown category 'sofa'; choose auto, bucket"):
        small(points, category="sofa")


def test_meshes_are_written_as_clouds_and_bad_files_refused(small, tmp_path):
    (tmp_path / "box.obj").write_text("v 0 0 0\nv 2 0 0\nv 2 0 2\nv 0 1 2\nf 1 2 3\nf 1 3 4\n")
    (tmp_path / "bad.ply").write_text("hello")
    results = list(small.predict([tmp_path], category="table", samples=400, out=tmp_path / "out", turntable=True))
    assert [result.error is None for result in results] == [False, True]
    files = results[1].save(tmp_path / "out")
    assert [path.name for path in files] == [
        "box.obj.labelled.ply",
        "box.obj.labelled.mesh.ply",
        "box.obj.json",
        "box.obj.png",
        "box.obj.gif",
    ]
    record = json.loads(files[2].read_text())
    assert sum(record["counts"].values()) == 400 and Image.open(files[4]).n_frames == 24
    assert (tmp_path / "out" / "contact_sheet.png").is_file()


def test_what_no_class_fits_is_said_once():
    unknown = ClassificationResult(
        "a.ply", label="mug", probability=0.4, scores={"mug": 0.4}, known=False, notices=("thinned", "none fits")
    )
    assert str(unknown) == "a.ply: unknown, nearest mug 40.0%\n  note: thinned"
