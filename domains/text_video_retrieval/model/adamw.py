"""The published optimiser: AdamW as transformers had it, and warm-up from zero into a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


class AdamW(Optimizer):
    """AdamW whose eps stands beside the uncorrected second moment, and whose decay follows the step.

    torch's own corrects the moment first, and decays first: two differences that tell in small gradients.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter) for _ in range(2))
                state["step"] += 1
                count, mean, square = float(state["step"]), state["exp_avg"], state["exp_avg_sq"]
                # In the order of the published code: rounding adds up over thousands of steps.
                mean.mul_(first).add_(parameter.grad, alpha=1 - first)
                square.mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
                rate = group["lr"] * math.sqrt(1 - second**count) / (1 - first**count)
                parameter.addcdiv_(mean, square.sqrt().add_(group["eps"]), value=-rate)
                if group["weight_decay"]:
                    parameter.add_(parameter, alpha=-group["lr"] * group["weight_decay"])
        return loss


def cosine_factor(warmup: int, steps: int) -> Callable[[int], float]:
    """The learning rate's factor after a number of steps: linear from zero, then a cosine to zero."""

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        done = (step - warmup) / max(1, steps - warmup)
        return max(0.0, 0.5 * (1 + math.cos(math.pi * done)))

    return factor
