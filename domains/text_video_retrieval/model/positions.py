"""Temporal positions of an adapter on another number of frames than it was trained with."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from domains.text_video_retrieval.model.tempme import TempMe
from suite import adapters
from suite.adapters.storage import WEIGHTS

_NAME = re.compile(r"layers\.(\d+)\..*temporal_position$")


def load_adapter(model: TempMe, adapter: Path, trained: int) -> nn.Module:
    """Put a saved adapter on a model; positions of another number of frames than the model's are interpolated.

    Args:
        trained: frames of a video that the adapter was trained with.

    Raises:
        InputError: the adapter does not fit.
    """
    if trained == model.frames or not model.plan.positions:
        return adapters.load(model, adapter)
    with TemporaryDirectory() as folder:
        copy = Path(folder) / adapter.name
        shutil.copytree(adapter, copy)
        for file in copy.rglob(WEIGHTS):
            state = load_file(file)
            for name, tensor in state.items():
                if (found := _NAME.search(name)) and (clips := model.plan.positions.get(int(found[1]))):
                    state[name] = interpolated(tensor, clips)
            save_file(state, file, metadata={"format": "pt"})
        return adapters.load(model, copy)


def interpolated(position: Tensor, clips: int) -> Tensor:
    """Positions (1, F, 1, D) for another number of clips, (1, clips, 1, D): the first and the last stay theirs.

    Frames are taken from a video's first to its last, however many: the ends are the same moments.
    """
    rows = position[:, :, 0].transpose(1, 2)  # (1, D, F)
    spread = functional.interpolate(rows.float(), clips, mode="linear", align_corners=True)
    return spread.transpose(1, 2)[:, :, None].to(position.dtype).contiguous()
