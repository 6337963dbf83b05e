"""What the values that a run logs are called for people. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_KNOWN = {
    "train/loss": "training loss",
    "val/loss": "loss on held-out samples",
    "lr": "learning rate",
    "steps_per_second": "optimiser steps per second",
    "memory_gb": "GPU memory used at most (GB)",
}
_WHERE = {"train": "in training", "val": "on held-out samples"}


def label(name: str, given: Mapping[str, str]) -> str:
    """A value in words: what `given` says, else words made of its name.

    >>> label("val/mean_class_accuracy", {})
    'mean class accuracy on held-out samples'
    >>> label("val/loss", {"val/loss": "loss on held-out documents"})
    'loss on held-out documents'
    """
    if name in given or name in _KNOWN:
        return given.get(name) or _KNOWN[name]
    where, _, what = name.partition("/")
    if what and where not in _WHERE:
        return f"{where.replace('_', ' ')}: {label(what, given)}"
    words = (what or where).replace("_", " ").replace("/", ": ")
    return f"{words} {_WHERE[where]}" if what else words


def labels(names: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """Each value in words, see `label`."""
    return {name: label(name, given) for name in names}
