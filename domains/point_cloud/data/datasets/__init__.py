"""Labelled clouds on disk: one file a format; `data.sources` finds the one that a source is in."""
