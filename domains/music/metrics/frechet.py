"""Frechet distances between two sets of embeddings: FAD on VGGish, FD on PANNs, or on whatever embeds sounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

ENOUGH = 2048
"""Embeddings of a set below which a distance is biased upwards noticeably."""


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a set of embeddings.

    Attributes:
        mean: (dim,). covariance: (dim, dim), unbiased. count: embeddings.
    """

    mean: Floats
    covariance: Floats
    count: int

    @classmethod
    def of(cls, embeddings: Floats) -> Moments:
        """Of (count, dim) embeddings.

        Raises:
            ValueError: there are fewer than two.
        """
        if embeddings.ndim != 2 or len(embeddings) < 2:
            raise ValueError(f"{embeddings.shape} holds no two embeddings")
        wide = embeddings.astype(np.float64)
        return cls(wide.mean(0), np.atleast_2d(np.cov(wide, rowvar=False)), len(wide))


def frechet(one: Floats, other: Floats, *, as_published: bool = False) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of two sets of embeddings, (count, dim) each.

    Args:
        as_published: what the code of arXiv 2506.21298 computes: covariances between the embeddings in place of those
            between the features. It is no Frechet distance, wants sets of one size (the larger is cut), and differs
            several times over.
    """
    if as_published:
        count = min(len(one), len(other))
        one, other = one[:count], other[:count]
        gap = one.mean(0, dtype=np.float64) - other.mean(0, dtype=np.float64)
        covariances = [np.atleast_2d(np.cov(each.astype(np.float64), rowvar=True)) for each in (one, other)]
        return float(gap @ gap + _spread(*covariances))
    return distance(Moments.of(one), Moments.of(other))


def distance(one: Moments, other: Moments) -> float:
    """The Frechet distance of two normal distributions (Dowson and Landau, 1982)."""
    gap = one.mean - other.mean
    return float(gap @ gap + _spread(one.covariance, other.covariance))


def small_sample(name: str, count: int, dim: int) -> str | None:
    """What a reader must know of a set that is small; None where it is not.

    Args:
        name: of the set. dim: of its embeddings.
    """
    if count >= ENOUGH:
        return None
    if count <= dim:
        return (
            f"{name}: {count} embeddings of {dim} dimensions leave their covariance singular; the distance is biased "
            "upwards and only good for comparing sets of one size"
        )
    return f"{name}: {count} embeddings; below {ENOUGH:,} the distance is biased upwards, compare sets of one size"


def _spread(one: Floats, other: Floats) -> float:
    """tr(S1 + S2 - 2 (S1 S2)^(1/2)), through S1^(1/2) S2 S1^(1/2), which has the same eigenvalues and is symmetric."""
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product = np.linalg.eigvalsh(root @ other @ root)
    return float(np.trace(one) + np.trace(other) - 2 * np.sqrt(np.clip(product, 0, None)).sum())
