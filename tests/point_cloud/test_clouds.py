from pathlib import Path

import numpy as np
import pytest

from domains.point_cloud.data.clouds import read
from suite.errors import InputError
from tests.real_data import real_data


def test_every_real_mesh_and_scan_is_read():
    folder = real_data("meshes")
    files = sorted(folder.iterdir())
    clouds = {path.name: read(path, samples=500) for path in files}
    assert len(clouds) == 22
    assert [name for name, cloud in clouds.items() if not cloud.sampled] == ["points_emptyface.ply"]
    assert all(np.isfinite(cloud.points).all() and cloud.points.shape[1] == 3 for cloud in clouds.values())
    scan = read(real_data("pointcloud/input.ply"))
    assert list(scan.fields) == ["red", "green", "blue"] and len(scan.points) == 4096
    assert len(read(real_data("pointcloud/airplane.pcd")).points) == 796


def test_sampling_a_mesh_depends_on_the_seed_alone(tmp_path):
    path = tmp_path / "square.obj"
    path.write_text("v 0 0 0\nv 2 0 0\nv 2 0 2\nv 0 0 2\nf 1 2 3 4\n")
    first, again, other = read(path, seed=3), read(path, seed=3), read(path, seed=4)
    assert np.array_equal(first.points, again.points) and not np.array_equal(first.points, other.points)
    quarter = (first.points[:, [0, 2]] < 1).all(1).mean()
    assert abs(quarter - 0.25) < 0.03 and np.ptp(first.points[:, 1]) == 0


def test_text_columns_keep_their_names_and_z_up_is_turned(tmp_path):
    path = tmp_path / "scan.csv"
    path.write_text("label,x,y,z\n7,1,2,3\n8,4,5,6\n")
    cloud = read(path, up="z")
    assert cloud.points.tolist() == [[2, 3, 1], [5, 6, 4]]
    assert cloud.fields["label"].tolist() == [7, 8]


def test_points_without_a_place_are_dropped_with_a_note_or_refused(tmp_path):
    path = tmp_path / "holes.npy"
    np.save(path, np.array([[0, 0, 0, 1], [np.nan, 0, 0, 2], [1, 1, 1, 3]], dtype=np.float32))
    cloud = read(path)
    assert cloud.fields["column3"].tolist() == [1, 3] and "1 points" in cloud.notes[0]
    with pytest.raises(InputError, match="1 of 3 points have NaN"):
        read(path, strict=True)


def _write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


PLY = "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\n{}end_header\n"
PCD = "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {0}\nHEIGHT 1\nPOINTS {0}\nDATA {1}\n"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.ply", "", "the file is empty"),
        ("cloud.docx", "x", "unknown format '.docx'"),
        ("garbage.ply", "hello", "damaged or not .ply"),
        ("flat.ply", PLY.format(1, "") + "1 2\n", "no vertex element with x, y and z"),
        ("short.ply", PLY.format(3, "property float z\n") + "1 2 3\n", "truncated or damaged body"),
        ("absurd.ply", PLY.format(10**12, "property float z\n"), "announces 1000000000000"),
        ("short.pcd", PCD.format(5, "ascii") + "1 2 3\n", "5 points announced, 1 lines follow"),
        ("short2.pcd", PCD.format(5, "binary") + "123", "60 bytes of points announced, 3 follow"),
        ("none.pcd", "hello", "no PCD header"),
        ("words.xyz", "1 2 3\n4 five 6\n", "line 2: not numbers"),
        ("ragged.txt", "1 2 3\n4 5\n", "line 2: 2 columns where the first line has 3"),
        ("two.csv", "1,2\n3,4\n", "at least x y z"),
        ("mixed.csv", "1,2,3\n4;5;6\n", "line 2: not numbers"),
        ("short.off", "OFF\n4 2 0\n0 0 0\n1 0 0\n", "truncated: the header announces 4 vertices"),
        ("header.off", "hello\n", "no OFF header"),
        ("flat.obj", "v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "no area"),
        ("short.stl", b"\0" * 80 + (99).to_bytes(4, "little"), "99 triangles announced, 0 follow"),
        ("pickle.npy", b"\x93NUMPY\x01\x00garbage", "damaged"),
        ("broken.las", b"LASF garbage", "damaged"),
        ("broken.h5", b"not hdf5", "damaged"),
    ],
)
def test_broken_files_are_refused_by_name_and_reason(tmp_path, name, content, reason):
    path = _write(tmp_path / name, content)
    with pytest.raises(InputError, match=reason) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_object_arrays_are_never_unpickled(tmp_path):
    path = tmp_path / "objects.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged"):
        read(path)


def test_an_empty_folder_is_there(tmp_path):
    with pytest.raises(InputError, match="the folder holds no cloud"):
        read(tmp_path)
