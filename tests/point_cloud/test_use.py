"""Faults that users met, by the number of the list that they were reported in; every input is made here."""

from __future__ import annotations

import json
import struct
import sys
import tracemalloc
from dataclasses import replace

import laspy
import numpy as np
import pytest
import torch
import trimesh

from domains.point_cloud.data import clouds, world
from domains.point_cloud.data.blocks import SCENE
from domains.point_cloud.data.datasets import s3dis
from domains.point_cloud.data.datasets.cloud_set import Options
from domains.point_cloud.data.inspect import inspect
from domains.point_cloud.data.readers import text
from domains.point_cloud.data.sources import open_set
from domains.point_cloud.evaluation.calibrate import calibrate
from domains.point_cloud.inference import parts as of_parts
from domains.point_cloud.inference import scenes
from domains.point_cloud.output.labelled import write_labelled
from domains.point_cloud.predict import PointCloudClassifier, PointCloudSegmenter
from suite.errors import InputError
from tests.point_cloud import rooms
from tests.point_cloud.small import segmenter, write_adapter

HEADER = "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"


@pytest.fixture(scope="module")
def small():
    return segmenter()


@pytest.fixture(scope="module")
def tiny():
    return PointCloudClassifier.from_pretrained("tiny")


@pytest.fixture(scope="module")
def tiny_parts():
    return PointCloudSegmenter.from_pretrained("tiny-parts")


def shape(name: str = "mug", count: int = 600) -> np.ndarray:
    return world.make(name, 2_000_000, count).points


def write_las(path, points, **fields):
    las = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    las.header.scales = [1e-6] * 3
    las.x, las.y, las.z = points.T
    for name, values in fields.items():
        if name not in las.point_format.dimension_names:
            las.add_extra_dim(laspy.ExtraBytesParams(name, np.int32))
        las[name] = values
    las.write(str(path))
    return path


def write_pcd(path, points, fields, data="binary", told="", width=None, height=1):
    """`fields`: (name, PCD's type, size, count, values) after x y z."""
    every = [*(("xyz"[i], "F", 4, 1, points[:, i]) for i in range(3)), *fields]
    kinds = [(str(n), f"<{k.lower()}{s}", (c,)) for n, (_, k, s, c, _) in enumerate(every)]
    table = np.zeros(len(points), dtype=kinds)
    for number, (*_, count, values) in enumerate(every):
        table[str(number)] = np.reshape(values, (len(points), count))
    lines = {
        "FIELDS": [f[0] for f in every], "SIZE": [f[2] for f in every], "TYPE": [f[1] for f in every],
        "COUNT": [f[3] for f in every], "WIDTH": [width or len(points)], "HEIGHT": [height],
    }  # fmt: skip
    text = HEADER + told + "".join(f"{name} {' '.join(map(str, words))}\n" for name, words in lines.items())
    path.write_bytes(f"{text}POINTS {len(points)}\nDATA {data}\n".encode() + table.tobytes())
    return path


def test_use_01_padding_fields_of_pcd(tmp_path):
    points, noise = shape(), np.arange(600 * 4)
    padding = np.tile(np.arange(12), (600, 1))
    fields = [
        ("_", "U", 1, 4, noise % 256),
        ("intensity", "F", 4, 1, np.arange(600)),
        ("_", "U", 1, 12, padding),
    ]
    cloud = clouds.read(write_pcd(tmp_path / "a.pcd", points, fields))
    assert np.allclose(cloud.points, points, atol=1e-6) and list(cloud.fields) == ["intensity"]
    assert cloud.fields["intensity"].tolist() == list(range(600))


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


def test_use_02_copc_is_written_as_plain_las(tmp_path):
    las = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    las.x, las.y, las.z = shape().T
    las.header.vlrs.append(laspy.VLR("copc", 1, "COPC info", bytes(160)))
    las.write(str(tmp_path / "a.las"))
    out = write_labelled(clouds.raw(tmp_path / "a.las"), np.zeros(600, dtype=np.int64), tmp_path, "out")
    with laspy.open(str(out)) as reader:
        assert not [record for record in reader.header.vlrs if record.user_id == "copc"]


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


@pytest.mark.parametrize(
    ("place", "kind", "what"), [(100, "<I", "records"), (243, "<I", "extended records"), (247, "<Q", "truncated")]
)
def test_use_04_counts_beyond_the_files_size_are_refused_before_they_are_believed(tmp_path, place, kind, what):
    content = bytearray(write_las(tmp_path / "a.las", shape()).read_bytes())
    struct.pack_into(kind, content, place, 10**8)
    (tmp_path / "a.las").write_bytes(content)
    with pytest.raises(InputError, match=what):
        clouds.read(tmp_path / "a.las")


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


def test_use_06_the_classifier_names_the_category(tiny, tiny_parts):
    for number, name in enumerate(world.CATEGORIES):
        points = world.make(name, 2_000_000 + number, 512, noise=0.01, occluded=0.3).points
        found = tiny_parts(points)
        assert found.category == tiny(points).label
        assert any("by the classifier" in notice for notice in found.notices)
    assert tiny_parts(points, classifier="none").notices == ()


