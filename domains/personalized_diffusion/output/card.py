"""The model card of an adapter: what calls the subject, on which base, under whose licence, from whose photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from domains.personalized_diffusion.model.families import FAMILIES
from suite.files import read_text

_CREDITS = ("credit", "license", "licence", "references_and_licenses")
_LONGEST = 2000


def adapter_card(facts: Mapping[str, Any], *, base: str | None, parameters: int, photos: Sequence[Path] = ()) -> str:
    """The README of an adapter.

    Args:
        facts: the `domain` section of its manifest.
        base: reference of its base.
        parameters: trained numbers.
        photos: what it was trained on; credits that lie beside them are quoted.
    """
    trigger = facts.get("trigger") or {}
    words = " ".join(str(trigger[key]) for key in ("token", "noun") if trigger.get(key))
    family = FAMILIES.get(str(facts.get("family")))
    tag, licence = (family.tag, family.licence) if family else ("other", "its own licence")
    head: dict[str, Any] = {
        "library_name": "peft",
        "tags": ["peft-suite", "text-to-image", "dreambooth", str(facts.get("method", "adapter"))],
        "license": tag,
    }
    if words:
        head["instance_prompt"] = words
    if base and base.startswith("hf:"):
        head["base_model"] = base.removeprefix("hf:").partition("@")[0]
    train = facts.get("train") or {}
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {words or 'Subject'}",
        "",
        f"Say **{words}** in the prompt." if words else "It has no trigger word.",
        "",
        f"- Method: {_method(facts)}, {parameters:,} numbers",
        f"- Base: {base or 'not recorded'}",
        f"- Trained: {train.get('steps', '?')} steps on {train.get('images', len(photos))} photos at "
        f"{facts.get('resolution', '?')} px, rate {train.get('lr', '?')}, seed {train.get('seed', '?')}",
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


def _method(facts: Mapping[str, Any]) -> str:
    method = str(facts.get("method", "adapter"))
    if facts.get("factors"):
        return f"{method}, factors {facts['factors']}, layout {facts.get('layout')}"
    return f"{method}, rank {facts['rank']}" if facts.get("rank") else method


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
