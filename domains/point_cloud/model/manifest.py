"""What an adapter states of itself beside its weights: the `domain` section of its `suite.json`, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from torch import nn

from domains.point_cloud.model.bases import load_base_folder
from suite import adapters
from suite.errors import InputError
from suite.files import check_kinds

BANK = "bank.safetensors"
"""Point-PEFT's memory, beside the weights of the adapters that have one."""

_KINDS: Mapping[str, tuple[Any, str]] = {
    "classes": (list, "a list"),
    "npoints": (int, "a whole number"),
    "normalise": (bool, "true or false"),
    "parts": (dict | None, "an object"),
    "selected_on": (str | None, "a name"),
    "metrics": (dict | None, "an object"),
    "task": (str, "a name"),
    "backbone": (dict | None, "an object"),
    "method": (str, "a name"),
    "freeze_bn": (bool, "true or false"),
    "up": (str, "a name"),
    "block": (float | int | None, "a number"),
    "inputs": (list, "a list"),
    "known_from": (float | int | None, "a number"),
}


@dataclass(frozen=True)
class Stated:
    """How an adapter's model is built, and how its clouds are prepared.

    Attributes:
        classes: names in the order of the logits; for segmentation the categories.
        npoints: points of a cloud. normalise: whether clouds are put into the unit sphere. up: axis that points up.
        parts: names of each category's parts; segmentation alone has them.
        selected_on: the split that chose the weights, where the adapter tells.
        backbone: class and architecture, with what the task decides of it.
        method: name of the preset or method. freeze_bn: as `model.attachments.attach` takes it.
        prior: whether Point-PEFT's bank lies beside the weights.
        block: metres of the columns that scenes are cut into; None for clouds that are seen whole.
        inputs: channels of a point that the model sees beside its place, in their order.
        known_from: log-sum-exp of the logits below which a cloud is of no known class; None where nobody has measured.
    """

    classes: tuple[str, ...]
    npoints: int = 1024
    normalise: bool = True
    parts: Mapping[str, tuple[str, ...]] | None = None
    selected_on: str = ""
    task: str = "classification"
    backbone: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""
    freeze_bn: bool = True
    up: str = "y"
    prior: bool = False
    block: float | None = None
    known_from: float | None = None
    inputs: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        stated: dict[str, Any] = {
            "task": self.task,
            "backbone": dict(self.backbone),
            "method": self.method,
            "freeze_bn": self.freeze_bn,
            "classes": list(self.classes),
            "npoints": self.npoints,
            "normalise": self.normalise,
            "up": self.up,
            "selected_on": self.selected_on,
        }
        stated |= {name: value for name in ("block", "known_from") if (value := getattr(self, name)) is not None}
        if self.inputs:
            stated["inputs"] = list(self.inputs)
        if self.task == "segmentation":
            return {**stated, "parts": {name: list(own) for name, own in (self.parts or {}).items()}}
        return {**stated, "prior": self.prior}

    @classmethod
    def from_dict(cls, section: Mapping[str, Any], where: str | Path) -> Self:
        """From the section of an adapter's manifest; adapters of the first versions lack some of it.

        Raises:
            InputError: it names no classes, or something else stands where a name, a number or an object belongs.
        """
        check_kinds(section, _KINDS, str(where))
        if not section.get("classes"):
            raise InputError(
                f"{where}: the adapter does not say its classes; it is no point-cloud adapter of the suite"
            )
        listed = {"classes": section["classes"], **(section.get("parts") or {})}
        for name, names in listed.items():
            if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
                key = "classes" if name == "classes" else "parts"
                raise InputError(f"{where}: {key!r} of 'domain' is {section[key]!r}, not a list of names")
        parts = {name: tuple(own) for name, own in (section.get("parts") or {}).items()}
        return cls(
            classes=tuple(section["classes"]),
            npoints=section.get("npoints", 1024),
            normalise=section.get("normalise", True),
            parts=parts or None,
            selected_on=section.get("selected_on") or (section.get("metrics") or {}).get("selected_on", ""),
            task=section.get("task", "segmentation" if parts else "classification"),
            backbone=section.get("backbone") or {},
            method=section.get("method", ""),
            freeze_bn=section.get("freeze_bn", True),
            up=section.get("up", "y"),
            prior=bool(section.get("prior", False)),
            block=section.get("block"),
            known_from=section.get("known_from"),
            inputs=tuple(section.get("inputs") or ()),
        )


def from_manifest(adapter: str | Path, base: str | Path) -> nn.Module:
    """The model of a saved adapter on its base, in evaluation mode.

    Raises:
        InputError: the adapter is of another domain or of another base.
    """
    stated = adapters.read_manifest(adapter)["domain"]
    if "backbone" not in stated:
        raise InputError(f"{adapter} says nothing of a point-cloud backbone; it is an adapter of something else")
    model = load_base_folder(base, **stated["backbone"])
    return adapters.load(model, adapter).eval()
