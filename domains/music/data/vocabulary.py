"""Names of ragas, taals, makams, usuls and instruments: known ones, near ones, and which slot of a caption they fit."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import yaml

KINDS = ("instruments", "raga", "taal", "laya", "makam", "usul")
"""What a caption may name, in the order in which it does."""

_DOTLESS = str.maketrans({"ı": "i", "İ": "I", "ə": "e", "ø": "o"})


def normalised(text: str) -> str:
    """The text in Unicode's composed form, each run of white space one blank."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def plain(text: str) -> str:
    """The text without diacritics, as it is typed on any keyboard.

    >>> plain("Yaman kalyāṇ")
    'Yaman kalyan'
    """
    parted = unicodedata.normalize("NFKD", text.translate(_DOTLESS))
    return "".join(letter for letter in parted if not unicodedata.combining(letter))


def fold(text: str) -> str:
    """What two spellings of one name have in common: small ASCII letters and digits.

    >>> fold("Kürdîli Hicazkâr") == fold("kurdilihicazkar")
    True
    """
    return re.sub(r"[^a-z0-9]", "", plain(text).lower())


@cache
def known(kind: str) -> Mapping[str, str]:
    """Folded name to the name itself."""
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {fold(name): normalised(name) for name in content.get(kind, "").split(",") if name.strip()}


def is_known(kind: str, name: str) -> bool:
    """Whether this is a name of the kind, in any spelling."""
    return fold(name) in known(kind)


def unknown(kind: str, names: Iterable[str]) -> list[str]:
    """The names that are none of a kind that has a list; each with the nearest one where there is one near."""
    listed = known(kind)
    found = []
    for name in names:
        if listed and fold(name) not in listed:
            near = difflib.get_close_matches(fold(name), listed, n=1, cutoff=0.8)
            found.append(f"{name} (near {listed[near[0]]})" if near else name)
    return found
