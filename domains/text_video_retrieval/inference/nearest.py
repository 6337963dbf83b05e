"""The nearest rows to a vector: exactly, or by cells of which the nearest few are looked through."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from suite.files import atomic_file, write_text

if TYPE_CHECKING:
    from domains.text_video_retrieval.inference.store import Store

Vectors = NDArray[np.float32]
Kind = Literal["auto", "exact", "cells"]

MANY = 100_000
"""Rows from which `auto` is cells."""
LEAST = 1000
"""Rows below which cells are not worth it."""
FILE = "nearest.faiss"
"""Cells of a store, beside its vectors."""
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

        if not _is_cells(kind, len(vectors)):
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

    @classmethod
    def of(cls, store: Store, kind: Kind = "auto", only: NDArray[np.int64] | None = None) -> Nearest:
        """Over the live rows of a store; its cells are kept beside its vectors, and built anew when rows changed.

        Args:
            only: these of its rows, exactly.
        """
        rows = store.live() if only is None else only
        if only is not None:
            return cls.over(store.vectors()[rows], rows, "exact")
        if not _is_cells(kind, len(rows)):
            return cls.over(store.vectors()[rows], rows, "exact")
        file, state = store.folder / FILE, _state(store, rows)
        if (kept := cls._kept(file, rows, state)) is not None:
            return kept
        made = cls.over(store.vectors()[rows], rows, "cells")
        with suppress(OSError):  # an index that may only be read is searched all the same
            made._keep(file, state)
        return made

    @classmethod
    def _kept(cls, file: Path, rows: NDArray[np.int64], state: str) -> Nearest | None:
        import faiss

        about = file.with_suffix(".json")
        try:
            known = json.loads(about.read_text(encoding="utf-8"))
            if known["state"] != state:
                return None
            return cls(faiss.read_index(str(file)), rows, "cells", float(known["recall"]))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError):  # torn or absent: built anew
            return None

    def _keep(self, file: Path, state: str) -> None:
        import faiss

        about = file.with_suffix(".json")
        about.unlink(missing_ok=True)  # whoever stops here has cells of no state, which are built anew
        with atomic_file(file) as temporary:
            faiss.write_index(self.found, str(temporary))
        write_text(about, json.dumps({"state": state, "recall": self.recall}) + "\n")

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


def _is_cells(kind: Kind, count: int) -> bool:
    return count >= LEAST and (kind == "cells" or (kind == "auto" and count >= MANY))


def _state(store: Store, rows: NDArray[np.int64]) -> str:
    """A digest of which rows there are, and of some of their vectors."""
    digest = hashlib.sha256(rows.tobytes())
    digest.update(store.vectors()[rows[:: max(1, len(rows) // 64)]].tobytes())
    return digest.hexdigest()
