"""Objects followed through the frames of one video, all of a frame in one batch, each with what it remembers.

SPMTrack (arXiv 2503.18338), section 3.4: search around the last box, three templates of earlier frames, the state that
the last search left; whatever was found becomes a template.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from domains.tracking.data import crops
from domains.tracking.data.crops import Geometry, Pixels
from domains.tracking.inference.decode import decode
from domains.tracking.inference.memory import MOST, Template, TemplateMemory
from domains.tracking.inference.status import StatusCounter, StatusRule
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import Step
from domains.tracking.output.panels import View
from domains.tracking.types import Box, TrackedBox, TrackQuery, WhenLost
from suite.errors import InputError

ENLARGED = 1.5
"""How much wider a lost object is searched for, with `enlarge`."""


@dataclass(frozen=True)
class SessionSettings:
    """What a user may choose; the defaults are the published tracker.

    Attributes:
        rule: of statuses. when_lost: what happens to a lost object.
        most_templates: kept of an object; None for no limit.
        exact: keep templates as they were cut, in four bytes a number, instead of rounded to whole levels.
        batch_size: objects that go through the model side by side.
        views: keep what was looked at in the last frame, for pictures.
    """

    rule: StatusRule = field(default_factory=StatusRule)
    when_lost: WhenLost = "go_on"
    most_templates: int | None = MOST
    exact: bool = False
    batch_size: int = 16
    views: bool = True


@dataclass
class Followed:
    """One object.

    Attributes:
        number: of the last frame, from the one it was added in, which is 0.
        first: the box that it was added with.
        box: left, top, right, bottom in the last frame, around which the next search is.
        fill: (3,), mean colour of the frame it was added in.
        state: (1, width), what the last search left. memory: its templates.
        status: with its counters.
        embedded: tokens (1, Z², width) of the templates that the last frame saw.
        view: what was looked at in the last frame.
    """

    first: Box
    box: crops.Box
    fill: Tensor
    state: Tensor
    memory: TemplateMemory
    number: int = 0
    status: StatusCounter = field(default_factory=StatusCounter)
    embedded: dict[int, Tensor] = field(default_factory=dict)
    view: View | None = None


def asked_of(query: TrackQuery | None, tracker: TrackerSettings) -> tuple[TrackerSettings, dict[str, Any]]:
    """What a query asks of a tracker and of a session; what an adapter states where there is none."""
    if query is None:
        return tracker, {}
    rule = StatusRule(query.uncertain_below, query.lost_below, query.status_frames)
    asked: dict[str, Any] = {"rule": rule, "when_lost": query.when_lost, "batch_size": query.batch_size}
    asked |= {"most_templates": query.most_templates, "views": query.panels}
    return replace(tracker, memory_policy=query.memory_policy or tracker.memory_policy), asked


class StepModel(Protocol):
    """What a session needs of a model: `SpmTrack`, or a file of one step."""

    settings: TrackerSettings

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def fresh_state(self, batch: int) -> Tensor: ...
    def embed_template(self, crop: Tensor, mask: Tensor) -> Tensor: ...
    def search(self, templates: Tensor, crop: Tensor, state: Tensor) -> Step: ...


class TrackingSession:
    """Several objects of one video; each may begin and end at any frame, and none changes what becomes of another.

    >>> session.add("dog", first, (120, 80, 60, 90))
    >>> session.track(second)["dog"].box

    Args:
        model: in evaluation mode.
        tracker: sizes and the rest, mostly `model.settings`, with another policy or window where a user wants it.

    Attributes:
        objects: those that are followed, in the order in which they were added.
        broken: searches whose answer was no number.
    """

    def __init__(
        self, model: StepModel, tracker: TrackerSettings | None = None, settings: SessionSettings | None = None
    ) -> None:
        self.model, self.tracker = model, tracker or model.settings
        self.settings = settings or SessionSettings()
        self.objects: dict[str, Followed] = {}
        self.broken = 0

    def add(self, name: str, frame: Pixels, box: Box) -> None:
        """Follow an object from this frame on; one of that name that is followed already begins anew.

        Args:
            frame: (height, width, 3), uint8, RGB. box: x, y, w, h, with a part in the frame.

        Raises:
            InputError: the frame is none, or the box has no area in it.
        """
        check_frame(frame)
        x, y, w, h = box
        corners = np.array([x, y, x + w, y + h], np.float64)
        inside = crops.clipped(corners, frame.shape[1], frame.shape[0])
        if not np.isfinite(corners).all() or not _has_area(corners) or not _has_area(inside):
            raise InputError(f"{name}: the box {box} has no area in a frame of {frame.shape[1]} x {frame.shape[0]}")
        tracker = self.tracker
        mean = crops.mean_colour(frame)
        memory = TemplateMemory(
            self._template(frame, corners, mean),
            tracker.memory_policy,
            tracker.num_templates,
            self.settings.most_templates,
        )
        state = self.model.fresh_state(1)[0]
        self.objects[name] = Followed((x, y, w, h), corners, mean, state, memory)

    def remove(self, name: str) -> None:
        """Follow it no longer; all that it remembers is gone.

        Raises:
            InputError: no object of that name is followed.
        """
        if name not in self.objects:
            raise InputError(f"no object is called {name!r}; there are {', '.join(self.objects) or 'none'}")
        del self.objects[name]

    def reset(self) -> None:
        """Follow nothing."""
        self.objects.clear()

    def track(self, frame: Pixels) -> dict[str, TrackedBox]:
        """The objects in the next frame, in the order in which they were added.

        Raises:
            InputError: the frame is none.
        """
        check_frame(frame)
        found: dict[str, TrackedBox] = {}
        names, mean = list(self.objects), crops.mean_colour(frame)
        for start in range(0, len(names), max(1, self.settings.batch_size)):
            some = names[start : start + max(1, self.settings.batch_size)]
            found.update(zip(some, self._tracked([self.objects[name] for name in some], frame, mean), strict=True))
        return found

    def view(self, name: str) -> View | None:
        """What was looked at of an object in the last frame; None before there was one."""
        followed = self.objects.get(name)
        return None if followed is None else followed.view

    @torch.inference_mode()
    def _tracked(self, objects: Sequence[Followed], frame: Pixels, mean: Tensor) -> Iterator[TrackedBox]:
        cut = [self._search(followed, frame) for followed in objects]
        searches = crops.normalised(torch.stack([crop for crop, _ in cut]).to(self.model.device))  # (K, 3, S', S')
        templates = torch.cat([self._templates(followed) for followed in objects])  # (K, n * Z², width)
        states = torch.stack([followed.state for followed in objects])  # (K, 1, width)
        step = self.model.search(templates, searches, states)
        decoded = decode(step.scores, step.boxes, self.tracker.search_size, self.tracker.window_penalty)
        boxes, scores = (each.cpu().double().numpy() for each in (decoded.boxes, decoded.scores))
        # Of an infinite logit the sigmoid would make a certain answer.
        answers = torch.cat([step.state.float().flatten(1), step.scores.float().flatten(1)], 1)
        sound = torch.isfinite(answers).all(1).cpu().numpy()  # (K,)
        for row, (followed, (crop, geometry)) in enumerate(zip(objects, cut, strict=True)):
            followed.number += 1
            if sound[row] and np.isfinite(boxes[row]).all():
                followed.state = step.state[row].clone()
                result = self._taken(followed, frame, mean, geometry.back(boxes[row]), float(scores[row]))
            else:
                result = self._failed(followed)
            if self.settings.views:
                followed.view = self._view(followed, crop, step, row, boxes[row])
            yield result

    def _search(self, followed: Followed, frame: Pixels) -> tuple[Tensor, Geometry]:
        tracker = self.tracker
        factor = tracker.search_area_factor
        if followed.status.status == "lost" and self.settings.when_lost == "enlarge":
            factor *= ENLARGED
        around = crops.around(crops.at_least(followed.box, tracker.min_object_size), factor, tracker.search_size)
        return crops.cut(frame, around, tracker.search_size, followed.fill)

    def _templates(self, followed: Followed) -> Tensor:
        """Tokens (1, n * Z², width) of the templates that the object's next frame sees; what is known is kept."""
        seen = followed.memory.seen_by(followed.number + 1)
        known = {key: followed.embedded.get(key) for key in seen}
        for key, tokens in known.items():
            if tokens is None:
                crop, mask = followed.memory.stored[key]
                # One by one, so that what an object sees hangs neither on others nor on when it was embedded.
                prepared = crops.normalised(crop.to(self.model.device))[None]
                known[key] = self.model.embed_template(prepared, mask.to(self.model.device)[None])
        followed.embedded = {key: tokens for key, tokens in known.items() if tokens is not None}
        return torch.cat([followed.embedded[key] for key in seen], 1)

    def _template(self, frame: Pixels, box: crops.Box, mean: Tensor) -> Template:
        tracker = self.tracker
        around = crops.around(box, tracker.template_area_factor, tracker.template_size)
        crop, geometry = crops.cut(frame, around, tracker.template_size, mean)
        mask = crops.mask(geometry.into(box), tracker.template_size, tracker.patch).to(torch.uint8)
        return Template(crop if self.settings.exact else crop.round().clamp(0, 255).to(torch.uint8), mask)

    def _taken(self, followed: Followed, frame: Pixels, mean: Tensor, box: crops.Box, score: float) -> TrackedBox:
        """What an answer makes of an object, and what is reported of it."""
        status = followed.status.take(score, self.settings.rule)
        lost, chosen = status == "lost", self.settings.when_lost
        clipped = crops.clipped(box, frame.shape[1], frame.shape[0])
        # A box that was pushed out of the frame leaves nothing to search around, and no template.
        if _has_area(clipped) and not (lost and chosen == "freeze"):
            followed.box = clipped
            if not (lost and chosen == "keep_templates"):
                followed.memory.add(followed.number, self._template(frame, clipped, mean))
        return TrackedBox(None if lost and chosen == "hide" else _as_box(followed.box), score, status)

    def _failed(self, followed: Followed) -> TrackedBox:
        """An answer that is no number: the object is lost, its last box stays."""
        if not self.broken:
            warnings.warn("the tracker's answer was no number; try --dtype float32", stacklevel=2)
        self.broken += 1
        status = followed.status.take(float("nan"), self.settings.rule)
        hidden = self.settings.when_lost == "hide"
        return TrackedBox(None if hidden else _as_box(followed.box), 0.0, status)

    def _view(self, followed: Followed, crop: Tensor, step: Step, row: int, box: crops.Box) -> View:
        grid = self.tracker.template_grid
        seen = [followed.memory.stored.get(key) for key in followed.embedded]
        return View(
            search=_picture(crop),
            scores=step.scores[row].float().sigmoid().cpu().numpy(),
            box=tuple(map(float, box)),  # type: ignore[arg-type]
            templates=[
                (_picture(template.crop), template.mask.reshape(grid, grid).numpy())
                for template in seen
                if template is not None
            ],
        )


def check_frame(frame: Any) -> None:
    """Refuse what is no frame.

    Raises:
        InputError: it is no array (height, width, 3) of uint8.
    """
    shape, kind = getattr(frame, "shape", None), getattr(frame, "dtype", None)
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise InputError(f"a frame is an array (height, width, 3) of uint8, RGB; this is {shape} of {kind}")


def _has_area(box: crops.Box) -> bool:
    return bool((box[2:] > box[:2]).all())


def _as_box(box: crops.Box) -> Box:
    left, top, right, bottom = map(float, box)
    return left, top, right - left, bottom - top


def _picture(crop: Tensor) -> Pixels:
    """A crop (3, side, side) in 0-255 as a picture."""
    return crop.float().round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
