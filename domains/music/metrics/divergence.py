"""How differently a classifier hears generated music and its targets: KL divergences over pairs of one name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

Floats = NDArray[np.floating]

EPSILON = 1e-6
"""Added inside the logarithm, as published."""


@dataclass(frozen=True)
class Pairs:
    """Names in both sets, and those in one alone, each sorted."""

    both: tuple[str, ...]
    only_targets: tuple[str, ...]
    only_generated: tuple[str, ...]

    @classmethod
    def of(cls, targets: Iterable[str], generated: Iterable[str]) -> Pairs:
        """Match by name, in whatever order they come."""
        wanted, made = set(targets), set(generated)
        return cls(tuple(sorted(wanted & made)), tuple(sorted(wanted - made)), tuple(sorted(made - wanted)))

    def notice(self) -> str | None:
        """Which names have no partner; None where all have one."""
        if not self.only_targets and not self.only_generated:
            return None
        unmatched = [*self.only_targets, *self.only_generated]
        return (
            f"{len(self.both)} pairs of one name; without a partner are {len(self.only_targets)} targets and "
            f"{len(self.only_generated)} generated files, e.g. {unmatched[0]}"
        )


def kl_softmax(targets: Floats, generated: Floats) -> float:
    """KL(target || generated) of softmax probabilities, summed over classes, mean over pairs.

    Args:
        targets, generated: logits (pairs, classes), row by row of one piece.
    """
    return _mean(softmax(targets.astype(np.float64), axis=1), softmax(generated.astype(np.float64), axis=1))


def kl_sigmoid(targets: Floats, generated: Floats) -> float:
    """The same of each class's own probability, for classifiers of several labels; it may be negative."""
    return _mean(expit(targets.astype(np.float64)), expit(generated.astype(np.float64)))


def kl_by_name(targets: Mapping[str, Floats], generated: Mapping[str, Floats]) -> tuple[dict[str, float], Pairs]:
    """Both forms over the pairs of one name, and which names have no partner.

    Args:
        targets, generated: logits (classes,) by name; the order does not matter.
    """
    pairs = Pairs.of(targets, generated)
    if not pairs.both:
        return {}, pairs
    wanted = np.stack([targets[name] for name in pairs.both])
    made = np.stack([generated[name] for name in pairs.both])
    return {"kl_softmax": kl_softmax(wanted, made), "kl_sigmoid": kl_sigmoid(wanted, made)}, pairs


def _mean(targets: Floats, generated: Floats) -> float:
    terms = np.where(targets > 0, targets * np.log(np.maximum(targets, 1e-300)), 0.0)
    return float((terms - targets * np.log(generated + EPSILON)).sum() / len(targets))
