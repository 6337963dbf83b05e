"""The numbers that a tracker and its crops agree on. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, get_args

from domains.tracking.types import MemoryPolicy
from suite.errors import InputError


@dataclass(frozen=True)
class TrackerSettings:
    """Sizes of crops and of the grids of tokens that they become, and how a score map becomes a box.

    The defaults are SPMTrack's published ones (arXiv 2503.18338).

    Attributes:
        template_size, search_size: pixels of a side of the crops. patch: pixels of a side of a token.
        template_area_factor, search_area_factor: how far a crop reaches around its box, in means of its sides.
        num_templates: reference crops that a search sees; the first one is always the first frame's.
        state_token: whether a token goes from frame to frame and modulates the response; LoRAT has none.
        min_object_size: pixels; smaller boxes are searched around as if they were so large.
        window_penalty: weight of the Hann window against the score, 0 to 1.
        memory_policy: which frames the templates are of.
        box_prior: how far a box's sides lie from its cell before anything is trained, in parts of the search crop; 0.5
            as published. An object is a fifth of the crop: with 0.1 a short training need not shrink the boxes first,
            which takes an optimiser that moves a bias by its rate a thousand steps.
    """

    template_size: int = 196
    search_size: int = 378
    patch: int = 14
    template_area_factor: float = 2.0
    search_area_factor: float = 5.0
    num_templates: int = 3
    state_token: bool = True
    min_object_size: float = 10.0
    window_penalty: float = 0.45
    memory_policy: MemoryPolicy = "segments"
    box_prior: float = 0.5

    def __post_init__(self) -> None:
        for name in ("template_size", "search_size"):
            size = getattr(self, name)
            if size < self.patch or size % self.patch:
                raise InputError(f"{name} is {size}; give a multiple of the patch, {self.patch} pixels")
        if self.template_size > self.search_size:
            raise InputError(f"template_size {self.template_size} is larger than search_size {self.search_size}")
        for name in ("template_area_factor", "search_area_factor"):
            if not 1 <= getattr(self, name) <= 100:
                raise InputError(f"{name} is {getattr(self, name)}; give a number from 1 to 100, e.g. 2.0")
        if self.num_templates not in (1, 3):
            raise InputError(f"num_templates is {self.num_templates}; give 3, or 1 for the first frame's alone")
        if not 0 <= self.window_penalty <= 1:
            raise InputError(f"window_penalty is {self.window_penalty}; give a number from 0 to 1")
        if not 0 < self.box_prior < 1:
            raise InputError(f"box_prior is {self.box_prior}; give a part of the crop above 0 and below 1, e.g. 0.1")
        if not self.min_object_size > 0:
            raise InputError(f"min_object_size is {self.min_object_size}; give a number of pixels above 0")
        if self.memory_policy not in get_args(MemoryPolicy):
            raise InputError(f"memory_policy is {self.memory_policy!r}; give {' or '.join(get_args(MemoryPolicy))}")

    @property
    def template_grid(self) -> int:
        """Tokens of a side of a template."""
        return self.template_size // self.patch

    @property
    def search_grid(self) -> int:
        """Tokens of a side of a search crop."""
        return self.search_size // self.patch

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return int(self.state_token) + self.num_templates * self.template_grid**2 + self.search_grid**2

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, section: Mapping[str, Any]) -> Self:
        """From what `to_dict` gave, or a part of it.

        Raises:
            InputError: a name is unknown, or a value is none that it can have.
        """
        known = {field.name: type(field.default) for field in fields(cls)}
        if unknown := [name for name in section if name not in known]:
            raise InputError(f"tracker: {unknown[0]!r} is unknown; there are {', '.join(known)}")
        for name, value in section.items():
            wanted = (int, float) if known[name] is float else known[name]
            if not isinstance(value, wanted) or isinstance(value, bool) != (known[name] is bool):
                raise InputError(f"tracker: {name} is {value!r}, no {known[name].__name__}")
        return cls(**section)
