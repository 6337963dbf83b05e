"""VGGish (Hershey and others, ICASSP 2017): 128 figures of each 0.96 s, on which FAD is defined; weights of PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from domains.music.evaluation.spectral import mel_filters

RATE, FRAMES, BANDS = 16_000, 96, 64
_WINDOW, _HOP, _SIZE = 400, 160, 512
_LOWEST, _HIGHEST, _OFFSET = 125.0, 7500.0, 0.01


class VGGish(nn.Module):
    """(batch, 1, 96, 64) to (batch, 128), without the last rectifier and without PCA, as FAD has it."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0):  # 0: halve both sides
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 4 * 6, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (batch, 512, 6, 4)
        return self.embeddings(x.permute(0, 2, 3, 1).flatten(1))


def examples(wave: np.ndarray) -> Tensor:
    """Log-mel spectrograms (windows, 1, 96, 64) of a wave (1, samples) at 16 kHz."""
    mono = wave.mean(0).astype(np.float64)
    needed = _WINDOW + _HOP * (FRAMES - 1)
    if len(mono) < needed:
        mono = np.pad(mono, (0, needed - len(mono)))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)  # periodic
    frames = np.lib.stride_tricks.sliding_window_view(mono, _WINDOW)[::_HOP] * hann
    magnitude = np.abs(np.fft.rfft(frames, _SIZE, axis=1))
    filters = mel_filters(RATE, _SIZE, BANDS, _LOWEST, _HIGHEST)
    filters[:, 0] = 0  # the constant part
    mel = np.log(magnitude @ filters.T + _OFFSET)  # (frames, 64)
    count = len(mel) // FRAMES
    return torch.from_numpy(mel[: count * FRAMES].reshape(count, 1, FRAMES, BANDS)).float()
