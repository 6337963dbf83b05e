"""The readers by file ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from domains.point_cloud.data.readers.arrays import read_h5, read_numpy
from domains.point_cloud.data.readers.e57 import read_e57
from domains.point_cloud.data.readers.kitti import read_kitti
from domains.point_cloud.data.readers.meshes import read_mesh
from domains.point_cloud.data.readers.pcd import read_pcd
from domains.point_cloud.data.readers.scans import read_las, read_ply
from domains.point_cloud.data.readers.text import read_text
from domains.point_cloud.types import Cloud

READERS: Mapping[str, Callable[[Path, int, int], Cloud]] = {
    ".ply": read_ply,
    ".pcd": read_pcd,
    ".xyz": read_text,
    ".txt": read_text,
    ".csv": read_text,
    ".pts": read_text,
    ".bin": read_kitti,
    ".e57": read_e57,
    ".las": read_las,
    ".laz": read_las,
    ".obj": read_mesh,
    ".off": read_mesh,
    ".stl": read_mesh,
    ".glb": read_mesh,
    ".gltf": read_mesh,
    ".3mf": read_mesh,
    ".npy": read_numpy,
    ".npz": read_numpy,
    ".h5": read_h5,
}
"""Readers by file ending: `(path, samples, seed) -> Cloud`."""
