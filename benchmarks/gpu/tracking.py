"""Steps a second of SPMTrack in bfloat16 on this device, and several objects in one batch beside one after another.

Random weights, crops at the published sizes, templates embedded before, the state carried. Sessions have frames of
640 x 360 pixels in memory and cut their crops themselves. Figures are medians over rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.claim import Figure, Setting, clear_memory
from benchmarks.gpu.faces import medians
from domains.tracking.inference.loaded import prepared
from domains.tracking.inference.session import SessionSettings, TrackingSession
from domains.tracking.model import attachments
from domains.tracking.model.dinov2 import Sizes
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import SpmTrack
from suite.adapters.section import AdapterSection

OBJECTS, RATIO = 8, 3.0
SMALL = TrackerSettings(template_size=28, search_size=70)


def measure(setting: Setting) -> Iterator[Figure]:
    """Frames a second of B, L and G, then eight objects of B in one batch beside eight sessions."""
    sizes = ("small",) if setting.smoke else ("base", "large", "giant")
    rounds = (0, 1) if setting.smoke else (3, 9)
    for size in sizes:
        model = _tracker(size, setting)
        seconds = medians({"step": _following([_session(model, 1)])}, *rounds)
        yield Figure(f"{size}, one object, bf16", 1 / seconds["step"], "frames/s")
        if size == sizes[0]:
            yield from _several(model, rounds)
        del model
        clear_memory()


def _several(model: SpmTrack, rounds: tuple[int, int]) -> Iterator[Figure]:
    together, alone = [_session(model, OBJECTS)], [_session(model, 1) for _ in range(OBJECTS)]
    seconds = medians({"one batch": _following(together), "one by one": _following(alone)}, *rounds)
    for name, spent in seconds.items():
        yield Figure(f"{OBJECTS} objects, {name}", 1 / spent, "frames/s")
    yield Figure(f"{OBJECTS} objects, one batch / one by one", seconds["one by one"] / seconds["one batch"], "x", RATIO)


def _following(sessions: Sequence[TrackingSession]) -> Callable[[], None]:
    """Gives every session the next frame."""
    shots = cycle(_shots())

    def track() -> None:
        shot = next(shots)
        for session in sessions:
            session.track(shot)

    return track


def _tracker(size: str, setting: Setting) -> SpmTrack:
    torch.manual_seed(0)
    sizes = Sizes(depth=1, width=64, heads=1) if setting.smoke else Sizes.of({"size": size})
    with setting.device:
        model: Any = SpmTrack(sizes, SMALL if setting.smoke else TrackerSettings())
        model = attachments.attach_section(model, AdapterSection.of({"preset": "spmtrack"}, attachments.PRESETS))
    return prepared(model, setting.device.type, torch.bfloat16)


def _session(model: SpmTrack, objects: int) -> TrackingSession:
    session = TrackingSession(model, settings=SessionSettings(views=False))
    for number in range(objects):
        session.add(str(number), _shots()[0], (40.0 + 60 * number, 60.0 + 20 * number, 50.0, 40.0))
    return session


def _shots(count: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (360, 640, 3), np.uint8) for _ in range(count)]
