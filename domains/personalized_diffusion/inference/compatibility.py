"""Whether an adapter on disk belongs to a loaded base, told in one sentence before any tensor is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from domains.personalized_diffusion.model.bases import DOMAIN, Base
from domains.personalized_diffusion.model.families import FAMILIES, of_width
from domains.personalized_diffusion.model.manifest import Stated
from domains.personalized_diffusion.official import imports
from suite import adapters, hub
from suite.adapters import storage
from suite.errors import InputError
from suite.manifest import MANIFEST


def folder_of(reference: str) -> Path:
    """The adapter's folder; a file of another program is told by its kind, with the command that brings it in.

    Raises:
        InputError: the reference names no adapter of ours or peft's.
    """
    try:
        return hub.resolve(reference, DOMAIN, kind="adapter")
    except InputError as refusal:
        kind = _foreign_kind(reference)
        if kind is None:
            raise
        raise InputError(
            f"{reference} is a {kind} file of another program; make it an adapter first: "
            f"suite personalized_diffusion import {reference} --out FOLDER"
        ) from refusal


def _foreign_kind(reference: str) -> str | None:
    parsed = hub.parse(reference, DOMAIN)
    if not isinstance(parsed, hub.LocalPath) or not parsed.path.exists():
        return None
    try:
        return imports.open_adapter(parsed.path).kind
    except InputError:
        return None


def settings_of(folder: Path) -> Stated:
    """What an adapter says of itself; a plain peft folder says nothing.

    Raises:
        InputError: something else stands where a name, a number or an object belongs.
    """
    return Stated.from_dict(adapters.read_manifest(folder)["domain"], folder / MANIFEST)


def check_fits(folder: Path, base: Base, reference: str) -> None:
    """Refuse an adapter of another base.

    Raises:
        InputError: it targets another family or width, or is broken.
    """
    manifest = adapters.read_manifest(folder)
    states = [storage.read_weights(part) for part in storage.member_parts(folder, manifest)]
    family, own = settings_of(folder).family, getattr(base.unet.config, "cross_attention_dim", None)
    width = next((found for state in states if (found := text_width(state))), None)
    if (width and own and width != own) or (family in FAMILIES and family != base.family):
        made_for = FAMILIES.get(family) or FAMILIES.get(str(of_width(width)))
        raise InputError(
            f"{reference}: this adapter targets {made_for.title if made_for else 'another base'}{_of(width)}; "
            f"the loaded model is {FAMILIES[base.family].title}{_of(own)}: give its own base with --base"
        )


def _of(width: int | None) -> str:
    return f" (cross-attention width {width})" if width else ""


def text_width(state: Mapping[str, Tensor]) -> int | None:
    """Width of the text states that the adapter's cross-attention reads, where its tensors tell: KronA, LoRA, LoKr."""
    for key, value in state.items():
        if ".attn2.to_k." not in key:
            continue
        if "lora_A" in key:
            return value.shape[-1]
        for left, right in (("krona_a", "krona_b"), ("lokr_w1", "lokr_w2")):
            partner = state.get(key.removesuffix(left) + right) if key.endswith(left) else None
            if partner is not None:
                return value.shape[-1] * partner.shape[-1]
    return None
