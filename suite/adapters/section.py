"""The section `adapter:` of a recipe, in which every domain says in the same words what is attached.

adapter: {method: lora, targets: [q_proj, v_proj], r: 8}       any method, as `adapters.attach` takes it
adapter: {preset: pointgst, rank: 36}                          a paper's settings, of which some are changed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from suite.adapters.naming import suggest
from suite.adapters.registry import method_info
from suite.errors import InputError

WHERE = "recipe.adapter"


@dataclass(frozen=True)
class AdapterSection:
    """What a recipe attaches: a preset of its domain or a method of the core, and settings.

    Attributes:
        preset: name of the domain's preset, or empty. method: of a method, or empty; one of the two is given.
        settings: all else that the section says.
    """

    preset: str = ""
    method: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, section: Mapping[str, Any], presets: Iterable[str]) -> Self:
        """Read the section.

        Args:
            section: as the configuration holds it.
            presets: names of the domain's presets.

        Raises:
            InputError: it names neither a preset nor a method, both, or one that there is not.
        """
        settings, presets = dict(section), list(presets)
        preset, method = settings.pop("preset", None), settings.pop("method", None)
        if (preset is None) == (method is None):
            found = "both" if preset is not None else "neither"
            raise InputError(
                f"{WHERE} names {found} of preset and method; name one: a preset ({', '.join(presets)}) or a method "
                "(`suite methods` lists them)"
            )
        if preset is not None and preset not in presets:
            raise InputError(
                f"{WHERE}.preset: unknown {preset!r}{suggest(str(preset), presets)}; choose from {', '.join(presets)}"
            )
        if method is not None:
            try:
                method_info(method)
            except InputError as error:
                raise InputError(f"{WHERE}.method: {error}") from None
        return cls(preset or "", method or "", settings)

    @property
    def name(self) -> str:
        """The preset's, or the method's."""
        return self.preset or self.method

    def spec(self, presets: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """What `adapters.attach` takes: the method, or the preset's own settings with the section's in their place."""
        start = presets[self.preset] if self.preset and presets else {"method": self.method}
        return {**start, **self.settings}

    def refuse(self, names: Iterable[str]) -> None:
        """Refuse settings that belong to others than this preset.

        Raises:
            InputError: the section has one; the message says how the whole section is replaced.
        """
        if wrong := [name for name in self.settings if name in set(names)]:
            raise InputError(
                f"{WHERE}.{wrong[0]} is no setting of {self.name}; say the whole section anew, as in "
                f"--{WHERE} '{{preset: {self.name}}}'"
            )
