"""The model card of an adapter: what calls the subject, on which base, under whose licence, from whose photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from domains.personalized_diffusion.model.families import FAMILIES
from domains.personalized_diffusion.model.manifest import Stated
from suite.files import read_text

_CREDITS = ("credit", "license", "licence", "references_and_licenses")
_LONGEST = 2000


def adapter_card(stated: Stated, *, parameters: int, photos: Sequence[Path] = ()) -> str:
    """The README of an adapter.

    Args:
        stated: what its manifest says.
        parameters: trained numbers.
        photos: what it was trained on; credits that lie beside them are quoted.
    """
    words = stated.trigger.phrase if stated.trigger else ""
    family, base, train = FAMILIES.get(stated.family), stated.base, stated.train
    tag, licence = (family.tag, family.licence) if family else ("other", "its own licence")
    head: dict[str, Any] = {
        "library_name": "peft",
        "tags": ["peft-suite", "text-to-image", "dreambooth", stated.method or "adapter"],
        "license": tag,
    }
    if words:
        head["instance_prompt"] = words
    if base and base.startswith("hf:"):
        head["base_model"] = base.removeprefix("hf:").partition("@")[0]
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {words or 'Subject'}",
        "",
        f"Say **{words}** in the prompt." if words else "It has no trigger word.",
        "",
        f"- Method: {_method(stated)}, {parameters:,} numbers",
        f"- Base: {base or 'not recorded'}",
        f"- Trained: {train.get('steps', '?')} steps on {train.get('images', len(photos))} photos at "
        f"{stated.resolution or '?'} px, rate {train.get('lr', '?')}, seed {train.get('seed', '?')}",
        "",
        "```",
        f'suite personalized_diffusion predict "a photo of {words or "the subject"}" --adapter THIS_FOLDER --out out/',
        "```",
        "",
        "## Licence and credits",
        "",
        f"The base was released under {licence}; its terms of use bind this adapter too. Photos of people need their "
        "consent.",
        "",
        *_credits(photos),
    ]
    return "\n".join(lines) + "\n"


def _method(stated: Stated) -> str:
    method = stated.method or "adapter"
    if stated.factors:
        return f"{method}, factors {stated.factors}, layout {stated.layout}"
    return f"{method}, rank {stated.rank}" if stated.rank else method


def _credits(photos: Sequence[Path]) -> list[str]:
    """What files beside the photos say of their makers."""
    folders = list(dict.fromkeys(photo.parent for photo in photos))
    files = [
        file for folder in folders for file in sorted(folder.iterdir()) if file.suffix.lower() in ("", ".txt", ".md")
    ]
    found = [file for file in files if file.name.lower().startswith(_CREDITS) and file.is_file()]
    texts = [read_text(file, encoding=None).strip()[:_LONGEST] for file in found]
    if not texts:
        return ["No credits lie beside the photos."]
    # Text of others: quoted, so that none of it is read as markup of the card.
    return ["The photos' credits:", "", *(f"    {line}" for text in texts for line in text.splitlines())]
