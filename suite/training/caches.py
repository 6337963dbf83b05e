"""What frozen networks make of data, computed once: kept in memory, and in a folder where the user names one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from suite.files import atomic_file


class TensorCache:
    """Tensors by what they were made of: whatever changes, the file's digest, the size, the network, is another key.

    Args:
        folder: keeps them from one run to the next; None keeps them in memory alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.known: dict[str, dict[str, Tensor]] = {}
        self.made = 0

    def get(self, key: tuple[object, ...], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of a key, made if they are not there."""
        name = hashlib.sha256(json.dumps(key, default=str).encode()).hexdigest()
        if name not in self.known:
            found = self._read(name)
            if found is None:
                found = {part: tensor.detach().cpu().contiguous() for part, tensor in make().items()}
                self.made += 1
                self._write(name, found)
            self.known[name] = found
        return self.known[name]

    def _read(self, name: str) -> dict[str, Tensor] | None:
        if self.folder is None or not (file := self.folder / f"{name}.safetensors").is_file():
            return None
        try:
            return load_file(file)
        except SafetensorError:
            return None

    def _write(self, name: str, tensors: dict[str, Tensor]) -> None:
        if self.folder is not None:
            with atomic_file(self.folder / f"{name}.safetensors") as temporary:
                save_file(tensors, temporary)
