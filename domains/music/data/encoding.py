"""What a model makes of sounds and captions before it trains on them: the model's side of the training data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from domains.music.types import Wave

if TYPE_CHECKING:
    from torch import Tensor

Sample = dict[str, "Tensor"]


class ClipEncoder(Protocol):
    """Codes or latents of a clip, states of its caption; each is made once and kept (`suite.training.caches`).

    Attributes:
        rate: Hz that waves are wanted at. channels: 1 or 2. least: samples of the shortest wave that can be encoded.
        longest: seconds of a clip that the model takes at most; longer recordings are cut into such chunks.
        key: codec and text encoder in words; whatever changes their outputs changes it.
    """

    rate: int
    channels: int
    least: int
    longest: float
    key: str

    def encode(self, wave: Wave) -> Sample:
        """A clip (channels, samples) to what training needs of it, e.g. `codes` (codebooks, frames)."""
        ...

    def words(self, caption: str) -> Sample:
        """A caption to its states, e.g. `text` (length, dim); an empty one is unconditional."""
        ...

    def collate(self, samples: Sequence[Sample]) -> Sample:
        """Clips and captions of a batch, each the union of `encode` and `words`, padded and masked."""
        ...
