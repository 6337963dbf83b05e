"""What an adapter states of itself beside its weights: the `domain` section of its `suite.json`, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from domains.tracking.model import bases
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import SpmTrack
from suite import adapters
from suite.errors import InputError
from suite.files import check_kinds

_KINDS: Mapping[str, tuple[Any, str]] = {
    "tracker": (dict, "an object"),
    "split": (bool, "true or false"),
    "preset": (str, "a name"),
    "trained_on": (str, "a text"),
    "metrics": (dict, "an object"),
}


@dataclass(frozen=True)
class Manifest:
    """How an adapter's tracker is built, and how frames are cut for it.

    Attributes:
        tracker: sizes, templates, window. split: whether query, key and value are layers of their own.
        preset: of the recipe, or a method's name.
        trained_on: in words; empty for nothing that is known.
        metrics: figures of its validation.
    """

    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    split: bool = False
    preset: str = ""
    trained_on: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        return {
            "tracker": self.tracker.to_dict(),
            "split": self.split,
            "preset": self.preset,
            "trained_on": self.trained_on,
            "metrics": dict(self.metrics),
        }

    @classmethod
    def from_dict(cls, section: Mapping[str, Any], where: str | Path) -> Self:
        """From the section of an adapter's manifest.

        Raises:
            InputError: it is no section of this domain, or something in it is of the wrong kind.
        """
        check_kinds(section, _KINDS, str(where))
        if "tracker" not in section:
            raise InputError(f"{where}: the adapter states no tracker; it is no tracking adapter of the suite")
        try:
            tracker = TrackerSettings.from_dict(section["tracker"])
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        return cls(tracker, **{name: section[name] for name in _KINDS if name != "tracker" and name in section})


def from_manifest(adapter: str | Path, base: str | Path) -> tuple[SpmTrack, Manifest]:
    """The tracker of a saved adapter on its base, in evaluation mode, and what the adapter states.

    Raises:
        InputError: the adapter is of another domain or of another base.
    """
    stated = Manifest.from_dict(adapters.read_manifest(adapter)["domain"], adapter)
    model = adapters.load(bases.load_folder(base, stated.tracker, split=stated.split), adapter)
    return model.eval(), stated


def check_merge(adapter: Path) -> None:
    """Refuse every adapter: an ordinary DINOv2 has no place for a tracker's head and embeddings.

    Raises:
        InputError: always.
    """
    raise InputError(
        f"{adapter}: cannot be merged into an ordinary DINOv2, which has no place for a tracker's head and embeddings; "
        "suite tracking export writes a whole step, in Python adapters.merge folds LoRA into a loaded tracker"
    )
