"""What every reader of a data set gives: labelled clouds that are loaded one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError

Split = Literal["train", "val", "test", "trainval"]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "trainval")

Loaded = tuple[NDArray[np.float32], NDArray[np.int64] | None]
"""Points (N, 3) in the file's order and units, with the channels that were asked for beside them; and the part (N,) of
each where the set has parts, or `NO_PART`."""

NO_PART = -1
"""Of a point that nobody has labelled: neither losses nor scores count it."""


@dataclass(frozen=True)
class Options:
    """How a source is read.

    Attributes:
        variant: of ScanObjectNN: `hardest` (PB_T50_RS), `objbg` or `objonly`.
        categories: only these classes, in this order; None keeps all.
        val_share: share of each class that is held out of `train` as `val`, where the set has no such split.
        samples: points drawn from a mesh.
        up: `y`, or `z` to turn clouds whose z axis points up.
        noise, occluded: of the made world's shapes (see `shapes.make`).
        npoints: points of a made shape.
        parts: whether parts are wanted: a folder of one's own must then be read to know how many there are.
        block: side of the columns that scenes are cut into, in metres; None is the set's own.
        inputs: channels that are read of each point beside its place.
        seed: of held-out shares and of drawing from meshes.
    """

    variant: str = "hardest"
    categories: tuple[str, ...] | None = None
    val_share: float = 0.1
    samples: int = 8192
    up: str = "y"
    noise: float = 0.01
    occluded: float = 0.3
    npoints: int = 1024
    parts: bool = False
    block: float | None = None
    inputs: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class CloudSet:
    """Labelled clouds of one split.

    Attributes:
        classes: names in the order of the labels; for part segmentation the categories.
        labels: (S,) index into `classes`.
        names: what each cloud is called in messages, e.g. its file.
        load: cloud number -> points and parts.
        parts: names of the parts of each category; part ids count through all categories in this order.
        normalise: whether the set's protocol puts every cloud into the unit sphere.
        protocol: one line on where the split comes from, for reports.
        notes: what a user should know of the reading: files left out, labels guessed.
        side: metres of the columns that scenes are cut into; None where the clouds are no blocks of scenes.
        whole: the scenes that the clouds are blocks of.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    names: Sequence[str]
    load: Callable[[int], Loaded]
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    normalise: bool = True
    protocol: str = ""
    notes: tuple[str, ...] = ()
    side: float | None = None
    whole: CloudSet | None = None

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.names):
            raise InputError(f"{len(self.names)} clouds and {len(self.labels)} labels; give one label a cloud")
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < len(self.classes)):
            wrong = int(self.labels[(self.labels < 0) | (self.labels >= len(self.classes))][0])
            raise InputError(f"label {wrong} is outside the {len(self.classes)} classes; check the labels")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64], protocol: str | None = None) -> CloudSet:
        """The clouds of `index`, in that order."""
        chosen = np.asarray(index, dtype=np.int64)
        return replace(
            self,
            labels=self.labels[chosen],
            names=[self.names[i] for i in chosen],
            load=lambda number: self.load(int(chosen[number])),
            whole=None,
            protocol=self.protocol if protocol is None else protocol,
        )

    def only(self, categories: Sequence[str] | None) -> CloudSet:
        """The clouds of some classes, which are numbered anew in the given order.

        Raises:
            InputError: a class is unknown.
        """
        if categories is None:
            return self
        for name in categories:
            if name not in self.classes:
                raise InputError(f"unknown class {name!r}; there are {', '.join(self.classes)}")
        renamed = np.full(len(self.classes), -1)
        renamed[[self.classes.index(name) for name in categories]] = np.arange(len(categories))
        kept = self.take(np.flatnonzero(renamed[self.labels] >= 0))
        if not self.parts:
            return replace(kept, classes=tuple(categories), labels=renamed[kept.labels])
        moved = self._part_numbers(categories)
        load = kept.load

        def renumbered(number: int) -> Loaded:
            points, parts = load(number)
            return points, None if parts is None else np.where(parts == NO_PART, NO_PART, moved[parts])

        parts = {name: self.parts[name] for name in categories}
        return replace(kept, classes=tuple(categories), labels=renamed[kept.labels], parts=parts, load=renumbered)

    def _part_numbers(self, categories: Sequence[str]) -> NDArray[np.int64]:
        """The new id of each old part id (-1: gone)."""
        old = part_ids(self.parts)
        new = part_ids({name: self.parts[name] for name in categories})
        moved = np.full(sum(map(len, self.parts.values())), -1)
        for name in categories:
            moved[list(old[name])] = new[name]
        return moved


def part_ids(parts: Mapping[str, Sequence[Any]]) -> dict[str, tuple[int, ...]]:
    """The ids of each category's parts, counted through all categories."""
    ids, start = {}, 0
    for name, own in parts.items():
        ids[name] = tuple(range(start, start + len(own)))
        start += len(own)
    return ids


def hold_out(whole: CloudSet, share: float, seed: int) -> tuple[CloudSet, CloudSet]:
    """Split by class: (1 - share, share) of each, drawn with `seed`; a class with one cloud keeps it in the first.

    Raises:
        InputError: `share` is not between 0 and 1.
    """
    if not 0 <= share < 1:
        raise InputError(f"val_share is {share}; give a share from 0 up to, but not including, 1")
    rng = np.random.default_rng(seed)
    held = []
    for label in range(len(whole.classes)):
        own = rng.permutation(np.flatnonzero(whole.labels == label))
        count = min(len(own) - 1, max(1, round(share * len(own)))) if share and len(own) > 1 else 0
        held.append(own[:count])
    out = np.sort(np.concatenate(held)) if held else np.zeros(0, dtype=np.int64)
    kept = np.setdiff1d(np.arange(len(whole)), out)
    note = f"{share:.0%} of each class of the training split, seed {seed}"
    return whole.take(kept, f"without {note}" if len(out) else whole.protocol), whole.take(out, note)
