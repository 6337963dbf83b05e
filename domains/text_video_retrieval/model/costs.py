"""What a video costs in the image tower: multiply-accumulates and tokens by the plan, on paper. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from domains.text_video_retrieval.model.schedule import Plan, Step


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one video, and the tokens that are left.

    Attributes:
        embedding, projections, attention, mlp, lora, output: of the parts.
        matching: of comparing tokens before they are merged, which the total leaves out, as published figures do.
        softmax: exponentials of the attention, left out likewise.
        tokens: after the last layer. of: without merging.
    """

    embedding: int
    projections: int
    attention: int
    mlp: int
    lora: int
    output: int
    matching: int
    softmax: int
    tokens: int
    of: int

    @property
    def total(self) -> int:
        return self.embedding + self.projections + self.attention + self.mlp + self.lora + self.output

    @property
    def fewer(self) -> float:
        """Tokens that are gone, of 1."""
        return 1 - self.tokens / self.of

    def __str__(self) -> str:
        return (
            f"{self.total / 1e9:.1f} GMACs a video, {self.tokens} of {self.of} tokens after the last layer "
            f"({100 * self.fewer:.1f} % fewer)"
        )


def video_cost(vision: Any, plan: Plan, rank: int = 8, dim: int | None = None) -> Cost:
    """The image tower's cost of one video.

    Args:
        vision: transformers' `CLIPVisionConfig`. plan: of merging.
        rank: of the LoRA on the fused projection; 0 where it is merged into the weights.
        dim: of the common space; the configuration's where left out.
    """
    width, patches = vision.hidden_size, (vision.image_size // vision.patch_size) ** 2

    def summed(of: Callable[[Any], int]) -> int:
        return sum(of(step) for step in plan.steps)

    return Cost(
        embedding=plan.frames * patches * 3 * vision.patch_size**2 * width,
        projections=summed(lambda step: 4 * step.joined * step.attended * width**2),
        attention=summed(lambda step: 2 * step.joined * step.attended**2 * width),
        mlp=summed(lambda step: 2 * step.joined * step.left * width * vision.intermediate_size),
        lora=summed(lambda step: step.joined * step.attended * 4 * width * rank),
        output=plan.frames * width * (dim or vision.projection_dim),
        matching=summed(lambda step: _matching(step, width, width // vision.num_attention_heads)),
        softmax=summed(lambda step: step.joined * step.attended**2 * vision.num_attention_heads),
        tokens=plan.tokens,
        of=plan.frames * (patches + 1),
    )


def _matching(step: Step, width: int, head: int) -> int:
    """Multiply-accumulates of a layer's scores of sources and destinations: by tokens across clips, by keys inside."""

    def pairs(tokens: int) -> int:
        patches = tokens - step.classes_left
        return step.joined * (patches // 2) * (patches - patches // 2)

    across = pairs(step.tokens * step.join) * width if step.across else 0
    return across + (pairs(step.attended) * head if step.inside else 0)


def text_cost(text: Any, words: int, rank: int = 8, dim: int | None = None) -> int:
    """Multiply-accumulates of one sentence of so many positions."""
    width = text.hidden_size
    layer = 4 * words * width**2 + 2 * words**2 * width + 2 * words * width * text.intermediate_size
    return text.num_hidden_layers * (layer + words * 4 * width * rank) + width * (dim or text.projection_dim)
