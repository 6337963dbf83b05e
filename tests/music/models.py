"""Small MusicGens with weights drawn at random, for tests that need no music to come out."""

from __future__ import annotations

from pathlib import Path

import torch

from domains.music.tiny import networks
from domains.music.tiny.rebuild import save


def small_base(folder: Path, seed: int = 0) -> Path:
    """A base as `from_pretrained` reads it: the tiny networks, untrained, with codebooks that differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        whole = networks.untrained().eval()
        for layer in whole.audio_encoder.quantizer.layers:
            torch.nn.init.normal_(layer.codebook.embed, std=0.3)
            layer.codebook.inited.fill_(1)
        save(whole, folder)
    return folder
