"""What a model may see of a point beside its place: colour, normal, intensity, in the order that an adapter states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "red": ("red", "r", "diffuse_red"),
    "green": ("green", "g", "diffuse_green"),
    "blue": ("blue", "b", "diffuse_blue"),
    "nx": ("nx", "normal_x", "normalx"),
    "ny": ("ny", "normal_y", "normaly"),
    "nz": ("nz", "normal_z", "normalz"),
    "intensity": ("intensity", "scalar_intensity", "reflectance"),
}
"""Channels that an input layout may name, and what files call them."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "colour": ("red", "green", "blue"),
    "normal": ("nx", "ny", "nz"),
    "intensity": ("intensity",),
}
"""What a configuration names: these channels belong together."""


def layout(groups: Sequence[str]) -> tuple[str, ...]:
    """The channels of some groups, in their order.

    >>> layout(["intensity", "colour"])
    ('intensity', 'red', 'green', 'blue')

    Raises:
        InputError: a group is unknown or named twice.
    """
    for name in groups:
        if name not in GROUPS:
            raise InputError(f"data.inputs names {name!r}; choose from {', '.join(GROUPS)}")
    if len(set(groups)) < len(groups):
        raise InputError(f"data.inputs names {', '.join(groups)}; name each once")
    return tuple(channel for name in groups for channel in GROUPS[name])


def values_of(fields: Mapping[str, NDArray[Any]], names: Sequence[str], up: str = "y") -> NDArray[np.float32]:
    """The channels (N, len(names)) of a cloud's fields, at a scale that files agree on.

    Colours above 1 are shares of 255, above that of 65,535: scanners write both into the same 16 bits. An intensity of
    whole numbers is a share of what its 8 or 16 bits hold. Normals are turned with the cloud.

    Args:
        up: axis that points up in the file; the channels are those of the cloud turned to y.

    Raises:
        InputError: the file has no such field, or values that are no numbers of a point.
    """
    known = {name.lower(): values for name, values in fields.items()}
    found: dict[str, NDArray[Any]] = {}
    for name in names:
        field = next((known[one] for one in SPELLINGS[name] if one in known), None)
        if field is None:
            raise InputError(f"no field {name} of each point, which the adapter sees beside its place")
        if field.ndim != 1 or not np.isfinite(field.astype(np.float64)).all():
            raise InputError(f"the field {name} has values that are no numbers")
        found[name] = field
    columns = {name: field.astype(np.float64) for name, field in found.items()}
    colours = [name for name in GROUPS["colour"] if name in columns]
    most = max((float(columns[name].max(initial=0)) for name in colours), default=0.0)
    if most > 1:
        columns |= {name: columns[name] / (255 if most <= 255 else 65_535) for name in colours}
    if "intensity" in columns:
        columns["intensity"] = columns["intensity"] / _full_scale(found["intensity"])
    if up == "z" and "nx" in columns:  # as `clouds.usable` turns places
        columns["nx"], columns["ny"], columns["nz"] = columns["ny"], columns["nz"], columns["nx"]
    return np.stack([columns[name] for name in names], 1).astype(np.float32)


def _full_scale(values: NDArray[Any]) -> float:
    """The largest value that an intensity can have."""
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        return 255.0 if values.dtype.itemsize == 1 else 65_535.0
    most = float(values.max(initial=0))
    return 1.0 if most <= 1 else 255.0 if most <= 255 else 65_535.0
