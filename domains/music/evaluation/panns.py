"""CNN14 of PANNs (Kong and others, 2020): 2,048 figures of a recording, and logits of AudioSet's 527 classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES, BANDS = 527, 64
WIDTHS = (64, 128, 256, 512, 1024, 2048)
"""Channels of the six blocks; the last are the embedding's."""


@dataclass(frozen=True)
class FrontEnd:
    """Hz, and samples of a window and from one to the next."""

    rate: int
    window: int
    hop: int


FRONT_ENDS = (FrontEnd(16_000, 512, 160), FrontEnd(32_000, 1024, 320))
"""Those of the released files, told by the size of the window that the file holds."""


class _Block(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor, pool: int) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.avg_pool2d(x, pool) if pool > 1 else x


class Cnn14(nn.Module):
    """The network; windows and mel filters are buffers, which the released files hold."""

    def __init__(self, front: FrontEnd = FRONT_ENDS[0]) -> None:
        super().__init__()
        self.front = front
        bins = front.window // 2 + 1
        self.register_buffer("real", torch.zeros(bins, 1, front.window))
        self.register_buffer("imaginary", torch.zeros(bins, 1, front.window))
        self.register_buffer("mel", torch.zeros(bins, BANDS))
        self.bn0 = nn.BatchNorm2d(BANDS)
        for number, (channels, width) in enumerate(zip((1, *WIDTHS), WIDTHS, strict=False), 1):
            setattr(self, f"conv_block{number}", _Block(channels, width))
        self.fc1 = nn.Linear(WIDTHS[-1], WIDTHS[-1])
        self.fc_audioset = nn.Linear(WIDTHS[-1], CLASSES)

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, samples) to embeddings (batch, 2048) and logits (batch, 527)."""
        x = self.log_mel(wave)[:, None]  # (batch, 1, frames, 64)
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        for number in range(1, 7):
            x = getattr(self, f"conv_block{number}")(x, 2 if number < 6 else 1)
        x = x.mean(3)  # (batch, 2048, frames)
        x = x.amax(2) + x.mean(2)
        embedding = functional.relu(self.fc1(x))
        return embedding, self.fc_audioset(embedding)

    def log_mel(self, wave: Tensor) -> Tensor:
        """(batch, samples) to decibels (batch, frames, 64)."""
        half = self.front.window // 2
        padded = functional.pad(wave[:, None], (half, half), mode="reflect")
        real, imaginary = (
            functional.conv1d(padded, cast(Tensor, part), stride=self.front.hop) for part in (self.real, self.imaginary)
        )
        power = (real**2 + imaginary**2).transpose(1, 2)  # (batch, frames, bins)
        return 10 * torch.log10((power @ cast(Tensor, self.mel)).clamp_min(1e-10))


def renamed(name: str) -> str:
    """Our name of a tensor in a released file."""
    known = {
        "spectrogram_extractor.stft.conv_real.weight": "real",
        "spectrogram_extractor.stft.conv_imag.weight": "imaginary",
        "logmel_extractor.melW": "mel",
    }
    return known.get(name, name)


def front_of(window: int) -> FrontEnd | None:
    """The front end whose windows have so many samples."""
    return next((front for front in FRONT_ENDS if front.window == window), None)
