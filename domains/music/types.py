"""What one prediction is asked for and the values that users see. Imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MusicQuery:
    """What one prediction is asked for; the fields are the options of `suite music predict`.

    Waveforms are float32 (channels, samples) in -1..1 beside their rate in Hz.

    Attributes:
        seconds: length of the piece, a continued recording included.
        seed: of the sampling; the same seed, prompt and model give the same piece.
        guidance: how far logits move from the unconditional ones towards the prompt's; 1 is no guidance.
        temperature: divides the logits; 0 always takes the likeliest token.
        top_k: sample among the k likeliest tokens; 0 among all.
        top_p: sample among the likeliest tokens that together have this probability; 0 leaves it out.
        continue_from: a recording that the piece goes on from.
        keep_prompt: leave the recording at the start of what is written.
        batch_size: prompts side by side; changes the speed alone.
    """

    seconds: float = 10.0
    seed: int = 0
    guidance: float = 3.0
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0
    continue_from: Path | None = None
    keep_prompt: bool = True
    batch_size: int = 4
