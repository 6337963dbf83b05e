"""The backbone and what an adapter remembers of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from suite.errors import InputError

INPUTS, CLASSES = 4, 3


class Backbone(nn.Module):
    """(batch, 4) -> (batch, 3)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.inner = nn.Linear(INPUTS, width)
        self.outer = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(torch.relu(self.inner(x)))  # (batch, 3)


@dataclass(frozen=True)
class Manifest:
    """The `domain` section of an adapter's `suite.json`: all that prediction needs beside the weights.

    Attributes:
        width: of the backbone.
    """

    width: int

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, section: Mapping[str, Any]) -> Manifest:
        """From the section.

        Raises:
            InputError: it is no section of this domain.
        """
        width = section.get("width")
        if not isinstance(width, int) or width < 1:
            raise InputError(f"the adapter states width {width!r}; it is none of music")
        return cls(width)


def load_base(base: str, width: int = 16) -> Backbone:
    """The backbone of a reference: drawn from a seed until `tiny.py` has pre-trained one.

    Raises:
        InputError: another base than `tiny` is named.
    """
    if base != "tiny":
        raise InputError(f"base {base!r}: music has no base but tiny so far")
    model = Backbone(width)
    if not model.inner.weight.is_meta:
        generator = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            # On the CPU, so that the numbers are the same on whichever device trains.
            drawn = 0.3 * torch.randn(parameter.shape, generator=generator, device="cpu")
            parameter.data = drawn.to(parameter.device)
    return model
