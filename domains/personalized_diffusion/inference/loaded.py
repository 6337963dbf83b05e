"""What is loaded of an adapter on a base."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Loaded:
    """An adapter on the base.

    Attributes:
        name: of the attachment. reference: as the user wrote it. weight: its share among several.
        layers: names of its tensors in the model.
    """

    name: str
    reference: str
    weight: float
    layers: tuple[str, ...]
