"""The losses: cross-entropy, uniformity and alignment of embeddings (Wang and Isola, arXiv 2005.10242)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from suite.errors import InputError


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts.

    Attributes:
        ce_labels: cross-entropy of the label.
        uniformity: of the embeddings on the sphere. alignment_labels: of embeddings with the same label.
        label_smoothing: of the cross-entropy.
    """

    ce_labels: float = 1.0
    uniformity: float = 0.0
    alignment_labels: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise InputError(f"recipe.loss.{field.name} is {value!r}; give a number of 0 or more")
        if not (self.ce_labels or self.uniformity or self.alignment_labels):
            raise InputError("recipe.loss: all weights are 0, so that nothing would be learned; set ce_labels: 1.0")
        if self.label_smoothing >= 1:
            raise InputError(f"recipe.loss.label_smoothing is {self.label_smoothing}; give less than 1")


@dataclass(frozen=True)
class Terms:
    """The loss of a batch and its parts.

    Attributes:
        total: what is minimised. per_sample: (batch,), each sample's cross-entropy, weighed.
        ce_labels, uniformity, alignment_labels: the parts, each before its weight.
    """

    total: Tensor
    per_sample: Tensor
    ce_labels: Tensor
    uniformity: Tensor
    alignment_labels: Tensor


def combine(
    logits: Tensor,
    embeddings: Tensor,
    labels: Tensor,
    weights: LossWeights,
    *,
    embedded: Tensor | None = None,
) -> Terms:
    """The weighted sum.

    Terms of weight 0 carry no gradient: they are computed for the log alone.

    Args:
        logits: (batch, 2). embeddings: (n, width) on the unit sphere. labels: (batch,).
        embedded: (n,) labels of the embeddings, where these are of more samples than the logits: of all devices.
    """
    known = labels if embedded is None else embedded
    losses = functional.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=weights.label_smoothing)
    with torch.autocast(embeddings.device.type, enabled=False):
        uniform = uniformity(embeddings.float() if weights.uniformity else embeddings.detach().float())
        aligned = alignment(embeddings.float() if weights.alignment_labels else embeddings.detach().float(), known)
    total = weights.ce_labels * losses.mean()
    if weights.uniformity:
        total = total + weights.uniformity * uniform
    if weights.alignment_labels:
        total = total + weights.alignment_labels * aligned
    return Terms(total, weights.ce_labels * losses, losses.mean(), uniform, aligned)


def uniformity(embeddings: Tensor, t: float = 2.0) -> Tensor:
    """How unevenly embeddings (batch, width) lie on the sphere: log of the mean of exp(-t d^2) over all pairs.

    0 where all are the same, and for a batch of one.
    """
    if len(embeddings) < 2:
        return embeddings.new_zeros(())
    return functional.pdist(embeddings).square().mul(-t).exp().mean().clamp_min(1e-6).log()


def alignment(embeddings: Tensor, labels: Tensor, alpha: float = 2.0) -> Tensor:
    """How far embeddings (batch, width) of one label are apart: the mean of d^alpha over pairs of equal labels.

    0 where no two have the same label.
    """
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    same = labels[first] == labels[second]  # (pairs,), in the order of pdist
    if not bool(same.any()):
        return embeddings.new_zeros(())
    return functional.pdist(embeddings)[same].pow(alpha).mean()
