"""What a session remembers as one file, so that tracking goes on in the middle of a video, elsewhere or later."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domains.tracking.inference.memory import Template, TemplateMemory
from domains.tracking.inference.session import Followed, TrackingSession
from domains.tracking.inference.status import StatusCounter
from suite.errors import InputError
from suite.hub import weights

KEY, VERSION = "tracking_session", 1


def save_session(session: TrackingSession, path: str | Path, extra: dict[str, Any] | None = None) -> Path:
    """Write what a session remembers of every object: boxes, states, templates, statuses.

    Args:
        path: ends in `.safetensors`.
        extra: numbers and texts of the caller's own, which `load_session` gives back.
    """
    tensors: dict[str, Tensor] = {}
    objects = []
    for number, (name, followed) in enumerate(session.objects.items()):
        memory = followed.memory
        tensors[f"{number}.box"] = torch.from_numpy(followed.box.copy())
        tensors[f"{number}.fill"], tensors[f"{number}.state"] = followed.fill, followed.state.cpu()
        tensors[f"{number}.crops"] = torch.stack([each.crop for each in memory.stored.values()])
        tensors[f"{number}.masks"] = torch.stack([each.mask for each in memory.stored.values()])
        known = {
            "name": name,
            "number": followed.number,
            "status": asdict(followed.status),
            "first": list(followed.first),
        }
        objects.append({**known, "frames": list(memory.stored), "stride": memory.stride})
    written = {"version": VERSION, "tracker": session.tracker.to_dict(), "objects": objects, "extra": extra or {}}
    return weights.write(tensors or {"none": torch.zeros(0)}, path, {KEY: json.dumps(written)})


def load_session(session: TrackingSession, path: str | Path) -> dict[str, Any]:
    """Put what `save_session` wrote in the place of what a session remembers; return the caller's own.

    Raises:
        InputError: the file is none of a session, or of a tracker with other sizes.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give what a session was saved to")
    stated = weights.metadata(path).get(KEY)
    if stated is None:
        raise InputError(f"{path}: no session of the tracker is in it; give what a session was saved to")
    written = json.loads(stated)
    if written["version"] != VERSION or written["tracker"] != session.tracker.to_dict():
        raise InputError(f"{path}: saved by a tracker of other settings; load the adapter that wrote it")
    tensors = weights.read(path)
    session.objects = {
        known["name"]: _followed(session, known, {key: tensors[f"{number}.{key}"] for key in _TENSORS})
        for number, known in enumerate(written["objects"])
    }
    return dict(written["extra"])


_TENSORS = ("box", "fill", "state", "crops", "masks")


def _followed(session: TrackingSession, known: dict[str, Any], tensors: dict[str, Tensor]) -> Followed:
    tracker = session.tracker
    pairs = zip(tensors["crops"], tensors["masks"], strict=True)
    stored = {int(frame): Template(*pair) for frame, pair in zip(known["frames"], pairs, strict=True)}
    memory = TemplateMemory(
        stored[0],
        tracker.memory_policy,
        tracker.num_templates,
        session.settings.most_templates,
        int(known["stride"]),
        stored,
    )
    x, y, w, h = map(float, known["first"])
    return Followed(
        (x, y, w, h),
        np.array(tensors["box"].numpy(), np.float64),
        tensors["fill"],
        tensors["state"].to(session.model.device, session.model.dtype),
        memory,
        int(known["number"]),
        StatusCounter(**known["status"]),
    )
