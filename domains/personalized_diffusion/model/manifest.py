"""What an adapter states of itself beside its weights: the `domain` section of its `suite.json`, written and read.

Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from suite.files import check_kinds

_KINDS: Mapping[str, tuple[Any, str]] = {
    "method": (str | None, "a name"),
    "layout": (str | None, "a name"),
    "factors": (list | dict | None, "two whole numbers, or an object"),
    "rank": (int | None, "a whole number"),
    "projections": (str | None, "a name"),
    "targets": (str | None, "a regular expression"),
    "family": (str | None, "a name"),
    "base": (str | None, "a name"),
    "trigger": (dict | None, "an object"),
    "text_encoder": (bool | None, "true or false"),
    "clip_skip": (int | None, "a whole number"),
    "resolution": (int | None, "a whole number"),
    "train": (dict | None, "an object"),
    "source": (dict | None, "an object"),
}


@dataclass(frozen=True)
class TriggerWords:
    """The words that call what an adapter shows.

    Attributes:
        token: the rare word, e.g. `sks`; empty where nothing tells it. noun: the class, e.g. `dog`; may be empty.
        template: the prompt that it was trained with, with `{token}` and `{noun}`.
    """

    token: str = ""
    noun: str = ""
    template: str = "a photo of {token} {noun}"

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """From what `dataclasses.asdict` made; what is missing stays empty."""
        token, noun = (str(given.get(key) or "") for key in ("token", "noun"))
        return cls(token, noun, str(given.get("template") or cls.template))

    @property
    def phrase(self) -> str:
        """What a prompt must contain: token and noun."""
        return f"{self.token} {self.noun}".strip()

    def missing_from(self, text: str) -> bool:
        """Whether a prompt lacks the token, so that the adapter's subject is not asked for."""
        if not self.token:
            return False
        return re.search(rf"(?<!\w){re.escape(self.token)}(?!\w)", text, re.IGNORECASE) is None


@dataclass(frozen=True)
class Stated:
    """What was trained, on what, how.

    Attributes:
        method: name of the method. layout, factors: of KronA. rank: of LoRA, LoKr and LoHa.
        projections: letters of the attention's projections that a preset changes; or targets, a regular expression.
        family: of the base; empty where it is not known. base: its reference.
        trigger: the words that call the subject. text_encoder: whether CLIP text encoders are adapted too.
        clip_skip: the CLIP layer that prompts were read from, counted from the last, which is 1.
        resolution: side of the pictures in pixels.
        train: steps, rates, seed, numbers of pictures and versions of libraries, for people and for other programs.
        source: of an import: the file, its kind, and how much of its change the adapter holds.
    """

    method: str | None = None
    layout: str | None = None
    factors: Any = None
    rank: int | None = None
    projections: str | None = None
    targets: str | None = None
    family: str = ""
    base: str | None = None
    trigger: TriggerWords | None = None
    text_encoder: bool = False
    clip_skip: int = 1
    resolution: int | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        given = {
            "method": self.method,
            "layout": self.layout,
            "factors": self.factors,
            **({} if self.rank is None else {"rank": self.rank}),
            "projections": self.projections,
            **({} if self.targets is None else {"targets": self.targets}),
            "family": self.family,
            "base": self.base,
            "trigger": asdict(self.trigger) if self.trigger else None,
            "text_encoder": self.text_encoder,
            **({} if self.clip_skip == 1 else {"clip_skip": self.clip_skip}),
            "resolution": self.resolution,
            "train": dict(self.train),
        }
        return {**given, "source": dict(self.source)} if self.source else given

    @classmethod
    def from_dict(cls, section: Mapping[str, Any], where: str | Path = "the adapter") -> Self:
        """From the section of an adapter's manifest; that of a plain peft folder is empty.

        Args:
            where: it stands, for messages.

        Raises:
            InputError: something else stands where a name, a number or an object belongs.
        """
        check_kinds(section, _KINDS, str(where))
        given = {key: section[key] for key in _KINDS if section.get(key) is not None}
        if "trigger" in given:
            given["trigger"] = TriggerWords.from_dict(given["trigger"]) if given["trigger"] else None
        return cls(**given)

    @classmethod
    def of_strangers(cls, record: Mapping[str, Any]) -> Self:
        """What can be used of a record that a file of anybody's carries: family, trigger, training, drawing."""
        kept = ("family", "trigger", "resolution", "clip_skip", "train")
        return cls.from_dict({key: record.get(key) for key in kept if isinstance(record.get(key), _KINDS[key][0])})
