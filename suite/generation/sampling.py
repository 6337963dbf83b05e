"""How tokens are drawn from logits."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import (
    InfNanRemoveLogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; without it the likeliest is taken."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def warpers(self) -> LogitsProcessorList:
        """The changes of the logits, in the order in which transformers applies them."""
        chosen = [InfNanRemoveLogitsProcessor(), TemperatureLogitsWarper(self.temperature)]
        if self.top_k is not None:
            chosen.append(TopKLogitsWarper(self.top_k))
        if self.top_p is not None:
            chosen.append(TopPLogitsWarper(self.top_p))
        return LogitsProcessorList(chosen)
