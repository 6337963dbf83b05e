"""Cross-entropy over a wide vocabulary without the logits of all tokens at once.

Whole, they are the largest tensor of a language model's step: 8,192 tokens of a vocabulary of 32,000 take 0.5 GB in
bf16 and four times that in the loss, at the moment when every activation is alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

Logits = Callable[[Tensor], Tensor]
"""From hidden states (tokens, width) to logits (tokens, vocabulary)."""

CHUNK = 2**25
"""Logits that exist at once: enough rows for full matrix products, 0.3 GB with all that the loss makes of them."""


@torch.compiler.disable
def target_losses(hidden: Tensor, targets: Tensor, logits_of: Logits, vocabulary: int, chunk: int = CHUNK) -> Tensor:
    """The loss of every target, in float32.

    With frozen logits each token's gradient is taken while its logits exist, as Liger Kernel does (Hsu et al. 2024,
    section 3.2): the backward pass has no product with the vocabulary left. It is taken for each token by itself, so
    that any weighing of the losses gets its exact gradient. Where the head trains, its weight's gradient depends on
    that weighing; chunks are then computed again in the backward pass.

    Args:
        hidden: (targets, width) what the head takes.
        targets: (targets,) int64, each below `vocabulary`.
        logits_of: the head, applied to a chunk.
        vocabulary: number of logits of a token.
        chunk: logits that may exist at once.

    Returns:
        (targets,) float32, differentiable in `hidden` and in what `logits_of` trains.
    """
    rows = _power_of_two(max(1, chunk // vocabulary))
    if not torch.is_grad_enabled():
        losses = [_losses(part, own, logits_of) for part, own in _chunks(hidden, targets, rows)]
    elif _trains(logits_of, hidden):
        losses = [
            checkpoint(_losses, part, own, logits_of, use_reentrant=False)
            for part, own in _chunks(hidden, targets, rows)
        ]
    else:
        return _LossesOfFrozenHead.apply(hidden, targets, logits_of, rows)
    return torch.cat(losses) if losses else hidden.sum(1).float()


class _LossesOfFrozenHead(torch.autograd.Function):
    """Losses forward, and each token's gradient kept for the backward pass, which only scales it."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, logits_of: Logits, rows: int) -> Tensor:
        losses = hidden.new_empty(len(hidden), dtype=torch.float32)
        gradient = torch.empty_like(hidden)  # (targets, width)
        for start, (part, own) in zip(range(0, len(hidden), rows), _chunks(hidden, targets, rows), strict=True):
            with torch.enable_grad():
                leaf = part.detach().requires_grad_()
                logits = logits_of(leaf)  # (rows, vocabulary)
            chunk = slice(start, start + len(own))
            losses[chunk], direction = _loss_and_gradient(logits.detach(), own)
            (gradient[chunk],) = torch.autograd.grad(logits, leaf, direction)
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream[:, None]).to(gradient.dtype), None, None, None


def _loss_and_gradient(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Losses (rows,) and what they change by with each logit (rows, vocabulary): softmax minus the one-hot target."""
    log_probabilities = F.log_softmax(logits, dim=-1, dtype=torch.float32)
    own = targets[:, None]
    losses = -log_probabilities.gather(1, own).squeeze(1)
    # In place: this is the largest tensor of the step.
    probabilities = log_probabilities.exp_()
    probabilities.scatter_add_(1, own, probabilities.new_full(own.shape, -1.0))
    return losses, probabilities.to(logits.dtype)


def _losses(hidden: Tensor, targets: Tensor, logits_of: Logits) -> Tensor:
    return F.cross_entropy(logits_of(hidden).float(), targets, reduction="none")


def _chunks(hidden: Tensor, targets: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(hidden), rows):
        yield hidden[start : start + rows], targets[start : start + rows]


def _trains(logits_of: Logits, hidden: Tensor) -> bool:
    """Whether anything that makes the logits trains: the head, an adapter on it, a weight that it is tied to."""
    return logits_of(hidden.new_zeros(1, hidden.shape[1])).requires_grad


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1)
