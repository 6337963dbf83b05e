"""Labelled clouds on disk: one file a format, and `open_set`, which finds the one that a source is in."""

from __future__ import annotations

from domains.point_cloud.datasets.cloud_set import CloudSet, Options, Split, hold_out
from domains.point_cloud.datasets.sources import FORMATS, named_split, open_set, split_of

__all__ = ["FORMATS", "CloudSet", "Options", "Split", "hold_out", "named_split", "open_set", "split_of"]
