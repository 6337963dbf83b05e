"""The nearest rows to a vector: exactly, or by cells of which the nearest few are looked through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Kind = Literal["auto", "exact", "cells"]

MANY = 100_000
"""Rows from which `auto` is cells."""
QUERIES = 100
"""Random ones, on which the recall of cells is measured."""


@dataclass
class Nearest:
    """An index of FAISS over vectors of length 1.

    Attributes:
        rows: (n,) what each vector is called. recall: measured share of the exact ten that are found; 1 if exact.
    """

    found: Any
    rows: NDArray[np.int64]
    kind: str
    recall: float = 1.0

    @classmethod
    def over(cls, vectors: Vectors, rows: NDArray[np.int64], kind: Kind = "auto", probes: int = 32) -> Nearest:
        """Build.

        Args:
            vectors: (n, dim) of length 1. rows: (n,) their names.
            kind: `cells` (FAISS's IVF) is approximate, and measures its recall@10 against the exact answer.
            probes: cells that are looked through.
        """
        import faiss

        if kind == "exact" or (kind == "auto" and len(vectors) < MANY) or len(vectors) < 1000:
            flat = faiss.IndexFlatIP(vectors.shape[1])
            flat.add(np.ascontiguousarray(vectors))
            return cls(flat, rows, "exact")
        cells = max(16, int(np.sqrt(len(vectors))))
        flat = faiss.IndexFlatIP(vectors.shape[1])
        built = faiss.IndexIVFFlat(flat, vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
        rng = np.random.default_rng(0)
        sample = rng.choice(len(vectors), min(len(vectors), 40 * cells), replace=False)
        built.cp.niter = 8
        built.train(np.ascontiguousarray(vectors[np.sort(sample)]))
        for start in range(0, len(vectors), 65536):
            built.add(np.ascontiguousarray(vectors[start : start + 65536]))
        built.nprobe = min(probes, cells)
        made = cls(built, rows, "cells")
        made.recall = made._measured(vectors, rng)
        return made

    def search(self, query: Vectors, count: int) -> tuple[Vectors, NDArray[np.int64]]:
        """Cosines and rows of the `count` nearest to each query (Q, dim), the nearest first."""
        count = min(count, len(self.rows))
        scores, places = self.found.search(np.ascontiguousarray(query, dtype=np.float32), count)
        return scores, np.where(places >= 0, self.rows[places], -1)

    def _measured(self, vectors: Vectors, rng: np.random.Generator) -> float:
        own = rng.choice(len(vectors), min(QUERIES, len(vectors)), replace=False)
        queries = vectors[own] + 0.05 * rng.standard_normal((len(own), vectors.shape[1])).astype(np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        _, places = self.found.search(queries, 10)
        exact = np.argpartition(-(queries @ vectors.T), 10, axis=1)[:, :10]
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(places, exact, strict=True)]))
