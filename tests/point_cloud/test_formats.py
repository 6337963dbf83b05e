"""Files of scanners, printers and other programs: what they hold is read and kept."""

from __future__ import annotations

import json
import struct
import sys
import tracemalloc

import laspy
import numpy as np
import pytest
import trimesh

from domains.point_cloud.data import clouds
from domains.point_cloud.data.readers import text
from domains.point_cloud.output.labelled import write_labelled
from suite.errors import InputError
from tests.point_cloud.scanned import shape, write_las

HEADER = "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"


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


def test_use_02_copc_is_written_as_plain_las(tmp_path):
    las = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
    las.x, las.y, las.z = shape().T
    las.header.vlrs.append(laspy.VLR("copc", 1, "COPC info", bytes(160)))
    las.write(str(tmp_path / "a.las"))
    out = write_labelled(clouds.raw(tmp_path / "a.las"), np.zeros(600, dtype=np.int64), tmp_path, "out")
    with laspy.open(str(out)) as reader:
        assert not [record for record in reader.header.vlrs if record.user_id == "copc"]


@pytest.mark.parametrize(
    ("place", "kind", "what"), [(100, "<I", "records"), (243, "<I", "extended records"), (247, "<Q", "truncated")]
)
def test_use_04_counts_beyond_the_files_size_are_refused_before_they_are_believed(tmp_path, place, kind, what):
    content = bytearray(write_las(tmp_path / "a.las", shape()).read_bytes())
    struct.pack_into(kind, content, place, 10**8)
    (tmp_path / "a.las").write_bytes(content)
    with pytest.raises(InputError, match=what):
        clouds.read(tmp_path / "a.las")


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


def test_use_10_ply_keeps_its_comments(tmp_path):
    path = tmp_path / "a.ply"
    properties = "".join(f"property double {axis}\n" for axis in "xyz")
    path.write_text(f"ply\nformat ascii 1.0\ncomment by hand\nelement vertex 1\n{properties}end_header\n1 2 3\n")
    out = write_labelled(clouds.raw(path), np.array([1]), tmp_path, "out")
    assert b"comment by hand" in out.read_bytes()


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


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_text_of_any_editor_is_read_and_labelled(encoding, tmp_path):
    file = tmp_path / "Maße.txt"
    lines = ["x y z Höhe", *(f"{n} {n % 3} {n % 5} {'Tür' if n % 2 else 'Wand'}" for n in range(8))]
    file.write_text("\n".join(lines) + "\n", encoding=encoding)
    cloud = clouds.read(file)
    assert len(cloud.points) == 8 and cloud.fields["Höhe"].tolist() == [1, 0] * 4
    written = write_labelled(cloud, np.arange(8), tmp_path, "out").read_text(encoding="utf-8").splitlines()
    assert written[0] == "x y z Höhe label" and written[2] == "1 1 1 Tür 1"
    binary = tmp_path / "scan.xyz"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="not text"):
        clouds.read(binary)
