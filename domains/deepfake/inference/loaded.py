"""A classifier with its adapter, loaded once: aligned faces to calibrated scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from domains.deepfake.inference import heatmaps
from domains.deepfake.model.bases import DOMAIN, preprocessing
from domains.deepfake.model.forgery_classifier import ForgeryClassifier
from domains.deepfake.model.manifest import Manifest, from_manifest
from suite.clip import pictures
from suite.devices import choose_device, choose_dtype
from suite.errors import InputError
from suite.media.sheets import Pixels
from suite.prediction.loading import choose


class FaceScorer:
    """A model with its adapter, in evaluation mode.

    Args:
        preprocessing: how aligned faces are scaled and normalised.
        adapter: what results say that they are by.
    """

    def __init__(
        self,
        model: ForgeryClassifier,
        stated: Manifest,
        preprocessing: pictures.Preprocessing,
        *,
        adapter: str = "",
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self.model, self.stated, self.preprocessing = model.to(self.device).eval(), stated, preprocessing
        self.adapter = adapter

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Self:
        """Load a base and an adapter.

        Args:
            adapter: reference of the adapter. base: of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N. dtype: auto (float32), float32, bfloat16 or float16.

        Raises:
            InputError: adapter or base does not exist, or they do not belong together.
        """
        device = choose_device(device)
        computed = choose_dtype(dtype, device, auto=torch.float32)
        chosen = choose(adapter, base, DOMAIN)
        folder = chosen.base_folder()
        model, stated = from_manifest(chosen.folder, folder)
        prepared = preprocessing(folder)
        name = adapter if not Path(adapter).exists() else Path(adapter).name
        return cls(model, stated, prepared, adapter=name, device=device, dtype=computed)

    def logits(self, pixels: Tensor) -> Tensor:
        """Normalised pictures (batch, 3, side, side) to logits (batch, 2), float32, on the CPU."""
        mixed = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=mixed):
            return self.model(pixels.to(self.device)).float().cpu()

    def calibrated(self, logits: Tensor) -> NDArray[np.float64]:
        """The probability of manipulated (batch,), after the temperature that the adapter states."""
        return (logits.double() / self.stated.temperature).softmax(1)[:, 1].numpy()

    def predict_crops(self, crops: Tensor | Sequence[Pixels | Image.Image]) -> NDArray[np.float64]:
        """Scores (batch,) of aligned faces: pictures, or normalised pixels (batch, 3, side, side).

        Raises:
            InputError: they are something else.
        """
        if isinstance(crops, Tensor):
            side = self.preprocessing.size
            if crops.ndim != 4 or crops.shape[1:] != (3, side, side):
                raise InputError(f"pixels of {tuple(crops.shape)}; give normalised ones (batch, 3, {side}, {side})")
            return self.calibrated(self.logits(crops)) if len(crops) else np.zeros(0)
        found = _pictures(crops)
        return self.calibrated(self.logits(self.preprocessing.batch(found))) if found else np.zeros(0)

    def heat(self, crop: Pixels | Image.Image, kind: str) -> NDArray[np.float32]:
        """A map (side, side) in 0-1 over one aligned face."""
        pixels = self.preprocessing.batch([crop]).to(self.device)
        return heatmaps.heatmap(self.model, pixels, kind)[0].float().cpu().numpy()


def _pictures(crops: Any) -> list[Pixels | Image.Image]:
    """One or several pictures as several.

    Raises:
        InputError: one is none.
    """
    single = isinstance(crops, Image.Image) or (isinstance(crops, np.ndarray) and crops.shape[2:] in ((3,), (4,)))
    found = [crops] if single else list(crops)
    for crop in found:
        if isinstance(crop, Image.Image):
            continue
        if not isinstance(crop, np.ndarray) or crop.dtype != np.uint8 or crop.ndim not in (2, 3):
            what = f"{crop.dtype} of {crop.shape}" if isinstance(crop, np.ndarray) else type(crop).__name__
            raise InputError(f"a crop is {what}; give pictures, or arrays (height, width, 3) of uint8 in 0-255")
    return found
