"""What an adapter states of itself beside its weights: the `domain` section of its `suite.json`, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from suite.errors import InputError
from suite.files import check_kinds

Family = Literal["musicgen", "mustango"]

WEIGHTS_LICENCE = "the weights of MusicGen are CC-BY-NC 4.0: no commercial use of them or of adapters on them"

_KINDS: Mapping[str, tuple[Any, str]] = {
    "family": (str, "a name"),
    "codebooks": (int, "a whole number"),
    "width": (int, "a whole number"),
    "rate": (int, "a whole number"),
    "text_padding": (str, "a name"),
    "trained_on": (str, "a text"),
    "wording": (str, "a text"),
    "licences": (list, "a list"),
}


@dataclass(frozen=True)
class Manifest:
    """What an adapter's model is, and how it is spoken to.

    Attributes:
        family: `musicgen` or `mustango`. codebooks, width: of its language model; 0 for Mustango. rate: in Hz.
        text_padding: `masked` or `audiocraft`.
        trained_on: in words. wording: a caption of its training, as prompts should read.
        licences: of the base's weights and of the recordings, one line each.
    """

    family: Family = "musicgen"
    codebooks: int = 0
    width: int = 0
    rate: int = 0
    text_padding: str = "masked"
    trained_on: str = ""
    wording: str = ""
    licences: tuple[str, ...] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return {**asdict(self), "licences": list(self.licences)}

    @classmethod
    def from_dict(cls, section: Mapping[str, Any], where: str | Path) -> Self:
        """From the section of an adapter's manifest.

        Raises:
            InputError: it is no section of this domain, or something in it is of the wrong kind.
        """
        check_kinds(section, _KINDS, str(where))
        if section.get("family") not in get_args(Family):
            raise InputError(
                f"{where}: the adapter states family {section.get('family')!r}, not {' or '.join(get_args(Family))}; "
                "it is none for music"
            )
        stated = {name: section[name] for name in cls.__dataclass_fields__ if name in section}
        return cls(**{**stated, "licences": tuple(map(str, section.get("licences", ())))})

    def check(self, codebooks: int, width: int, where: str | Path) -> None:
        """Refuse a base of another shape in the words of music.

        Raises:
            InputError: its codebooks or its width are others.
        """
        if self.codebooks and self.codebooks != codebooks:
            more = " (stereo)" if max(self.codebooks, codebooks) == 8 else ""
            raise InputError(
                f"{where}: this adapter is for {self.codebooks} codebooks, the model has {codebooks}{more}"
            )
        if self.width and self.width != width:
            raise InputError(
                f"{where}: this adapter is for a model of width {self.width}, the base's is {width}; small is 1024, "
                "medium 1536, large 2048"
            )


def in_words(data: Mapping[str, Any]) -> str:
    """What an adapter was trained on, of the data's own record."""
    if not data:
        return ""
    return f"{data.get('source', '')}: {data.get('recordings', 0)} recordings, {data.get('hours', 0):g} hours"
