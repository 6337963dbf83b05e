"""Where a plain training stands, kept on the disk: stopped at any step, it ends with the bits of one in one go."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from suite.hub import weights


class Progress:
    """How far a training is, with what it takes to go on.

    Args:
        file: that it is kept in; None keeps nothing.
        generator: of everything that the training draws.
        about: what makes it the same training: its schedule, whatever else its steps depend on.
        every: steps between two keepings.
    """

    def __init__(self, file: Path | None, generator: torch.Generator, about: str, every: int = 50) -> None:
        self.file, self.generator, self.every = file, generator, every
        self.about = hashlib.sha256(about.encode()).hexdigest()
        self.step = 0

    def restore(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Take up what was kept of the same training; of another one nothing is taken."""
        if self.file is None or not self.file.is_file():
            return
        told = weights.metadata(self.file)
        if told.get("about") != self.about:
            print(f"{self.file}: of another training; begun anew", file=sys.stderr, flush=True)
            return
        state = weights.read(self.file)
        model.load_state_dict(_part(state, "model."))
        for place, optimizer in enumerate(optimizers):
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _part(state, f"optimizer{place}.").items():
                number, _, key = name.partition(".")
                moments.setdefault(int(number), {})[key] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        self.generator.set_state(state["generator"])
        self.step = int(told["step"])

    def advance(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """One step is done."""
        self.step += 1
        if self.file is None or self.step % self.every:
            return
        state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        for place, optimizer in enumerate(optimizers):
            for number, moments in optimizer.state_dict()["state"].items():
                state |= {f"optimizer{place}.{number}.{key}": tensor for key, tensor in moments.items()}
        state["generator"] = self.generator.get_state()
        weights.write(state, self.file, {"step": str(self.step), "about": self.about})

    def finish(self) -> None:
        """Nothing is left to go on with."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)


def _part(state: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}
