"""The authors' files and other programs' <-> ours: the two functions that the hub and the command call."""

from __future__ import annotations

from pathlib import Path

from suite.errors import InputError


def convert(
    source: Path, out: Path, *, base: str | None = None, token: str | None = None, noun: str | None = None
) -> None:
    """Turn one of the authors' runs, or its `pytorch_lora_weights.safetensors`, into an adapter folder.

    Args:
        source: the file, or the folder that holds it.
        out: an existing, empty folder.
        base: reference of the base; its shapes are compared. By default the one that the family usually means.
        token: the trigger word, which these files do not tell. noun: the class noun after it.

    Raises:
        InputError: it is no KronA of this layout; says what it is and how to convert it.
    """
    from domains.personalized_diffusion.official import imports

    opened = imports.open_adapter(source)
    if opened.kind != "KronA" or opened.manifest:
        raise InputError(
            f"{opened.file.name} is {opened.kind}, not the authors' KronA; use suite personalized_diffusion import"
        )
    imports.convert(source, out, base=base, token=token, noun=noun)


def export(source: Path, out: Path) -> None:
    """Write an adapter as the authors' code loads it: `pytorch_lora_weights.safetensors`.

    Args:
        source: the adapter's folder. out: an existing, empty folder.

    Raises:
        InputError: its layout is the paper's, which their code would compute differently.
    """
    from domains.personalized_diffusion.official import exports

    exports.export(source, out, "official")
