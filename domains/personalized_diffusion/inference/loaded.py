"""Adapters on one base: references with weights, and what of them is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from suite.errors import InputError


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


def weighted(word: str) -> tuple[str, float]:
    """Reference and weight of `REF` or `REF@WEIGHT`.

    Raises:
        InputError: the weight is no finite number.
    """
    reference, _, weight = word.rpartition("@")
    if not reference:
        return word, 1.0
    try:
        value = float(weight)
    except ValueError:
        return word, 1.0  # hf:org/name@revision
    if not math.isfinite(value):
        raise InputError(f"{word}: weight {weight} is no finite number")
    return reference, value
