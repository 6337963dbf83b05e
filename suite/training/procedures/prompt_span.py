"""Tells methods that edit a prompt's first and last tokens where the prompts of a batch begin and end.

Batches that name no `attention_mask` or `labels` are taken to be prompts as a whole. The ReFT methods (arXiv
2404.03592) bring this along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor

from suite import adapters
from suite.adapters.methods.representation.reft import PROMPT
from suite.generation.chat import IGNORED
from suite.training.outputs import Outputs
from suite.training.procedure import Procedure


class PromptSpan(Procedure):
    """Puts `prompt_span` into the context of every forward."""

    def __init__(self) -> None:
        self._module: L.LightningModule | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._module = pl_module

    def step(self, batch: Any, forward: Callable[[Any], Outputs]) -> Outputs:
        assert self._module is not None
        span = prompt_span(batch) if isinstance(batch, Mapping) else None
        if span is None:
            return forward(batch)
        with adapters.context(self._module.model, **{PROMPT: span}):
            return forward(batch)


def prompt_span(batch: Mapping[str, Any]) -> Tensor | None:
    """First token and end of every row's prompt, (batch, 2): what is attended to, up to where the labels begin.

    A batch without a mask and with labels for whole rows (language modelling) ends where its labels do.
    """
    mask, labels = batch.get("attention_mask"), batch.get("labels")
    sized = next((t for t in (mask, labels) if isinstance(t, Tensor) and t.dim() == 2), None)
    if sized is None:
        return None
    steps = torch.arange(sized.shape[1], device=sized.device)
    known = torch.ones_like(sized, dtype=torch.bool)
    if isinstance(mask, Tensor) and mask.dim() == 2:
        known = mask.bool()
    elif isinstance(labels, Tensor) and labels.dim() == 2:
        known = labels != IGNORED
    begin = torch.where(known, steps, sized.shape[1]).amin(1)
    end = torch.where(known, steps, -1).amax(1) + 1
    if isinstance(labels, Tensor) and labels.dim() == 2:
        answered = torch.where((labels != IGNORED) & (steps > begin[:, None]), steps, sized.shape[1]).amin(1)
        whole = (labels != IGNORED).gather(1, begin[:, None].clamp(max=sized.shape[1] - 1))[:, 0]
        end = torch.where(whole, end, torch.minimum(end, answered))
    return torch.stack((begin, end), 1)
