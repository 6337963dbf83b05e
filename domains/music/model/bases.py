"""Bases: MusicGen from its folder, in the parts that are needed, or by its shape alone."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration

from domains.music.model.musicgen import MusicGenLM, TextPadding
from suite import hub
from suite.errors import InputError, first_line
from suite.files import read_json
from suite.hub.pretrained import own_words

DOMAIN = "music"

SIZES: Mapping[str, Mapping[str, int]] = {
    "small": {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24},
    "medium": {"hidden_size": 1536, "num_attention_heads": 24, "num_hidden_layers": 48},
    "large": {"hidden_size": 2048, "num_attention_heads": 32, "num_hidden_layers": 48},
}
"""Copet et al., arXiv 2306.05284; the feed-forward network is four times as wide."""
T5_WIDTH = 768


def decoder_config(size: str, **changes: Any) -> MusicgenDecoderConfig:
    """The decoder of a published size, with some of its fields changed.

    Raises:
        InputError: there is no such size, or no such field.
    """
    if size not in SIZES:
        raise InputError(f"architecture.size is {size!r}; choose from {', '.join(SIZES)}")
    sizes = {**SIZES[size], "ffn_dim": 4 * SIZES[size]["hidden_size"]}
    known = MusicgenDecoderConfig().to_dict()
    if unknown := [name for name in changes if name not in known]:
        raise InputError(f"architecture: {unknown[0]!r} is no field of a MusicgenDecoderConfig; remove it")
    return MusicgenDecoderConfig(**{**sizes, **changes})


def shape(reference: str, architecture: Mapping[str, Any] | None, text_padding: TextPadding = "masked") -> MusicGenLM:
    """The language model's shape alone, on the device that is current (`meta`: no memory).

    Args:
        architecture: `size` (small, medium, large), `text_width`, and fields of a `MusicgenDecoderConfig` that differ.

    Raises:
        InputError: there is no such base, or it is no MusicGen.
    """
    if architecture:
        changes = {name: value for name, value in architecture.items() if name not in ("size", "text_width", "family")}
        config = decoder_config(str(architecture.get("size", "small")), **changes)
        return MusicGenLM(config, int(architecture.get("text_width", T5_WIDTH)), text_padding)
    whole = config_of(hub.resolve(reference, DOMAIN, kind="base"))
    return MusicGenLM(whole.decoder, whole.text_encoder.hidden_size, text_padding)


def config_of(folder: Path) -> MusicgenConfig:
    """The configuration of a base.

    Raises:
        InputError: the folder holds no MusicGen, or one that is not supported.
    """
    file = folder / "config.json"
    kind = read_json(file).get("model_type") if file.is_file() else None
    if kind == "musicgen_melody":
        raise InputError(f"{folder} is a melody model, which is not supported; take one without melody conditioning")
    if kind != "musicgen":
        found = "has no config.json" if kind is None else f"is of type {kind}"
        raise InputError(
            f"{folder} {found}; a base of music is a MusicGen as transformers saves it (of audiocraft's files make one "
            "by suite music convert)"
        )
    with own_words():  # that the special token is beyond the vocabulary, which is so in every MusicGen
        return MusicgenConfig.from_pretrained(folder)


def load(folder: Path, dtype: torch.dtype = torch.float32) -> MusicgenForConditionalGeneration:
    """A base with its text encoder and codec, frozen, in evaluation mode, on the CPU.

    Raises:
        InputError: the folder holds no MusicGen, or its files cannot be read.
    """
    config_of(folder)
    try:
        with own_words(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=dtype, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{folder}: the model cannot be loaded ({first_line(error)})") from error
    return whole.requires_grad_(False).eval()


def language_model(whole: MusicgenForConditionalGeneration, text_padding: TextPadding = "masked") -> MusicGenLM:
    """What of a loaded base is adapted; it is known by the base's files."""
    model = MusicGenLM.of(whole, text_padding)
    model.name_or_path = whole.name_or_path
    for module in model.decoder.modules():
        # Numbers, not modules: the frozen network drops nothing while its adapters train.
        for name in ("dropout", "attention_dropout", "activation_dropout", "layerdrop"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model.eval()


def tokenizer(folder: Path) -> Any:
    """The text encoder's."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def window_frames(whole: MusicgenForConditionalGeneration) -> int:
    """Frames that a base was trained on at once: what its generation settings say, 30 seconds otherwise."""
    said = whole.generation_config.max_length
    # 20 is what transformers writes where nothing is said.
    return int(said) if said and said != 20 else 30 * int(whole.audio_encoder.config.frame_rate)


def load_base(folder: Path) -> MusicGenLM:
    """The model in a base's folder that adapters sit on.

    Raises:
        InputError: the folder holds no MusicGen.
    """
    return language_model(load(folder))


def save_base(model: MusicGenLM, out: Path, source: Path) -> None:
    """Fill the empty folder `out` with the base of `source`, the model's weights in the place of its own."""
    whole = load(source)
    whole.decoder.load_state_dict(model.decoder.state_dict())
    if isinstance(model.enc_to_dec_proj, nn.Linear):
        whole.enc_to_dec_proj.load_state_dict(model.enc_to_dec_proj.state_dict())
    whole.save_pretrained(out)
    tokenizer(source).save_pretrained(out)
    if (source / "preprocessor_config.json").is_file():
        shutil.copyfile(source / "preprocessor_config.json", out / "preprocessor_config.json")
