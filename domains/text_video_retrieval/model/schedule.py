"""How many tokens each layer merges: settings in the authors' words, and the plan that they make. Imports no torch.

TempMe (arXiv 2409.01156): layers before the first merge layer merge a few tokens inside each frame; each merge layer
joins neighbouring clips and merges tokens across them, then inside; layers after it merge a share of what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import yaml

from suite.errors import InputError


@dataclass(frozen=True)
class Step:
    """What one layer does.

    Attributes:
        layer: 0-based. join: neighbouring clips put together before it; 1 is none.
        clips: clips of a video that enter. tokens: of each, class tokens counted. classes: of each.
        across, inside: tokens merged before the attention, and between attention and MLP.
    """

    layer: int
    clips: int
    tokens: int
    classes: int
    join: int = 1
    across: int = 0
    inside: int = 0

    @property
    def joined(self) -> int:
        """Clips after joining."""
        return self.clips // self.join

    @property
    def attended(self) -> int:
        """Tokens of a clip in the attention."""
        return self.tokens * self.join - self.across

    @property
    def left(self) -> int:
        """Tokens of a clip in the MLP, and after it."""
        return self.attended - self.inside

    @property
    def classes_left(self) -> int:
        """Class tokens of a clip after it."""
        return self.classes * self.join

    def __str__(self) -> str:
        grown = f"{self.clips} x {self.tokens} -> {self.joined} x {self.left}"
        return f"layer {self.layer}: {grown} ({self.across} merged across, {self.inside} inside)"


@dataclass(frozen=True)
class Schedule:
    """TempMe's settings. The strings of the authors' command (`8-9-10`) are as good as lists.

    Attributes:
        merge_layer: layers, from 0, that join clips.
        merge_frame_num: how many neighbouring clips each joins.
        merge_token_proportion: percent of the tokens merged in a merge layer: across clips, then inside; the second
            also in the layers after it.
        tome_r: tokens merged in each layer before the first merge layer.
        frame_pos: whether merge layers add a trained temporal position to each clip.
        prop_attn: whether attention counts a token as often as the tokens that it stands for.
    """

    merge_layer: tuple[int, ...] = (8, 9, 10)
    merge_frame_num: tuple[int, ...] = (2, 2, 3)
    merge_token_proportion: tuple[int, int] = (30, 10)
    tome_r: int = 2
    frame_pos: bool = True
    prop_attn: bool = True

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Read settings of a configuration, a preset's name among them.

        Raises:
            InputError: a name is unknown, or a value is no whole number.
        """
        given: dict[str, Any] = dict(settings)
        if preset := given.pop("preset", None):
            if preset not in PRESETS:
                raise InputError(f"schedule.preset: unknown {preset!r}; choose {', '.join(PRESETS)}")
            given = {**PRESETS[preset], **given}
        known = cls.__dataclass_fields__
        for name, value in given.items():
            if name not in known:
                raise InputError(f"schedule.{name} is unknown; there are preset, {', '.join(known)}")
            if name in _LISTS:
                given[name] = _numbers(name, value)
            elif name == "tome_r" and (isinstance(value, bool) or not isinstance(value, int)):
                raise InputError(f"schedule.tome_r is {value!r}; give a whole number")
        given.update({name: bool(given[name]) for name in _SWITCHES if name in given})
        return cls(**given)

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Read a preset's name, or settings as YAML.

        Raises:
            InputError: it is neither.
        """
        try:
            given = yaml.safe_load(text)
        except yaml.YAMLError:
            given = None
        if isinstance(given, str):
            given = {"preset": given}
        if not isinstance(given, dict):
            raise InputError(f"schedule is {text!r}; give a preset ({', '.join(PRESETS)}), or {{merge_layer: 8-9-10}}")
        return cls.of(given)

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dumps`."""
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return {**lists, "tome_r": self.tome_r, "frame_pos": self.frame_pos, "prop_attn": self.prop_attn}

    def plan(self, frames: int, tokens: int, layers: int) -> Plan:
        """What every layer of a tower does with one video.

        Args:
            frames: of a video. tokens: of a frame, its class token counted. layers: of the tower.

        Raises:
            InputError: the settings do not fit the video or the tower; the message shows the plan up to there.
        """
        self._check(layers)
        joins = dict(zip(self.merge_layer, self.merge_frame_num, strict=True))
        across, inside = (percent / 100 for percent in self.merge_token_proportion)
        steps: list[Step] = []
        clips, count, classes = frames, tokens, 1
        for layer in range(layers):
            join = joins.get(layer, 1)
            if clips % join:
                raise InputError(_shown(f"{clips} clips enter layer {layer}, which joins {join}", steps))
            if layer in joins:
                r0 = min((count - classes) * join // 2, int(count * join * across))
                r1 = min(((count - classes) * join - r0) // 2, int((count * join - r0) * inside))
                # A merge layer that joins one clip merges nothing across, but counts as if it had, as released.
                r0 = r0 if join > 1 else 0
            elif self.merge_layer and layer > self.merge_layer[0]:
                r0, r1 = 0, min((count - classes) // 2, int(count * inside))
            else:
                r0, r1 = 0, self.tome_r
                if r1 > (count - classes) // 2:
                    what = f"tome_r is {r1}, and the {count - classes} patches of layer {layer} have"
                    raise InputError(_shown(f"{what} {(count - classes) // 2} to merge", steps))
            step = Step(layer, clips, count, classes, join, r0, r1)
            steps.append(step)
            clips, count, classes = step.joined, step.left, step.classes_left
        return Plan(self, frames, tuple(steps))

    def _check(self, layers: int) -> None:
        if len(self.merge_layer) != len(self.merge_frame_num):
            raise InputError(
                f"schedule: {len(self.merge_layer)} layers in merge_layer and {len(self.merge_frame_num)} numbers in "
                "merge_frame_num; give one for each"
            )
        if list(self.merge_layer) != sorted(set(self.merge_layer)):
            raise InputError(f"schedule.merge_layer is {list(self.merge_layer)}; give different layers, ascending")
        if self.merge_layer and not 0 <= self.merge_layer[0] <= self.merge_layer[-1] < layers:
            raise InputError(
                f"schedule.merge_layer is {list(self.merge_layer)}; the tower has layers 0 to {layers - 1}"
            )
        if any(number < 1 for number in self.merge_frame_num):
            raise InputError(f"schedule.merge_frame_num is {list(self.merge_frame_num)}; give numbers from 1")
        if len(self.merge_token_proportion) != 2 or not all(0 <= p <= 90 for p in self.merge_token_proportion):
            raise InputError(
                f"schedule.merge_token_proportion is {list(self.merge_token_proportion)}; give two percentages from 0 "
                "to 90: merged across clips, and inside"
            )
        if self.tome_r < 0:
            raise InputError(f"schedule.tome_r is {self.tome_r}; give 0 or more")


@dataclass(frozen=True)
class Plan:
    """What every layer does with one video of so many frames."""

    schedule: Schedule
    frames: int
    steps: tuple[Step, ...] = field(default=())

    @property
    def clips(self) -> int:
        """Clips after the last layer."""
        return self.steps[-1].joined

    @property
    def tokens(self) -> int:
        """Tokens of a video after the last layer."""
        return self.steps[-1].joined * self.steps[-1].left

    @property
    def positions(self) -> dict[int, int]:
        """Clips that enter each merge layer, which has a temporal position for each of them."""
        if not self.schedule.frame_pos:
            return {}
        return {step.layer: step.clips for step in self.steps if step.layer in self.schedule.merge_layer}

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))


UNMERGED = Schedule((), (), (0, 0), 0)
"""Plain CLIP, frame by frame."""

_LISTS = ("merge_layer", "merge_frame_num", "merge_token_proportion")
_SWITCHES = ("frame_pos", "prop_attn")

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "vit-b-32": {"tome_r": 2, "merge_token_proportion": [30, 10]},
    "vit-b-16": {"tome_r": 10, "merge_token_proportion": [40, 20]},
    "vit-b-32-64-frames": {"tome_r": 2, "merge_frame_num": [4, 4, 4], "merge_token_proportion": [30, 10]},
    "vit-b-16-64-frames": {"tome_r": 10, "merge_frame_num": [4, 4, 4], "merge_token_proportion": [40, 20]},
    "image": UNMERGED.to_dict(),
}
"""The settings that fit a backbone; `image` merges nothing. Those of B/32 on B/16 leave four times the tokens."""


def _numbers(name: str, value: Any) -> tuple[int, ...]:
    parts = value.split("-") if isinstance(value, str) else value
    try:
        numbers = tuple(int(part) for part in parts)
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or (not isinstance(value, str) and any(isinstance(p, bool) or p != int(p) for p in value)):
        raise InputError(f"schedule.{name} is {value!r}; give a list of whole numbers, or e.g. 8-9-10")
    return numbers


def _shown(what: str, steps: Sequence[Step]) -> str:
    before = "; ".join(map(str, steps[-3:]))
    return f"schedule: {what}; change merge_frame_num, tome_r or the number of frames" + (
        f" (before it: {before})" if before else ""
    )
