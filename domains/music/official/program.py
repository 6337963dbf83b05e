"""audiocraft's own program beside what was converted, where it can be imported; nothing else here needs it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domains.music.model import bases, delays
from domains.music.model.musicgen import MusicGenLM
from suite.errors import InputError, first_line
from suite.hub import weights

IMPORTS = (
    *("audiocraft", "torchaudio", "xformers", "spacy", "librosa", "julius", "einops", "num2words", "flashy", "dora"),
    *("treetable", "submitit", "retrying", "omegaconf", "hydra", "colorlog", "sentencepiece", "torchmetrics"),
)
"""What audiocraft 1.3.0 imports beside what the extra `music` brings. Its pins fit no torch of today."""
FRAMES, WORDS = 12, 6


def builders() -> Any:
    """audiocraft's builders of models.

    Raises:
        InputError: it cannot be imported; says what is missing.
    """
    by_hand = "its pins fit no new torch: install it and what it imports with pip's --no-deps"
    if missing := [name for name in IMPORTS if find_spec(name) is None]:
        raise InputError(f"audiocraft cannot be imported, for {', '.join(missing)} are not installed; {by_hand}")
    try:
        from audiocraft.models import builders
    except Exception as error:  # torchaudio beside another CUDA than torch's raises no ImportError
        raise InputError(f"audiocraft cannot be imported ({first_line(error)}); {by_hand}") from error
    return builders


def language_model(file: Path) -> Any:
    """audiocraft's language model as its file has it, without the text encoder, which it would download.

    Raises:
        InputError: audiocraft cannot be imported, or does not take the file.
    """
    build = builders()
    from omegaconf import OmegaConf

    from domains.music.official import shapes

    found = weights.contents(file)
    said = {**shapes.settings(found.get("xp.cfg"), str(file)), "conditioners": {}, "device": "cpu", "dtype": "float32"}
    whole = found["best_state"].get("model", found["best_state"])  # a run's checkpoint has it one level deeper
    state = {name: tensor for name, tensor in whole.items() if not name.startswith("condition_provider")}
    try:
        model = build.get_lm_model(OmegaConf.create(said))
        model.load_state_dict(state)
    except Exception as error:
        raise InputError(f"{file}: audiocraft does not take it ({first_line(error)})") from error
    return model.float().eval()


@torch.no_grad()
def difference(file: Path, base: Path) -> float:
    """The largest difference of logits between audiocraft's program on its `file` and ours on `base`.

    Both read the same random codes and text states, as long as a short piece and its prompt.

    Raises:
        InputError: audiocraft cannot be imported, or one of the two cannot be read.
    """
    theirs = language_model(file)
    ours: MusicGenLM = bases.language_model(bases.load(base), "audiocraft")
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(ours.special, (2, len(ours.delays), FRAMES), generator=generator)
    sequence = delays.delayed(codes, ours.special, ours.delays)  # (B, K, S)
    states = torch.randn(2, WORDS, ours.text_width, generator=generator)
    mask = torch.ones(2, WORDS, dtype=torch.long)
    mask[1, WORDS // 2 :] = 0
    projected, _ = ours.condition(states, mask)
    wanted: Tensor = theirs(sequence, [], {"description": (projected, mask)})  # (B, K, S, vocabulary)
    return float((ours(sequence, states, mask) - wanted).abs().max())
