"""E57 (ASTM E2807), the exchange format of terrestrial scanners, by pye57."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from domains.point_cloud.data.readers.meshes import MAX_POINTS
from domains.point_cloud.types import Cloud
from suite.errors import InputError

FIELDS = {
    "intensity": "intensity", "colorRed": "red", "colorGreen": "green", "colorBlue": "blue",
    "rowIndex": "row", "columnIndex": "column", "nor:normalX": "nx", "nor:normalY": "ny", "nor:normalZ": "nz",
}  # fmt: skip
"""What the format calls values of a point, and what we do."""


def read_e57(path: Path, samples: int, seed: int) -> Cloud:
    """All scans of a file in its common coordinates; `scan` numbers them. Fields that not all have are left out."""
    try:
        import pye57
    except ImportError:
        raise InputError(f"{path}: E57 needs one more package; pip install 'peft-suite[e57]'") from None
    file = pye57.E57(str(path))
    announced = sum(file.get_header(number).point_count for number in range(file.scan_count))
    if announced > MAX_POINTS:
        raise InputError(f"{path}: the headers announce {announced} points; the file is damaged")
    wanted = {"intensity": True, "colors": True, "row_column": True, "ignore_missing_fields": True}
    scans = [file.read_scan(number, **wanted) for number in range(file.scan_count)]
    if not scans:
        raise InputError(f"{path}: it holds no scan, only pictures perhaps")
    axes = [np.concatenate([scan[f"cartesian{axis}"] for scan in scans]) for axis in "XYZ"]
    shared = [name for name in FIELDS if all(name in scan for scan in scans)]
    fields = {FIELDS[name]: np.concatenate([scan[name] for scan in scans]) for name in shared}
    if len(scans) > 1:
        fields["scan"] = np.repeat(np.arange(len(scans)), [len(scan["cartesianX"]) for scan in scans])
    return Cloud(str(path), np.stack(axes, 1), fields)
