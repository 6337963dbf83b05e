"""What an adapter remembers of how it was trained: the `domain` section of its `suite.json`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from suite.files import check_kinds

_KINDS: Mapping[str, tuple[Any, str]] = {
    "append_end": (bool, "true or false"),
    "begin": (bool, "true or false"),
    "block_size": (int, "a number of tokens"),
    "qkv_blocks": (int, "a number of blocks"),
}


@dataclass(frozen=True)
class Manifest:
    """How an adapter was trained.

    Attributes:
        append_end: whether its targets end in the end-of-sequence token; otherwise only what the text says ends an
            answer.
        begin: whether its sources begin with the beginning-of-sequence token, also where the tokenizer puts none there.
        block_size: most tokens of a source and its target.
        qkv_blocks: in how many blocks the base's fused projections lie, of a CodeGen.
    """

    append_end: bool = False
    begin: bool = False
    block_size: int = 1024
    qkv_blocks: int = 4

    @classmethod
    def from_dict(cls, section: Mapping[str, Any], where: Path) -> Self:
        """From the section; a plain peft folder has none, and was trained as the study trains.

        Raises:
            InputError: something else stands where a number or a truth value belongs.
        """
        check_kinds(section, _KINDS, str(where))
        return cls(**{name: section[name] for name in _KINDS if name in section})

    def to_dict(self) -> dict[str, Any]:
        """The section, ready for `json.dumps`."""
        section = asdict(self)
        if self.qkv_blocks == Manifest().qkv_blocks:  # as in nearly every base
            del section["qkv_blocks"]
        return section
