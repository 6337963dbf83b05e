"""A tracker with its adapter, loaded once; sessions of it follow objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch

from domains.tracking.inference.session import SessionSettings, TrackingSession, asked_of
from domains.tracking.model.bases import DOMAIN
from domains.tracking.model.manifest import Manifest, from_manifest
from domains.tracking.model.spmtrack import SpmTrack
from domains.tracking.types import TrackQuery
from suite import adapters
from suite.devices import choose_device, choose_dtype
from suite.prediction.loading import choose

KEPT_BYTES = 2 * 2**30
"""Weights up to so many bytes are kept a second time, with the ungated part of each TMoE joined to them."""


class LoadedTracker:
    """A model with its adapter, in evaluation mode.

    Args:
        stated: by the adapter.
        adapter: what results say that they are by.
        dtype: float32, or bfloat16 or float16, in which the backbone computes; the head stays in float32.
    """

    def __init__(
        self,
        model: SpmTrack,
        stated: Manifest,
        *,
        adapter: str = "",
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model, self.stated, self.adapter = prepared(model, device, dtype), stated, adapter

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Self:
        """Load a base and an adapter.

        Args:
            adapter: reference of the adapter. base: of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N. dtype: auto (bfloat16 on a GPU), float32, bfloat16 or float16.

        Raises:
            InputError: adapter or base does not exist, or they do not belong together.
        """
        device = choose_device(device)
        computed = choose_dtype(dtype, device)
        chosen = choose(adapter, base, DOMAIN)
        model, stated = from_manifest(chosen.folder, chosen.base_folder())
        name = adapter if not Path(adapter).exists() else Path(adapter).name
        return cls(model, stated, adapter=name, device=device, dtype=computed)

    def session(self, query: TrackQuery | None = None, **settings: Any) -> TrackingSession:
        """A fresh session: nothing is followed yet.

        Args:
            query: what a user asks for; the adapter's own where left out.
            settings: fields of `SessionSettings`.
        """
        tracker, asked = asked_of(query, self.stated.tracker)
        return TrackingSession(self.model, tracker, SessionSettings(**{**asked, **settings}))


def prepared(model: SpmTrack, device: str = "cpu", dtype: torch.dtype = torch.float32) -> SpmTrack:
    """A tracker ready for many frames: where it computes, its head in float32, its TMoE joined where there is room."""
    model = model.to(device, dtype).eval().requires_grad_(False)
    model.head.float()
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.blocks.parameters())
    for _, layer in adapters.layers(model, "tmoe"):
        layer.keep(size <= KEPT_BYTES)
    return model
