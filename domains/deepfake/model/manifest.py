"""What an adapter states of itself beside its weights: the `domain` section of its `suite.json`, written and read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, get_args

from domains.deepfake.model import bases
from domains.deepfake.model.forgery_classifier import ForgeryClassifier, HeadKind
from suite import adapters
from suite.errors import InputError
from suite.files import check_kinds

_KINDS: Mapping[str, tuple[Any, str]] = {
    "head": (str, "a name"),
    "preset": (str, "a name"),
    "alignment": (str, "a name"),
    "scale": (int | float, "a number"),
    "tower": (dict, "an object"),
    "threshold": (int | float, "a number"),
    "temperature": (int | float, "a number"),
    "trained_on": (str, "a text"),
    "calibrated_on": (str, "a text"),
    "calibrated_list": (str, "a text"),
    "calibrated_frames": (int, "a whole number"),
    "calibrated_videos": (int, "a whole number"),
    "threshold_rule": (str, "a name"),
    "thresholds": (dict, "an object"),
    "metrics": (dict, "an object"),
}


@dataclass(frozen=True)
class Manifest:
    """How an adapter's model is built, how faces are cut for it, and how its scores are read.

    Attributes:
        head: of the classifier. preset: of the recipe, or a method's name.
        alignment: the template that crops were cut with, `deepfakebench` or `gend`. scale: how much is around the face.
        tower: its width, layers and patch, by these names; empty where they are not known.
        threshold: a calibrated probability at or above it is called likely manipulated. threshold_rule: its name among
            thresholds, which hold one for each rule.
        temperature: what logits are divided by.
        trained_on, calibrated_on: in words; empty for nothing. calibrated_list: hash of the frames of calibration.
        calibrated_frames, calibrated_videos: how many there were.
        metrics: figures of its validation or calibration.
    """

    head: HeadKind = "LinearNorm"
    preset: str = ""
    alignment: str = "deepfakebench"
    scale: float = 1.3
    tower: Mapping[str, int] = field(default_factory=dict)
    threshold: float = 0.5
    temperature: float = 1.0
    trained_on: str = ""
    calibrated_on: str = ""
    calibrated_list: str = ""
    calibrated_frames: int = 0
    calibrated_videos: int = 0
    threshold_rule: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Where the threshold comes from, in words."""
        if not self.calibrated_on:
            return "uncalibrated"
        return f"{self.threshold_rule or 'calibrated'} on {self.calibrated_on}"

    def cut(self, asked: float | str | None) -> tuple[float, str]:
        """A threshold, and where it comes from in words.

        Args:
            asked: a number, a rule of the calibration, or None for the one that the adapter states.

        Raises:
            InputError: the number is no score, or the adapter keeps no threshold by that rule.
        """
        if asked is None:
            return self.threshold, self.origin
        if isinstance(asked, str):
            if asked not in self.thresholds:
                known = ", ".join(self.thresholds) or "none; calibrate keeps some"
                raise InputError(f"threshold {asked!r}: give 0 to 1, or a rule that the adapter keeps ({known})")
            return self.thresholds[asked], f"{asked} on {self.calibrated_on}"
        if not 0 <= asked <= 1:
            raise InputError(f"threshold is {asked}; give a score from 0 to 1")
        return asked, "as asked for"

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        tables = {name: dict(getattr(self, name)) for name in ("metrics", "thresholds", "tower")}
        return {**asdict(self), **tables}

    @classmethod
    def from_dict(cls, section: Mapping[str, Any], where: str | Path) -> Self:
        """From the section of an adapter's manifest.

        Raises:
            InputError: it is no section of this domain, or something in it is of the wrong kind.
        """
        check_kinds(section, _KINDS, str(where))
        if section.get("head") not in get_args(HeadKind):
            raise InputError(
                f"{where}: the adapter states head {section.get('head')!r}, not {' or '.join(get_args(HeadKind))}; it "
                "is no deepfake adapter of the suite"
            )
        stated = cls(**{name: section[name] for name in cls.__dataclass_fields__ if name in section})
        if not (stated.temperature > 0 and math.isfinite(stated.temperature) and 0 <= stated.threshold <= 1):
            raise InputError(f"{where}: temperature {stated.temperature} or threshold {stated.threshold} is impossible")
        return stated


def from_manifest(adapter: str | Path, base: str | Path) -> tuple[ForgeryClassifier, Manifest]:
    """The model of a saved adapter on its base, in evaluation mode, and what the adapter states.

    Raises:
        InputError: the adapter is of another domain or of another base.
    """
    stated = Manifest.from_dict(adapters.read_manifest(adapter)["domain"], adapter)
    _check_tower(stated, adapter, base)
    model = adapters.load(bases.of_folder(base, stated.head), adapter)
    return model.eval(), stated


def _check_tower(stated: Manifest, adapter: str | Path, base: str | Path) -> None:
    """Refuse a base of other sizes before any of it is loaded."""
    found = bases.sizes(base)
    for name, expected in stated.tower.items():
        if name in found and found[name] != expected:
            raise InputError(
                f"{adapter}: its tower has {name} {expected}, that of base {base} has {found[name]}; load the base "
                "that it was trained on"
            )
