"""From files of numbers to places."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from domains.tracking.data.placeholder import SUFFIXES, read
from domains.tracking.model.placeholder import Manifest, load_base
from domains.tracking.output.placeholder import PlaceholderResult as TrackResult
from suite import adapters
from suite.devices import choose_device, choose_dtype
from suite.prediction.inputs import expanded, several
from suite.prediction.loading import choose
from suite.prediction.loop import each


class PlaceholderTracker:
    """A backbone with its adapter, loaded once.

    >>> predictor = Tracker.from_pretrained("./run/adapter")
    >>> for result in predictor.predict("numbers.txt"):
    ...     print(result)
    """

    suffixes = SUFFIXES

    def __init__(self, model: nn.Module, device: str, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.model = model.to(device, dtype).eval()

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> PlaceholderTracker:
        """Load an adapter on its base.

        Raises:
            InputError: a reference, the device or the type names nothing, or the adapter fits no such base.
        """
        chosen = choose(adapter, base, "tracking")
        model = load_base(chosen.base, Manifest.from_dict(chosen.settings).width)
        device = choose_device(device)
        return cls(adapters.load(model, chosen.folder), device, choose_dtype(dtype, device))

    def predict(self, inputs: Any, scores: bool = False, **_: Any) -> Iterator[TrackResult]:
        """Yield one result per input, in order; a bad input is one with its error.

        Args:
            inputs: a path or several; a folder is its files.
            scores: give the chance of every place, too.
        """
        paths = expanded(several(inputs), self.suffixes)
        return each(paths, partial(self._one, scores=scores), _failed)

    @torch.no_grad()
    def _one(self, path: str | Path, scores: bool) -> TrackResult:
        x = read(Path(path)).to(self.device, self.dtype)  # (4,)
        chances = self.model(x[None])[0].float().softmax(dim=-1)  # (3,)
        shown = tuple(chances.tolist()) if scores else ()
        return TrackResult(str(path), int(chances.argmax()), shown)


def _failed(path: str | Path, why: str) -> TrackResult:
    return TrackResult(str(path), error=why)
