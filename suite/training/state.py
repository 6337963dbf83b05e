"""Which tensors of a recipe are trained, and copies of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from suite.adapters import buffer_names

COUNT = "num_batches_tracked"


class TrainedState:
    """The tensors that training changes or rests on: trainable parameters, buffers of trainable adapters, moved ones.

    Other buffers are found by watching rather than by a list: batch-norm statistics are kept once they have moved since
    `watch`; rotary tables and quantised weights are not.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._versions: dict[str, tuple[int, int]] | None = None
        self._resumed: set[str] = set()

    def watch(self) -> None:
        """Start watching the buffers, once they lie on their device; later calls change nothing."""
        if self._versions is None:
            self._versions = {name: _version(buffer) for name, buffer in self.module.named_buffers()}

    def resume(self, names: Iterable[str]) -> None:
        """Count what a checkpoint held as moved."""
        self._resumed |= set(names)

    def trainable(self) -> set[str]:
        """Names of the trainable parameters."""
        return {name for name, parameter in self.module.named_parameters() if parameter.requires_grad}

    def names(self) -> set[str]:
        """Names of the trainable parameters, of the buffers of their adapters and of every buffer that has changed."""
        watched = self._versions or {}
        moved = {
            name
            for name, buffer in self.module.named_buffers()
            if name in watched and watched[name] != _version(buffer)
        }
        # Batch norm's kernel writes its statistics without raising their version; only its count of batches tells.
        normed = {name.removesuffix(COUNT) for name in moved if name.endswith(COUNT)}
        statistics = {norm + name for norm in normed for name in ("running_mean", "running_var")}
        return self.trainable() | buffer_names(self.module) | moved | statistics | self._resumed

    def not_finite(self) -> str | None:
        """The name of a trained parameter that holds NaN or infinity, or of a buffer that holds NaN, else None."""
        names, trainable = self.names(), self.trainable()
        good = {
            # A buffer may start at infinity, as the extremes of an observer do.
            name: (value.isfinite() if name in trainable else ~value.isnan()).all()
            for name, value in self.module.state_dict().items()
            if name in names and value.is_floating_point()
        }
        if not good:
            return None
        # One value for all, so that a device is waited for once.
        device = next(iter(good.values())).device
        whole = torch.stack([value.to(device) for value in good.values()])  # (tensors,)
        return None if bool(whole.all()) else next(n for n, ok in zip(good, whole.tolist(), strict=True) if not ok)

    def copy(self) -> dict[str, Tensor]:
        """The trained tensors by name, on the CPU."""
        names = self.names()
        return {k: v.detach().to("cpu", copy=True) for k, v in self.module.state_dict().items() if k in names}

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Put a copy back into the module."""
        self.module.load_state_dict(values, strict=False)


def _version(tensor: Tensor) -> tuple[int, int]:
    # Writes in place raise the version counter that autograd keeps; a new tensor has another identity.
    return id(tensor), tensor._version
