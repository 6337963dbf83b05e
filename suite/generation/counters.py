"""What answering cost. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counters:
    """What a run cost.

    Attributes:
        prompt_tokens: tokens of all prompts, as if each were forwarded whole.
        prefilled_tokens: prompt tokens that really went through the model.
        seconds: of wall time; what the reader of a stream takes between tokens is in it.
    """

    calls: int = 0
    prompt_tokens: int = 0
    prefilled_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0
