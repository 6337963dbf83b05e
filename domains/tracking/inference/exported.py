"""A tracker's single step as a file for programs without us, and sessions that run such a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from domains.tracking.data import crops
from domains.tracking.inference.session import SessionSettings, TrackingSession, asked_of
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import SpmTrack, Step
from domains.tracking.types import TrackQuery
from suite.errors import InputError
from suite.files import read_json

Format = Literal["torchscript", "onnx"]
NAMES: dict[Format, str] = {"torchscript": "step.pt", "onnx": "step.onnx"}
ABOUT = "tracker.json"

Run = Callable[[Sequence[Tensor]], list[Tensor]]


class ExportableStep(nn.Module):
    """Templates, their masks, a search crop and the state before it, to scores, boxes and the state after it.

    Inputs are `z_0, ...` (batch, 3, Z', Z') and `x` (batch, 3, S', S'), normalised; `mask_0, ...` (batch, Z, Z) of 0
    and 1; `state` (batch, 1, width), zeros for a fresh object. Outputs are the logits (batch, S, S), the boxes
    (batch, S, S, 4), x1, y1, x2, y2 in parts of the search crop, and the state.
    """

    def __init__(self, model: SpmTrack) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        count = self.model.settings.num_templates
        templates, masks, (x, *state) = inputs[:count], inputs[count : 2 * count], inputs[2 * count :]
        embedded = torch.cat(
            [self.model.embed_template(crop, mask) for crop, mask in zip(templates, masks, strict=True)], 1
        )
        step = self.model.search(embedded, x, state[0] if state else embedded[:, :0])
        return (step.scores, step.boxes, step.state.float()) if state else (step.scores, step.boxes)


def example(settings: TrackerSettings, width: int, batch: int, seed: int = 0) -> list[Tensor]:
    """Inputs of a step, at random."""
    rng = torch.Generator().manual_seed(seed)
    side, grid, count = settings.template_size, settings.template_grid, settings.num_templates
    templates = [torch.randn(batch, 3, side, side, generator=rng) for _ in range(count)]
    masks = [torch.randint(0, 2, (batch, grid, grid), generator=rng) for _ in range(count)]
    search = torch.randn(batch, 3, settings.search_size, settings.search_size, generator=rng)
    state = [torch.randn(batch, 1, width, generator=rng)] * settings.state_token
    return [*templates, *masks, search, *state]


def names_of(settings: TrackerSettings) -> tuple[list[str], list[str]]:
    """What inputs and outputs of a file are called."""
    numbers = range(settings.num_templates)
    state = ["state"] * settings.state_token
    inputs = [*(f"z_{number}" for number in numbers), *(f"mask_{number}" for number in numbers), "x", *state]
    return inputs, ["scores", "boxes", *(["state_out"] * settings.state_token)]


class ExportedNetwork:
    """A file of a step, where a session expects the model: embedding a template only packs it.

    Args:
        run: from inputs in the order of `names_of` to outputs.
        width: of the state.
    """

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, run: Run, settings: TrackerSettings, width: int) -> None:
        self.run, self.settings, self.width = run, settings, width

    def fresh_state(self, batch: int) -> Tensor:
        return torch.zeros(batch, int(self.settings.state_token), self.width)

    def embed_template(self, crop: Tensor, mask: Tensor) -> Tensor:
        """Crop and mask as one row of numbers, (batch, 1, n)."""
        return torch.cat([crop.flatten(1), mask.flatten(1).float()], 1)[:, None]

    def search(self, templates: Tensor, crop: Tensor, state: Tensor) -> Step:
        side, grid = self.settings.template_size, self.settings.template_grid
        pixels = 3 * side * side
        cut = [row[:, :pixels].reshape(-1, 3, side, side).contiguous() for row in templates.unbind(1)]
        masks = [row[:, pixels:].reshape(-1, grid, grid).round().long() for row in templates.unbind(1)]
        inputs = [*cut, *masks, crop.contiguous(), *([state.contiguous()] * self.settings.state_token)]
        scores, boxes, *left = self.run(inputs)
        return Step(scores, boxes, left[0] if left else state)


class ExportedTracker:
    """Sessions of an exported tracker; makes followers as `LoadedTracker` does.

    Args:
        folder: as `suite tracking export` wrote it.

    Raises:
        InputError: it holds no exported tracker, or the runtime of its format is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not (folder / ABOUT).is_file():
            raise InputError(f"{folder}: no exported tracker, it lacks {ABOUT}; write one with suite tracking export")
        about = read_json(folder / ABOUT)
        self.tracker = TrackerSettings.from_dict(about["tracker"])
        run = opened(folder / about["file"], names_of(self.tracker)[0])
        self.network = ExportedNetwork(run, self.tracker, int(about["width"]))
        self.adapter = folder.name

    def session(self, query: TrackQuery | None = None, **settings: Any) -> TrackingSession:
        """As `LoadedTracker.session`."""
        tracker, asked = asked_of(query, self.tracker)
        return TrackingSession(self.network, tracker, SessionSettings(**{**asked, **settings}))


def about(model: SpmTrack, format: Format) -> str:
    """What stands in `tracker.json` beside the file."""
    inputs, outputs = names_of(model.settings)
    told: dict[str, Any] = {
        "file": NAMES[format],
        "width": model.sizes.width,
        "inputs": inputs,
        "outputs": outputs,
        "mean": list(crops.MEAN),
        "std": list(crops.STD),
        "tracker": model.settings.to_dict(),
    }
    return json.dumps(told, indent=2) + "\n"


def opened(path: Path, names: Sequence[str]) -> Run:
    """What runs a file, from inputs in the order of `names`.

    Raises:
        InputError: the runtime of its format is not installed.
    """
    if path.suffix == ".pt":
        loaded = torch.jit.load(str(path))
        return lambda inputs: list(loaded(*inputs))
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("an ONNX file needs its runtime; pip install 'peft-suite[onnx]'") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        given = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        return [torch.from_numpy(found) for found in session.run(None, given)]

    return run
