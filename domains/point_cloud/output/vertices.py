"""Labels of a mesh's own vertices, from those of the points that were drawn from its surface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.data.readers.meshes import load_mesh
from domains.point_cloud.output.labelled import COLORS, LABEL
from domains.point_cloud.types import Cloud
from suite.files import atomic_file
from suite.media.sheets import Pixels


def write_vertices(cloud: Cloud, labels: NDArray[np.integer], colors: Pixels, folder: Path, name: str) -> list[Path]:
    """Write the mesh that a cloud was drawn from as PLY, every vertex and face with the label of the nearest point.

    Args:
        labels: (N,) of the drawn points. colors: (N, 3) of the labels.

    Returns:
        The file; none where the cloud was not drawn from a mesh on the disk.
    """
    source = Path(cloud.source)
    if not cloud.sampled or not source.is_file():
        return []
    import plyfile
    from scipy.spatial import cKDTree

    mesh = load_mesh(source)
    tree = cKDTree(cloud.points)
    corners = np.nan_to_num(np.asarray(mesh.vertices, dtype=np.float64))
    nearest = tree.query(corners)[1]
    middles = tree.query(corners[mesh.faces].mean(1))[1]
    columns = [*((axis, "<f8") for axis in "xyz"), *((color, "u1") for color in COLORS), (LABEL, "<i4")]
    vertices = np.empty(len(corners), dtype=columns)
    for number, axis in enumerate("xyz"):
        vertices[axis] = mesh.vertices[:, number]
    for number, color in enumerate(COLORS):
        vertices[color] = colors[nearest, number]
    vertices[LABEL] = labels[nearest]
    faces = np.empty(len(mesh.faces), dtype=[("vertex_indices", "<i4", (3,)), (LABEL, "<i4")])
    faces["vertex_indices"], faces[LABEL] = mesh.faces, labels[middles]
    elements = [plyfile.PlyElement.describe(vertices, "vertex"), plyfile.PlyElement.describe(faces, "face")]
    path = folder / f"{name}.labelled.mesh.ply"
    with atomic_file(path) as temporary:
        plyfile.PlyData(elements, byte_order="<").write(str(temporary))
    return [path]
