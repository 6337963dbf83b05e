"""Pickled caches of arrays (`.dat`, `.pkl`), read by an unpickler that knows nothing but arrays and numbers.

A pickle may run any code when it is read. This one may name numpy's array constructors and nothing else; whatever
else it names is refused, by name, before it is called.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suite.errors import InputError
from suite.files import atomic_file

_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
ALLOWED = {(module, name) for module in _MODULES for name in ("_reconstruct", "scalar")} | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # how Python 2's arrays of bytes are written
}


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise InputError(f"the pickle names {module}.{name}, and only arrays and numbers are read; it is refused")
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def read(path: Path) -> Any:
    """Lists, tuples, dicts, numbers and arrays of a pickle.

    Raises:
        InputError: it names any class but numpy's arrays, or is damaged.
    """
    with path.open("rb") as stream:
        try:
            return _Arrays(stream, encoding="latin1").load()
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        # A damaged pickle fails in as many ways as there are opcodes.
        except Exception as error:
            raise InputError(f"{path}: damaged or no pickle ({type(error).__name__})") from error


def to_npz(path: Path, out: Path) -> Path:
    """Write a cache `[clouds, labels]` as `points` (S, N, k) and `label` (S,), which needs no unpickling.

    Raises:
        InputError: the cache is of another kind.
    """
    points, labels = cache(path)
    with atomic_file(out) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, points=np.stack(points), label=labels)
    return out


def cache(path: Path) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """Clouds and labels of Point-MAE's ModelNet cache, `[list of (N, 6), list of (1,)]`.

    Raises:
        InputError: the pickle holds something else.
    """
    loaded = read(path)
    kinds = isinstance(loaded, list | tuple) and len(loaded) == 2 and len(loaded[0]) == len(loaded[1])
    if not kinds or not all(isinstance(one, np.ndarray) and one.ndim == 2 for one in loaded[0]):
        raise InputError(f"{path}: a list of clouds and a list of labels were expected")
    return loaded[0], np.array([int(np.ravel(label)[0]) for label in loaded[1]])
