"""Similarity of texts and videos, the symmetric contrastive loss over all ranks, and DSL at test time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from suite.adapters.fused.frozen import without_autocast


def similarity(texts: Tensor, videos: Tensor) -> Tensor:
    """Cosine of every text (T, dim) with every video (V, dim): (T, V), float32."""
    with without_autocast(texts):
        return functional.normalize(texts.float(), dim=-1) @ functional.normalize(videos.float(), dim=-1).T


def contrastive_loss(logits: Tensor, same: Tensor | None = None) -> Tensor:
    """Cross-entropy of rows and columns (CLIP4Clip, equation 3), each text's own video being on the diagonal.

    Args:
        logits: (B, B) scaled similarities of texts and videos.
        same: (B, B) bool, pairs beside the diagonal that are no negatives: other captions of the same video.

    Returns:
        (B,) the loss of each pair; its mean is the loss.
    """
    logits = logits.float()
    if same is not None:
        off = same & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(off, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    rows = functional.cross_entropy(logits, target, reduction="none")
    return (rows + functional.cross_entropy(logits.T, target, reduction="none")) / 2


def dual_softmax(scores: Tensor, scale: float = 100.0) -> Tensor:
    """DSL (CAMoE, arXiv 2109.04290): scores (T, V) times how much each video prefers each text.

    It knows all queries of the test at once, which a search does not: results with it are to say so.
    """
    return scores * functional.softmax(scores * scale, dim=0)


def gather(vectors: Tensor) -> Tensor:
    """The vectors (B, dim) of all ranks, in their order; the gradient of this rank's part comes back, as published."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return vectors
    if torch.distributed.get_world_size() == 1:
        return vectors
    return _Gather.apply(vectors)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, vectors: Tensor) -> Tensor:
        ranks = [torch.empty_like(vectors) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(ranks, vectors.contiguous())
        ctx.own = slice(len(vectors) * torch.distributed.get_rank(), len(vectors) * (torch.distributed.get_rank() + 1))
        return torch.cat(ranks)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        return gradients[0][ctx.own]