def test_use_07_points_that_nobody_classified_are_no_truth(small, tmp_path):
    never = write_las(tmp_path / "never.las", shape(), classification=np.arange(600) % 2)
    assert small(never, category="mug").scores == {}
    true = write_las(tmp_path / "true.las", shape(), label=np.arange(600) % 2)
    assert small(true, category="mug").scores


@pytest.mark.parametrize(
    "text",
    [
        '"Red","X","Y","Z"\n7,1,2,3\n8,4,5,6\n',
        "// red x y z\n7 1 2 3\n8 4 5 6\n",
        "# Red,X,Y,Z\n7,1,2,3\n8,4,5,6\n",
        "\ufeffRed;X;Y;Z\n7;1;2;3\n8;4;5;6\n",
        "Red,X,Y,Z\n7,1,2,3,\n8,4,5,6,\n",
        "Red;X;Y;Z\n7,0;1,0;2,0;3,0\n8;4;5;6\n",
    ],
)
def test_use_08_the_names_of_columns_count_however_they_are_written(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    cloud = clouds.read(path)
    assert cloud.points.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert {name.lower(): values.tolist() for name, values in cloud.fields.items()} == {"red": [7, 8]}
    again = clouds.read(write_labelled(cloud, np.array([4, 5]), tmp_path, "out"))
    assert again.points.tolist() == cloud.points.tolist() and again.fields["label"].tolist() == [4, 5]
    assert "red" in {name.lower() for name in again.fields}


def test_use_09_counts_of_off_may_stand_on_the_first_line(tmp_path):
    box = trimesh.creation.box()
    text = box.export(file_type="off")
    counts = text.splitlines()[1]
    (tmp_path / "a.off").write_text(text.replace(f"OFF\n{counts}", f"OFF{counts}", 1))
    (tmp_path / "b.off").write_text(text)
    joined, parted = (clouds.read(tmp_path / name).points for name in ("a.off", "b.off"))
    assert np.array_equal(joined, parted)


def test_use_09_gltf_is_read_and_draco_said_by_name(tmp_path):
    exported = trimesh.creation.box().export(file_type="gltf")
    for name, content in exported.items():
        (tmp_path / name).write_bytes(content)
    assert len(clouds.read(tmp_path / "model.gltf", samples=100).points) == 100
    compressed = json.loads(exported["model.gltf"]) | {"extensionsUsed": ["KHR_draco_mesh_compression"]}
    (tmp_path / "model.gltf").write_text(json.dumps(compressed))
    with pytest.raises(InputError, match="Draco"):
        clouds.read(tmp_path / "model.gltf")


def test_use_10_text_keeps_every_digit_and_every_comment(tmp_path):
    lines = ["# scanned in May", "x,y,z,GpsTime,Class Name", "499993.0988001234,4799998.1,97.5,1600000000.000123,3"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    cloud = clouds.raw(tmp_path / "a.csv")
    text = write_labelled(cloud, np.array([2]), tmp_path, "out").read_text().splitlines()
    assert text == [lines[0], f"{lines[1]},label", f"{lines[2]},2"]
    again = clouds.raw(write_labelled(cloud, np.array([2]), tmp_path, "out", "xyz"))
    assert again.points.tolist() == cloud.points.tolist()
    assert again.fields["column3"].tolist() == cloud.fields["GpsTime"].tolist()


def test_use_10_pcd_keeps_its_fields_and_its_header(tmp_path):
    points, signature = shape(), np.arange(600 * 33, dtype=np.float32).reshape(600, 33)
    color = np.arange(600, dtype=np.uint32)
    normal = np.arange(600)[::-1]
    fields = [("fpfh", "F", 4, 33, signature), ("rgba", "U", 4, 1, color), ("normal_x", "F", 4, 1, normal)]
    told = "# by hand\nVIEWPOINT 1 2 3 1 0 0 0\n"
    path = write_pcd(tmp_path / "a.pcd", points, fields, told=told, width=30, height=20)
    out = write_labelled(clouds.raw(path), np.arange(600) % 5, tmp_path, "out")
    kept = clouds.raw(out).fields
    assert np.array_equal(kept["fpfh"], signature) and np.array_equal(kept["rgba"], color)
    assert np.array_equal(kept["normal_x"], normal) and kept["label"].tolist() == (np.arange(600) % 5).tolist()
    header = out.read_bytes()[:600].decode("latin-1")
    assert all(line in header for line in ("# by hand", "WIDTH 30\n", "HEIGHT 20\n", "VIEWPOINT 1 2 3 1 0 0 0\n"))
    assert " fpfh " in header and " 33 " in header


def test_use_10_compressed_pcd_is_read(tmp_path):
    import open3d

    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(shape()))
    open3d.io.write_point_cloud(str(tmp_path / "a.pcd"), cloud, compressed=True)
    assert np.allclose(clouds.read(tmp_path / "a.pcd").points, shape(), atol=1e-6)


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


def test_use_10_ply_keeps_its_comments(tmp_path):
    path = tmp_path / "a.ply"
    properties = "".join(f"property double {axis}\n" for axis in "xyz")
    path.write_text(f"ply\nformat ascii 1.0\ncomment by hand\nelement vertex 1\n{properties}end_header\n1 2 3\n")
    out = write_labelled(clouds.raw(path), np.array([1]), tmp_path, "out")
    assert b"comment by hand" in out.read_bytes()


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


def test_use_14_spellings_that_need_no_refusal(tmp_path):
    points = shape(count=50)
    np.savez(tmp_path / "a.npz", coords=points)
    (tmp_path / "b.csv").write_text("X,Y,Z,class\n" + "".join(f"{x},{y},{z},chair\n" for x, y, z in points))
    (tmp_path / "c.pts").write_text("50\n" + "".join(f"{x} {y} {z} 9 1 2 3\n" for x, y, z in points))
    np.column_stack([points, np.arange(50)]).astype("<f4").tofile(tmp_path / "d.bin")
    (tmp_path / "e.xyz").write_text("".join(f"{x} {y} {z}\n" for x, y, z in points).replace(".", ","))
    trimesh.creation.box().export(tmp_path / "box.stl")
    for name in ("a.npz", "b.csv", "c.pts", "d.bin", "e.xyz"):
        assert np.allclose(clouds.read(tmp_path / name).points, points, atol=1e-6), name
    assert clouds.read(tmp_path / "d.bin").fields["intensity"].tolist() == list(range(50))
    assert clouds.read(tmp_path / "b.csv").fields["class"].tolist() == [0] * 50


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


def test_use_14_text_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "PIECE", 7)
    monkeypatch.setattr(text, "HEAD", 3)
    points = shape(count=50)
    lines = [f"{x},{y},{z},{'leg' if x > 0 else 'arm'}" for x, y, z in points]
    (tmp_path / "a.csv").write_text("\n".join(["x,y,z,class", *lines]))
    cloud = clouds.read(tmp_path / "a.csv")
    assert np.array_equal(cloud.points, points) and cloud.fields["class"].tolist() == (points[:, 0] > 0).tolist()
    again = clouds.read(write_labelled(cloud, np.arange(50), tmp_path, "out"))
    assert again.fields["label"].tolist() == list(range(50)) and list(again.fields) == ["class", "label"]
    (tmp_path / "b.csv").write_text("\n".join(["x,y,z,class", *lines[:40], "1,2,3,4", *lines[40:45]]))
    with pytest.raises(InputError, match="not numbers separated like"):
        clouds.read(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("\n".join(["x,y,z,class", *lines[:40], "1,2,3"]))
    with pytest.raises(InputError, match=r"line 42: 3 columns where the first line has 4"):
        clouds.read(tmp_path / "c.csv")


def test_use_14_a_text_of_many_points_takes_little_more_memory_than_they_do(tmp_path, monkeypatch):
    points = np.random.default_rng(0).normal(size=(60_000, 3)).round(4)
    (tmp_path / "a.xyz").write_text("".join(f"{x} {y} {z}\n" for x, y, z in points.tolist()))
    monkeypatch.setattr(text, "PIECE", 2_000, raising=False)
    tracemalloc.start()
    try:
        cloud = clouds.raw(tmp_path / "a.xyz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(cloud.points) == 60_000 and peak < 5 * cloud.points.nbytes


def test_use_missing_formats_of_scanners_and_printers(tmp_path):
    box = trimesh.creation.box()
    box.export(tmp_path / "box.3mf")
    cloud = clouds.read(tmp_path / "box.3mf", samples=300)
    assert len(cloud.points) == 300 and np.allclose(np.abs(cloud.points).max(0), 0.5, atol=0.02)
    (tmp_path / "a.pts").write_text("2\n1 2 3 -700 10 20 30\n4 5 6 -701 11 21 31\n")
    found = clouds.read(tmp_path / "a.pts")
    assert found.points.tolist() == [[1, 2, 3], [4, 5, 6]] and found.fields["column3"].tolist() == [-700, -701]


def test_use_missing_e57(tmp_path):
    pye57 = pytest.importorskip("pye57", reason=".e57 needs the extra e57")
    points = shape(count=200)
    data = {f"cartesian{axis}": points[:, number] for number, axis in enumerate("XYZ")}
    file = pye57.E57(str(tmp_path / "a.e57"), mode="w")
    file.write_scan_raw({**data, "intensity": np.linspace(0, 1, 200)})
    file.write_scan_raw({**data, "intensity": np.linspace(0, 1, 200)}, translation=np.array([5.0, 0.0, 0.0]))
    file.close()
    cloud = clouds.read(tmp_path / "a.e57")
    assert np.allclose(cloud.points[:200], points, atol=1e-6)
    assert np.allclose(cloud.points[200:], np.add(points, (5, 0, 0)), atol=1e-6)
    assert np.bincount(cloud.fields["scan"]).tolist() == [200, 200] and cloud.fields["intensity"].max() == 1


def test_use_missing_e57_without_its_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pye57", None)
    (tmp_path / "a.e57").write_bytes(b"ASTM-E57" + bytes(100))
    with pytest.raises(InputError, match=r"pip install 'peft-suite\[e57\]'"):
        clouds.read(tmp_path / "a.e57")


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
