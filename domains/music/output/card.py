"""The card of an adapter: the genre, how prompts read, on which base, and under whose licences."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from domains.music.model.manifest import Manifest


def adapter_card(stated: Manifest, *, base: str | None, methods: Sequence[str], parameters: int) -> str:
    """The README of an adapter.

    Args:
        stated: what its manifest says. base: reference of the base; None where it is a folder of this machine.
        methods: by which it was trained. parameters: trained numbers.
    """
    head = {
        "library_name": "peft",
        "tags": ["peft-suite", "text-to-audio", "music", *methods],
        # Of several licences the strictest binds; none of the usual names says "these recordings".
        "license": "other" if stated.licences else "unknown",
        **({"base_model": base.removeprefix("hf:").partition("@")[0]} if base and base.startswith("hf:") else {}),
    }
    said = stated.wording or "a sentence"
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        "# Music",
        "",
        f"- Method: {' + '.join(methods)}, {parameters:,} numbers",
        f"- Base: {base or 'not recorded'}",
        f"- Trained on: {stated.trained_on or 'not recorded'}",
        f"- A caption of its training: {stated.wording or 'none'}",
        "",
        "```",
        f"suite music predict {said!r} --adapter THIS_FOLDER --out out/",
        "```",
        "",
        "## Licences",
        "",
        *(f"- {_quoted(line)}" for line in stated.licences),
    ]
    if not stated.licences:
        lines.append("None of the base or of the recordings is recorded.")
    return "\n".join(lines) + "\n"


def _quoted(line: str) -> str:
    """A line of others on one line, so that none of it is read as a part of the card."""
    return " ".join(line.split())
