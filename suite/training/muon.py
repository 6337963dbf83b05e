"""Muon for matrices that are trained on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz (Jordan et al. 2024), in fp32 and for all matrices of a shape at once.

    `torch.optim.Muon` computes in bfloat16, which takes seconds a step on a CPU without bfloat16 units.
    """

    def __init__(self, params: Sequence[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                shapes.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in shapes.items():
                gradient = torch.stack([parameter.grad for parameter in parameters])
                state = self.state[parameters[0]]
                momentum = state.setdefault("momentum", torch.zeros_like(gradient))
                momentum.lerp_(gradient, 1 - group["momentum"])
                update = orthogonalised(gradient.lerp(momentum, group["momentum"]))
                # The scale gives updates the size that Adam's have (Moonlight, arXiv 2502.16982, section 2.2).
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                for parameter, change in zip(parameters, update, strict=True):
                    parameter.sub_(change, alpha=scale)


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, of a stack `(n, rows, columns)`: quintic Newton-Schulz."""
    x = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if matrices.shape[-2] > matrices.shape[-1] else x


def optimizers_of(
    model: nn.Module, lr: float, embedding_lr: float, tables: Iterable[nn.Parameter] | None = None
) -> tuple[list[torch.optim.Optimizer], list[nn.Parameter]]:
    """Muon for the matrices of a language model, AdamW for its embeddings and norms.

    Args:
        tables: embeddings and heads; those that a language model of transformers names where left out.

    Returns:
        The two optimizers, and the parameters of the second.
    """
    lm: Any = model
    if tables is None:
        tables = (lm.get_input_embeddings().weight, lm.get_output_embeddings().weight)
    embeddings = {id(table) for table in tables}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in embeddings]
    others = [p for p in model.parameters() if p.ndim != 2 or id(p) in embeddings]
    adamw = torch.optim.AdamW(others, lr=embedding_lr, betas=(0.9, 0.95), weight_decay=0.0)
    return [Muon(matrices, lr=lr), adamw], others
