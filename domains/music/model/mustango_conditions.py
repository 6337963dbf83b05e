"""Beats and chords as Mustango's UNet reads them: tokens, and their embedding.

Melechovsky et al., arXiv 2311.08355. Names of the tensors are those of the released file.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.errors import InputError

MOST_BEATS, MOST_CHORDS = 50, 20
ROOT_BASE, TIME_BASE = 9919.0, 10001.0

_NAMES = ("A", "A#", "B", "C", "C#", "D", "D#", "E", "F", "F#", "G", "G#")
_SAME = {"Bb": "A#", "Cb": "B", "B#": "C", "Db": "C#", "Eb": "D#", "Fb": "E", "E#": "F", "Gb": "F#", "Ab": "G#"}
ROOTS = {"N": 1, **{name: 2 + number for number, name in enumerate(_NAMES)}}
ROOTS |= {name: ROOTS[same] for name, same in _SAME.items()}
"""0 is padding, 1 is no chord."""
TYPES = {
    name: number for number, name in enumerate(("maj", "maj7", "m", "m6", "m7", "m7b5", "6", "7", "aug", "dim"), 2)
}
BEAT_TYPES, CHORD_TYPES, INVERSIONS = 7, 12, 4

Tokens = dict[str, Tensor]


def beat_tokens(times: Sequence[float], counts: Sequence[float]) -> Tokens:
    """Tokens of beats: `type`, `time` and `mask`, each (50,); without a beat the mask is false throughout.

    Args:
        times: seconds. counts: which beat of the bar each is, 1 and up.

    Raises:
        InputError: there are more than 50, or a count that has no token.
    """
    if len(times) != len(counts) or len(times) > MOST_BEATS:
        raise InputError(
            f"{len(times)} times and {len(counts)} counts of beats; give as many of each, {MOST_BEATS} at most"
        )
    if wrong := [count for count in counts if count != int(count) or not 1 <= count <= BEAT_TYPES - 2]:
        raise InputError(f"the beat {wrong[0]:g} of a bar has no token; a beat is 1 to {BEAT_TYPES - 2}")
    here = len(times)
    last = times[-1] if here else 0.0
    return {
        "type": torch.tensor([*(int(count) + 1 for count in counts), *[0] * (MOST_BEATS - here)]),
        "time": torch.tensor([*map(float, times), *[float(last)] * (MOST_BEATS - here)]),
        "mask": torch.arange(MOST_BEATS) < here,
    }


def chord_tokens(chords: Sequence[str], times: Sequence[float]) -> Tokens:
    """Tokens of chords: `root`, `type`, `inversion`, `time` and `mask`, each (20,); none at all is one `N` at 0.

    Args:
        chords: as `Gm`, `F#maj7` or `C/E`. times: seconds.

    Raises:
        InputError: there are more than 20, or a chord that has no token.
    """
    if len(chords) != len(times) or len(chords) > MOST_CHORDS:
        raise InputError(f"{len(chords)} chords and {len(times)} times; give as many of each, {MOST_CHORDS} at most")
    chords, times = (list(chords), list(times)) if chords else (["N"], [0.0])
    rows = [_chord(name) for name in chords]
    empty = MOST_CHORDS - len(rows)
    columns = zip(*rows, *[(0, 0, 0)] * empty, strict=True)
    root, kind, inversion = (torch.tensor(column) for column in columns)
    return {
        "root": root,
        "type": kind,
        "inversion": inversion,
        "time": torch.tensor([*map(float, times), *[float(times[-1])] * empty]),
        "mask": torch.arange(MOST_CHORDS) < len(rows),
    }


def _chord(name: str) -> tuple[int, int, int]:
    """Root, type and inversion of a chord."""
    if name == "N":
        return 1, 1, 1
    front, slash, _ = name.partition("/")
    root = front[:2] if front[1:2] in ("#", "b") else front[:1]
    kind = front[len(root) :] or "maj"
    if root not in ROOTS or root == "N" or kind not in TYPES:
        raise InputError(f"the chord {name!r} has no token; write a root, as F#, and one of {', '.join(TYPES)}")
    return ROOTS[root], TYPES[kind], 2 if slash else 3


class MusicEmbedding(nn.Module):
    """sin of even channels and cos of odd ones of value / base^(2 floor(i / 2) / d), and a bias where it is trained."""

    def __init__(self, width: int, base: float, *, biased: bool) -> None:
        super().__init__()
        self.width, self.base = width, base
        self.translation_bias = nn.Parameter(torch.rand(1, width)) if biased else None

    def forward(self, values: Tensor) -> Tensor:
        """(B, length) to (B, length, width)."""
        channel = torch.arange(self.width, device=values.device)
        rates = self.base ** (-(2 * (channel // 2)) / self.width)
        angles = values.float()[..., None] * rates  # (B, length, width)
        found = torch.where(channel % 2 == 0, angles.sin(), angles.cos())
        return found if self.translation_bias is None else found + self.translation_bias


class _Beats(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.beat_ffn = nn.Linear(BEAT_TYPES + width, width)


class _Chords(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.chord_ffn = nn.Linear(CHORD_TYPES + INVERSIONS + 2 * width, width)


class MusicConditions(nn.Module):
    """Tokens of beats and chords to what the UNet attends to.

    Args:
        width: of the UNet's cross-attention.
    """

    def __init__(self, width: int = 1024) -> None:
        super().__init__()
        self.FME = MusicEmbedding(width, ROOT_BASE, biased=True)
        self.time = MusicEmbedding(width, TIME_BASE, biased=False)
        self.beat_embedding_layer, self.chord_embedding_layer = _Beats(width), _Chords(width)

    def beats(self, tokens: Tokens) -> Tensor:
        """Tokens, each (B, 50), to (B, 50, width)."""
        layer = self.beat_embedding_layer.beat_ffn
        kind = functional.one_hot(tokens["type"], BEAT_TYPES)
        return layer(torch.cat([kind, self.time(tokens["time"])], -1).to(layer.weight.dtype))

    def chords(self, tokens: Tokens) -> Tensor:
        """Tokens, each (B, 20), to (B, 20, width)."""
        layer = self.chord_embedding_layer.chord_ffn
        parts = [
            self.FME(tokens["root"]),
            functional.one_hot(tokens["type"], CHORD_TYPES),
            functional.one_hot(tokens["inversion"], INVERSIONS),
            self.time(tokens["time"]),
        ]
        return layer(torch.cat(parts, -1).to(layer.weight.dtype))
