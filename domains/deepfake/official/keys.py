"""Names of weights: the authors' two layouts and ours.

| | tower | tuned norm | frozen copy of it | head |
|---|---|---|---|---|
| arXiv 2503.19683 | `feature_extractor.base_model.model.vision_model.X` | `...ln_tuning_layers.default.weight` | `...base_layer.weight` | `model.linear.*` |
| GenD | `feature_extractor.vision_model.X` | `X.weight` | none | `model.linear.*` |
| GenD on Perception Encoder | `feature_extractor.backbone.X` (timm's) | `X.weight` | none | `model.linear.*` |
| GenD on DINOv3 | `feature_extractor.backbone.X` (transformers' 4.56) | `X.weight` | none | `model.linear.*` |
| ours | `vision_model.X` | `X.weight` | the base's | `head.*` |
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from domains.deepfake.model.attachments import NORM_NAMES
from suite.errors import InputError

Layout = Literal["p1", "gend"]

PREFIXES: Mapping[Layout, str] = {
    "p1": "feature_extractor.base_model.model.vision_model.",
    "gend": "feature_extractor.vision_model.",
}
HEAD = "model.linear."
PROJECTION = "feature_extractor.visual_projection.weight"
"""In GenD's files, and used by nobody."""

OTHER_TOWERS = "feature_extractor."
"""Before the names of towers that are no CLIP's, which begin with `backbone.` there and here."""

_NORM = re.compile(rf"{NORM_NAMES}\.(weight|bias)")
_EVA_OR_DINO = re.compile(r"feature_extractor\.backbone\.(blocks|layer)\.")
_THEN, _NOW = "backbone.layer.", "backbone.model.layer."
"""transformers put DINOv3's layers one module deeper after the files were made."""
_OTHERS = re.compile(r"feature_extractor\.(base_model\.model\.)?backbone\.")


@dataclass(frozen=True)
class Released:
    """What a released file holds, under transformers' names of a `CLIPVisionModel`, or timm's after `backbone.`.

    Attributes:
        tower: all its weights, norms as tuned. before: the norms before tuning; empty where the file has none.
        head: `weight` (2, width) and `bias` (2,).
    """

    layout: Layout
    tower: Mapping[str, Tensor]
    before: Mapping[str, Tensor]
    head: Mapping[str, Tensor]


def is_norm(name: str) -> bool:
    """Whether a tensor of the tower is one that LN-tuning trains."""
    return bool(_NORM.fullmatch(name))


def released(state: Mapping[str, Tensor], where: str) -> Released:
    """Tell the layout and take the tower and the head apart.

    Raises:
        InputError: it is of neither layout, of another tower, or has keys that belong to none; lists some.
    """
    prefixes: Mapping[Layout, str] = PREFIXES
    if any(_EVA_OR_DINO.match(name) for name in state):
        prefixes = {"gend": OTHER_TOWERS}
    elif any(_OTHERS.match(name) for name in state):
        raise InputError(f"{where}: its tower is neither CLIP's, a Perception Encoder nor DINOv3; it is not read")
    layout = next((name for name, prefix in prefixes.items() if any(key.startswith(prefix) for key in state)), None)
    if layout is None:
        raise InputError(f"{where}: no weights under {' or '.join(PREFIXES.values())}; it is no released detector")
    tower: dict[str, Tensor] = {}
    before: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    unknown = []
    for key, tensor in state.items():
        name = key.removeprefix(prefixes[layout]).replace(_THEN, _NOW)
        if key.startswith(HEAD):
            head[key.removeprefix(HEAD)] = tensor
        elif not key.startswith(prefixes[layout]):
            unknown += [] if key == PROJECTION else [key]
        elif name == "embeddings.position_ids":  # a row of numbers in older files
            continue
        elif ".base_layer." in name:
            before[name.replace(".base_layer.", ".")] = tensor
        else:
            tower[name.replace(".ln_tuning_layers.default.", ".")] = tensor
    if unknown:
        raise InputError(
            f"{where}: {len(unknown)} unknown keys: {_some(unknown)}; this is not the layout expected here"
        )
    if missing := {"weight", "bias"} - set(head):
        raise InputError(f"{where}: the head lacks {_some(missing)}; with a random head every score would be noise")
    return Released(layout, tower, before, head)


def state_of(
    tower: Mapping[str, Tensor], before: Mapping[str, Tensor], head: Mapping[str, Tensor], layout: Layout
) -> dict[str, Tensor]:
    """The way back: the authors' names.

    Args:
        tower: weights of the vision model, norms as tuned. before: the norms before tuning.
    """
    is_other = any(name.startswith("backbone.") for name in tower)
    if is_other and layout == "p1":
        raise InputError("the p1 layout is of CLIP's towers; write this one with --option layout=gend")
    prefix = OTHER_TOWERS if is_other else PREFIXES[layout]
    state: dict[str, Tensor] = {}
    for name, tensor in tower.items():
        if layout == "p1" and is_norm(name):
            norm, _, kind = name.rpartition(".")
            state[f"{prefix}{norm}.base_layer.{kind}"] = before[name]
            state[f"{prefix}{norm}.ln_tuning_layers.default.{kind}"] = tensor
        else:
            state[prefix + name.replace(_NOW, _THEN)] = tensor
    return {**state, **{f"{HEAD}{name}": tensor for name, tensor in head.items()}}


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")
