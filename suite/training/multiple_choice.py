"""The losses of T-Few: the right answer is likely, likelier than the others, and the others' words are not.

Liu et al., Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning, arXiv 2205.05638,
section 3.2, as in the authors' code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

PADDED = 1e-2
"""Added inside the logarithm of the unlikelihood, so that a certain word has a finite one."""


class ChoiceLosses(NamedTuple):
    """The scores of choices, the lower the better, and the three terms."""

    scores: Tensor  # (B, choices)
    language_model: Tensor
    multiple_choice: Tensor
    unlikelihood: Tensor


def choice_losses(
    logits: Tensor, ids: Tensor, labels: Tensor, *, pad_token_id: int = 0, length_norm: float = 1.0
) -> ChoiceLosses:
    """The terms of a batch of questions with answers to choose from.

    Args:
        logits: (B, choices, T, vocabulary).
        ids: the answers' tokens, (B, choices, T), padded.
        labels: which answer is right, (B,).
        pad_token_id: of the padding.
        length_norm: a score is an answer's negative log-likelihood, divided by this power of its length.
    """
    real = ids != pad_token_id  # (B, choices, T)
    losses = functional.cross_entropy(logits.flatten(0, 2), ids.flatten(), reduction="none").view_as(ids) * real
    scores = losses.sum(-1) / real.sum(-1).clamp(min=1) ** length_norm
    right = functional.one_hot(labels, ids.shape[1]).bool()  # (B, choices)
    language_model = losses[right].sum() / real[right].sum().clamp(min=1)
    multiple_choice = functional.cross_entropy(-scores, labels)
    wrong = real & ~right[..., None]
    # As in the authors' code the other words are summed up too, as impossible ones: a constant, log(1 + 1e-2) each.
    likely = torch.exp(-losses) * wrong
    unlikelihood = -torch.log1p(PADDED - likely).sum() / wrong.sum().clamp(min=1)
    return ChoiceLosses(scores, language_model, multiple_choice, unlikelihood)
