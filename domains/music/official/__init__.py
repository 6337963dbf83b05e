"""The authors' and other programs' files <-> ours: published adapters here, whole models in `whole.py`."""

from __future__ import annotations

from pathlib import Path


def convert(source: Path, out: Path, *, base: str | None = None) -> None:
    """Turn published adapters into an adapter folder: Mustango's, or MusicGen's on the waveform.

    Mustango's file holds the whole model; what has `.adapter.` in its name is read. Published Makam adapters were
    trained on captions in which makam and usul stand in each other's place: prompt them so.

    Args:
        source: a safetensors or torch file. out: an existing, empty folder.
        base: reference of the base that the adapter is to name; the one that it was trained on by default.

    Raises:
        InputError: the file has no such adapters, or tensors are missing or unknown.
    """
    from domains.music.official import published

    published.convert(Path(source), out, base)


def export(source: Path, out: Path) -> None:
    """Write published adapters as the authors' code names them, `adapter.safetensors`.

    Args:
        source: the adapter's folder. out: an existing, empty folder.

    Raises:
        InputError: the adapter is of another kind, which the authors' code has not.
    """
    from domains.music.official import published

    published.export(source, out)
