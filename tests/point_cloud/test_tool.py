"""Clouds in, classes and labels out: what the predictors do with whatever users hand them."""

from __future__ import annotations

import json
from dataclasses import replace

import laspy
import numpy as np
import pytest
import trimesh

from domains.point_cloud.data import clouds, world
from domains.point_cloud.data.datasets.cloud_set import Options
from domains.point_cloud.data.sources import open_set
from domains.point_cloud.evaluation.calibrate import calibrate
from domains.point_cloud.output.labelled import write_labelled
from domains.point_cloud.predict import PointCloudClassifier, PointCloudSegmenter
from suite.errors import InputError
from tests.point_cloud import rooms
from tests.point_cloud.scanned import shape, write_las
from tests.point_cloud.small import write_adapter


@pytest.fixture(scope="module")
def tiny():
    return PointCloudClassifier.from_pretrained("tiny")


@pytest.fixture(scope="module")
def tiny_parts():
    return PointCloudSegmenter.from_pretrained("tiny-parts")


def test_use_02_whatever_a_reader_or_writer_throws_is_one_files_error(small, tmp_path, monkeypatch):
    class Panic(BaseException):
        """As of a library in Rust: no `Exception`."""

    real = laspy.LasData.write
    for name in ("a", "b"):
        write_las(tmp_path / f"{name}.las", shape())
    read = laspy.open

    def open_or_panic(path, *rest, **options):
        if path.endswith("a.las"):
            raise Panic("cannot decompress")
        return read(path, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(laspy, "open", open_or_panic)
        first, second = small.predict([tmp_path / "a.las", tmp_path / "b.las"], category="mug")
    assert "cannot decompress" in first.error and second.error is None

    def write_or_panic(las, path, *rest, **options):
        if "a.las" in path:
            raise Panic("cannot compress")
        return real(las, path, *rest, **options)

    monkeypatch.setattr(laspy.LasData, "write", write_or_panic)
    files = [tmp_path / "a.las", tmp_path / "b.las"]
    first, second = small.predict(files, category="mug", out=tmp_path / "out", picture=False)
    assert "cannot compress" in first.error and second.error is None
    assert (tmp_path / "out/b.las.labelled.las").is_file() and not (tmp_path / "out/a.las.labelled.las").exists()
    rows = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [row["error"] is None for row in rows] == [False, True]


def test_use_03_an_earlier_output_is_an_input_like_any_other(tmp_path):
    labels = np.arange(600) % 3
    path = write_las(tmp_path / "a.las", shape(), classification=labels)
    for _ in range(3):
        path = write_labelled(clouds.raw(path), labels, tmp_path / "out", path.name)
    kept = clouds.raw(path).fields
    assert {"label", "original_label", "original_label_2", "original_classification_3"} <= set(kept)
    (tmp_path / "b.csv").write_text("x,y,z,original_label,label\n" + "".join(f"{i},0,{i % 7},5,6\n" for i in range(9)))
    cloud = clouds.raw(tmp_path / "b.csv")
    for ending in ("csv", "ply", "npz", "pcd", "h5"):
        again = clouds.raw(write_labelled(cloud, np.arange(9), tmp_path, "b", ending)).fields
        found = {name: np.unique(again[name]).tolist() for name in ("original_label", "original_label_2")}
        assert found == {"original_label": [5], "original_label_2": [6]}, ending
        assert again["label"].tolist() == list(range(9))


def test_use_06_the_classifier_names_the_category(tiny, tiny_parts):
    for number, name in enumerate(world.CATEGORIES):
        points = world.make(name, 2_000_000 + number, 512, noise=0.01, occluded=0.3).points
        found = tiny_parts(points)
        assert found.category == tiny(points).label
        assert any("by the classifier" in notice for notice in found.notices)
    assert tiny_parts(points, classifier="none").notices == ()


def test_use_10_meshes_get_labels_on_vertices_and_faces_and_bring_their_own(small, tmp_path):
    import plyfile

    mesh = trimesh.creation.icosphere(subdivisions=2)
    vertices = np.empty(len(mesh.vertices), dtype=[("x", "f4"), ("y", "f4"), ("z", "f4"), ("label", "u2")])
    for number, axis in enumerate("xyz"):
        vertices[axis] = mesh.vertices[:, number]
    vertices["label"] = mesh.vertices[:, 1] > 0
    faces = np.array([(face,) for face in mesh.faces.tolist()], dtype=[("vertex_indices", "i4", (3,))])
    elements = [plyfile.PlyElement.describe(vertices, "vertex"), plyfile.PlyElement.describe(faces, "face")]
    plyfile.PlyData(elements).write(str(tmp_path / "a.ply"))
    cloud = clouds.raw(tmp_path / "a.ply", samples=2000)
    clear = np.abs(cloud.points[:, 1]) > 0.3
    assert np.array_equal(cloud.fields["label"][clear], (cloud.points[:, 1] > 0)[clear])
    result = small(tmp_path / "a.ply", category="mug", samples=600)
    assert result.scores
    result = replace(result, labels=(result.cloud.points[:, 1] > 0).astype(np.int64))
    written = next(path for path in result.save(tmp_path / "out") if path.name.endswith(".mesh.ply"))
    data = plyfile.PlyData.read(str(written))
    clear = np.abs(vertices["y"]) > 0.3
    assert np.array_equal(data["vertex"]["label"][clear], vertices["label"][clear])
    assert len(data["face"]["label"]) == len(mesh.faces)


def test_use_11_a_folder_does_not_eat_its_own_output(small, tmp_path):
    for name in ("a", "b"):
        np.savetxt(tmp_path / f"{name}.xyz", shape(count=300))
    for out in (tmp_path / "out", tmp_path / "out", tmp_path / "other", tmp_path):
        found = list(small.predict([tmp_path], category="mug", out=out, picture=False))
        assert [result.source.rsplit("/", 1)[1] for result in found] == ["a.xyz", "b.xyz"]
        assert all(result.error is None for result in found)
    assert len(list(small.predict([tmp_path], category="mug"))) == 2


def test_use_12_the_order_of_the_points_and_one_stray_point_change_nothing(tiny):
    rng = np.random.default_rng(0)
    names = list(world.CATEGORIES)
    shapes = [
        world.make(names[number % 8], 2_000_000 + number // 8, 1024, noise=0.01, occluded=0.1).points
        for number in range(80)
    ]
    plain = list(tiny.predict(shapes, batch_size=80))
    shuffled = tiny.predict([points[rng.permutation(1024)] for points in shapes], batch_size=80)
    assert [(r.label, r.probability) for r in shuffled] == [(r.label, r.probability) for r in plain]
    strayed = list(tiny.predict([np.vstack([points, [[10, 0, 0]]]) for points in shapes], batch_size=80))
    right = [sum(r.label == names[n % 8] for n, r in enumerate(found)) for found in (plain, strayed)]
    assert right[0] - right[1] < 0.02 * 80 and right[0] >= 75
    assert all("1 stray points" in " ".join(result.notices) for result in strayed)


def test_use_12_labels_stay_in_the_order_of_the_file(tiny_parts):
    points = shape(count=2000)
    order = np.random.default_rng(0).permutation(2000)
    plain, shuffled = (tiny_parts(one, category="mug").labels for one in (points, points[order]))
    assert np.array_equal(plain[order], shuffled)
    assert len(np.unique(plain)) > 1


def test_use_12_large_clouds_are_thinned_alike_in_any_order(tiny):
    points = np.repeat(shape(count=4000), 5, axis=0) + np.random.default_rng(0).normal(size=(20000, 3)) * 1e-3
    order = np.random.default_rng(1).permutation(20000)
    assert tiny(points).scores == tiny(points[order]).scores


def test_use_14_the_task_is_the_adapters_own_and_help_names_it(tmp_path):
    from domains.point_cloud import DOMAIN
    from suite.cli.options import HelpAsked
    from suite.cli.predict import run

    with pytest.raises(HelpAsked, match="--task"):
        run(DOMAIN, ["--help"])
    np.savetxt(tmp_path / "mug.xyz", shape())
    answer = run(DOMAIN, [str(tmp_path / "mug.xyz"), "--adapter", "tiny-parts"])
    assert answer.code == 0 and "parts" in answer.data["results"][0]
    answer = run(DOMAIN, [str(tmp_path / "mug.xyz")])
    assert "label" in answer.data["results"][0]
    answer = run(DOMAIN, [str(tmp_path / "mug.xyz"), "--task", "segmentation"])
    assert "tiny-parts" in answer.data["results"][0]["error"]


def test_use_12_scenes_and_strange_things_are_told_as_unknown(tiny, tiny_parts, tmp_path):
    names = list(world.CATEGORIES)
    own = [world.make(names[number % 8], 2_000_000 + number // 8, 512, occluded=0.1).points for number in range(40)]
    assert sum(result.known for result in tiny.predict(own, batch_size=40)) >= 36
    strange = [world.make("assembly", 50_000 + number, 512).points for number in range(20)]
    strange += [rooms.room(number, density=15)[:, [1, 2, 0]].astype(np.float64) for number in range(20)]
    found = list(tiny.predict(strange, batch_size=20))
    assert sum(result.known for result in found[:20]) <= 4 and sum(result.known for result in found[20:]) <= 12
    unknown = next(result for result in found if not result.known)
    assert "unknown, nearest" in str(unknown) and "no class that the adapter knows fits" in unknown.notices[-1]
    assert unknown.to_dict()["known"] is False
    first = next(points for points, result in zip(strange, found, strict=True) if not result.known)
    assert any("though no category that it knows fits" in notice for notice in tiny_parts(first).notices)


def test_use_12_an_adapter_learns_from_clouds_what_it_does_not_know(tmp_path):
    base, adapter = write_adapter(tmp_path)
    classifier = PointCloudClassifier.from_pretrained(str(adapter), str(base))
    assert classifier(shape()).known is None
    given = {"adapter": str(adapter), "base": str(base)}
    record = calibrate("shapes:val:16", share=0.75, others="assemblies:val:8", **given)
    after = PointCloudClassifier.from_pretrained(str(adapter), str(base))
    assert after.settings.known_from == record["known_from"] and 0 <= record["others_unknown"] <= 1
    clouds_ = open_set("shapes:val:16", Options(npoints=128))
    assert sum(bool(after(clouds_.load(number)[0].astype(np.float64)).known) for number in range(16)) == 12
    for wrong in ({"share": 1.0}, {"adapter": "tiny"}):
        with pytest.raises(InputError, match=r"share is 1\.0|no folder of an adapter"):
            calibrate("shapes:val:16", **{**given, **wrong})


def test_use_06_one_cloud_in_nine_formats_has_one_answer(tiny, tiny_parts, tmp_path):
    points = world.make("stool", 2_000_003, 1500).points.astype(np.float32).astype(np.float64)
    cloud = clouds.from_array(points, "stool")
    for ending in ("ply", "pcd", "xyz", "csv", "npy", "npz", "las", "h5"):
        write_labelled(cloud, np.zeros(1500, dtype=np.int64), tmp_path, ending, ending)
    np.column_stack([points, np.zeros(1500)]).astype("<f4").tofile(tmp_path / "sweep.bin")
    results = list(tiny.predict([tmp_path]))
    assert len(results) == 9 and len({result.label for result in results}) == 1
    assert np.ptp([result.probability for result in results]) < 1e-3
    assert len({result.category for result in tiny_parts.predict([tmp_path])}) == 1
