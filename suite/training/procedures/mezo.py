"""MeZO: training by forward passes alone, in the memory that inference takes.

Malladi et al., Fine-Tuning Language Models with Just Forward Passes, arXiv 2305.17333, algorithm 1:

    c = (L(theta + eps z) - L(theta - eps z)) / (2 eps)        theta <- theta - lr (c z + decay theta)

with z drawn anew from a seed in each of the three passes over the parameters, so that it is never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from suite.errors import InputError
from suite.training.procedure import Procedure

SEEDS = 1_000_000_000


class Mezo(Procedure):
    """Estimates the gradient from two losses; modules stay in evaluation mode, since dropout would differ between them.

    Learning rates are those of the paper only when `trainer.scheduler` is `constant`: 1e-4 and 5e-5 for LoRA with
    epsilon 1e-2, 1e-6 for all parameters with epsilon 1e-3.

    Args:
        epsilon: how far the two losses lie from the parameters, in units of z ~ N(0, 1).
        seed: of the seeds of z.
    """

    def __init__(self, epsilon: float = 1e-3, seed: int = 0) -> None:
        if epsilon <= 0:
            raise InputError(f"procedures: mezo: epsilon is {epsilon}; give a number above 0, e.g. 1e-3")
        self.epsilon, self.seed = epsilon, seed
        self._module: L.LightningModule | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._module = pl_module

    def optimizer(self, params: Sequence[dict[str, Any]]) -> Optimizer:
        assert self._module is not None
        order = [parameter for parameter in self._module.parameters() if parameter.requires_grad]
        return ForwardOnly(params, order, self.epsilon, self.seed)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        pl_module.eval()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.train()


class ForwardOnly(Optimizer):
    """The optimiser of MeZO.

    Args:
        params: parameter groups with `lr` and `weight_decay`.
        order: the parameters in the order in which z is drawn.
        epsilon: size of the perturbation.
        seed: of the seeds of z.
    """

    zeroth_order = True

    def __init__(self, params: Sequence[dict[str, Any]], order: Sequence[Tensor], epsilon: float, seed: int) -> None:
        super().__init__(params, {"lr": 1e-6, "weight_decay": 0.0, "drawn": 0})
        self.order, self.epsilon, self.seed = list(order), epsilon, seed
        self._seeds, self._drawn = np.random.RandomState(seed), 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Two losses and one update; returns the first loss, at theta + eps z."""
        if closure is None:
            raise TypeError("MeZO needs a closure that returns the loss")
        seed = self._next_seed()
        self._move(seed, self.epsilon)
        above = closure()
        self._move(seed, -2 * self.epsilon)
        below = closure()
        self._move(seed, self.epsilon)
        slope = _mean_over_ranks((above - below) / (2 * self.epsilon))
        groups = {id(parameter): group for group in self.param_groups for parameter in group["params"]}
        for parameter, direction in self._directions(seed):
            group = groups[id(parameter)]
            parameter.sub_(group["lr"] * (slope * direction + group["weight_decay"] * parameter))
        return above

    def _move(self, seed: int, by: float) -> None:
        for parameter, direction in self._directions(seed):
            parameter.add_(direction, alpha=by)

    def _directions(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every parameter with its z; the same z for the same seed."""
        generators: dict[torch.device, torch.Generator] = {}
        for parameter in self.order:
            device = parameter.device
            if device not in generators:
                generators[device] = torch.Generator(device).manual_seed(seed)
            yield (
                parameter,
                torch.randn(parameter.shape, generator=generators[device], device=device, dtype=parameter.dtype),
            )

    def _next_seed(self) -> int:
        """The seed of this step's z. How many were drawn is the optimiser's state, and survives a checkpoint."""
        first = self.param_groups[0]
        if first["drawn"] != self._drawn:
            self._seeds, self._drawn = np.random.RandomState(self.seed), 0
            while self._drawn < first["drawn"]:
                self._seeds.randint(SEEDS)
                self._drawn += 1
        self._drawn += 1
        first["drawn"] = self._drawn
        return int(self._seeds.randint(SEEDS))


def _mean_over_ranks(slope: Tensor) -> Tensor:
    """One number per step is all that processes have to exchange."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(slope)
        slope = slope / dist.get_world_size()
    return slope
