"""Meshes, read by trimesh (Open3D drops faces of OBJ files that are no triangles) and sampled by area with a seed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.types import Cloud
from suite.errors import InputError

MAX_POINTS = 200_000_000
"""More points than this in a header are taken for a damaged file, before anything is allocated."""


def sample_mesh(
    mesh: Any, count: int, seed: int, source: str, fields: Mapping[str, NDArray[Any]] | None = None
) -> Cloud:
    """Draw `count` points from the surface of a trimesh mesh, uniformly by area.

    Args:
        fields: values of the vertices by name; a point takes those of the nearest corner of its face.

    Raises:
        InputError: the surface has no area.
    """
    import trimesh

    finite = np.isfinite(mesh.vertices[mesh.faces]).all((1, 2))
    area = np.where(finite, mesh.area_faces, 0.0)
    if not area.sum() > 0:
        raise InputError(f"{source}: the mesh's surface has no area (every face is degenerate)")
    points, faces = trimesh.sample.sample_surface(mesh, count, face_weight=area, seed=seed)
    corners = mesh.faces[faces]
    distance = np.linalg.norm(mesh.vertices[corners] - points[:, None], axis=-1)
    nearest = corners[np.arange(len(points)), distance.argmin(1)]
    kept = {name: values[nearest] for name, values in (fields or {}).items()}
    notes = () if finite.all() else (f"{int((~finite).sum())} faces with NaN or infinite corners left out",)
    return Cloud(source, np.asarray(points), kept, sampled=True, notes=notes)


def read_mesh(path: Path, samples: int, seed: int, fields: Mapping[str, NDArray[Any]] | None = None) -> Cloud:
    """Points drawn from a mesh's surface; its vertices where it has no faces, or where no point is to be drawn.

    Args:
        fields: values of the vertices by name, where the caller has read them.
    """
    loaded = load_mesh(path)
    faces = getattr(loaded, "faces", None)
    if faces is not None and len(faces) and samples:
        if faces.max() >= len(loaded.vertices):
            raise InputError(f"{path}: a face names vertex {int(faces.max())} of {len(loaded.vertices)}")
        return sample_mesh(loaded, samples, seed, str(path), fields)
    vertices = np.asarray(getattr(loaded, "vertices", ()))
    if len(vertices) == 0:
        raise InputError(f"{path}: no vertices and no faces; is this a {path.suffix} file?")
    why = "no faces" if faces is None or not len(faces) else "no point is drawn"
    return Cloud(str(path), vertices, dict(fields or {}), notes=(f"{why}: its vertices are the cloud",))


def load_mesh(path: Path) -> Any:
    """A file as one trimesh mesh, its vertices in the file's order; what has faces alone, where anything has.

    Raises:
        InputError: it holds nothing, or less than it announces.
    """
    import trimesh

    check = {".off": _check_off, ".stl": _check_stl, ".gltf": _check_gltf, ".glb": _check_gltf}.get(path.suffix.lower())
    if check:
        check(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = trimesh.load(path, process=False)
        if isinstance(loaded, trimesh.Scene):
            parts = [part for part in loaded.dump() if len(getattr(part, "vertices", ()))]
            if not parts:
                raise InputError(f"{path}: the scene holds no geometry")
            faced = [part for part in parts if len(getattr(part, "faces", ()))]
            loaded = trimesh.util.concatenate(faced or parts)
    return loaded


def _check_off(path: Path) -> None:
    """OFF has no terminator and trimesh pads what is missing, so the body is counted against the header."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        rows = (line.split("#", 1)[0].split() for line in lines)
        words = [word for row in rows for word in row]
    # Most of the original ModelNet40 runs keyword and counts together: `OFF490 518 0`.
    match = re.fullmatch(r"([A-Z0-9]*OFF)(\d*)", words[0].upper()) if words else None
    if match is None:
        raise InputError(f"{path}: no OFF header in the first line")
    joined = [match[2]] if match[2] else []
    counts = [*joined, *words[1:4]][:3]
    body = len(words) + len(joined) - 4
    if len(counts) < 3 or not all(word.isdigit() for word in counts):
        raise InputError(f"{path}: the OFF header must give the numbers of vertices, faces and edges")
    vertices, faces = int(counts[0]), int(counts[1])
    if max(vertices, faces) > MAX_POINTS:
        raise InputError(f"{path}: the header announces {vertices} vertices and {faces} faces; the file is damaged")
    if body < 3 * vertices + 4 * faces:
        wanted = f"{vertices} vertices and {faces} faces"
        raise InputError(f"{path}: truncated: the header announces {wanted}, {body} values follow")


def _check_stl(path: Path) -> None:
    """A binary STL announces its triangles, 50 bytes each; trimesh reads a short one as an empty scene."""
    with path.open("rb") as stream:
        header = stream.read(84)
    if header[:5].lower() == b"solid" or len(header) < 84:
        return
    announced, present = int.from_bytes(header[80:84], "little"), (path.stat().st_size - 84) // 50
    if present < announced:
        raise InputError(f"{path}: truncated: {announced} triangles announced, {present} follow")


def _check_gltf(path: Path) -> None:
    """Draco's compressed geometry is read by trimesh as a mesh of nothing."""
    if b"KHR_draco_mesh_compression" in path.read_bytes():
        raise InputError(f"{path}: its geometry is compressed by Draco; export it without, e.g. `gltf-transform copy`")
