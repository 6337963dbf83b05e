"""Configurations read off the shapes of audiocraft's tensors, and what shapes do not tell from its `xp.cfg`.

`xp.cfg` is YAML text inside the file. It is read as plain YAML: nothing in it is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from torch import Tensor
from transformers import EncodecConfig, MusicgenDecoderConfig

from domains.music.model import codec
from suite.errors import InputError


def settings(text: Any, where: str) -> dict[str, Any]:
    """What `xp.cfg` says; empty where there is none.

    Raises:
        InputError: it is no plain YAML.
    """
    if text is None:
        return {}
    if isinstance(text, Mapping):
        return dict(text)
    try:
        # Interpolations of its own program (`${...}`) stay the texts that they are.
        found = yaml.safe_load(str(text))
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())[:120]
        raise InputError(
            f"{where}: its xp.cfg is no plain YAML ({problem}); it is not read as anything else"
        ) from error
    return found if isinstance(found, dict) else {}


def decoder(state: Mapping[str, Tensor], said: Mapping[str, Any], where: str) -> MusicgenDecoderConfig:
    """The decoder of a language model.

    Args:
        state: `best_state`. said: its `xp.cfg`.

    Raises:
        InputError: it has no embeddings or no layers, or channels that there are not.
    """
    books = len([key for key in state if re.fullmatch(r"emb\.\d+\.weight", key)])
    layers = len({match[1] for key in state if (match := re.match(r"transformer\.layers\.(\d+)\.", key))})
    if not books or not layers:
        raise InputError(f"{where}: no emb.0.weight and transformer.layers.0 in it; it is no MusicGen of audiocraft")
    size, width = state["emb.0.weight"].shape
    own = said.get("transformer_lm") or {}
    channels = int(said.get("channels") or (2 if books == 8 else 1))
    if channels not in (1, 2):
        raise InputError(f"{where}: {channels} channels; a MusicGen has 1 or 2")
    return MusicgenDecoderConfig(
        vocab_size=size - 1,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=int(own.get("num_heads") or max(1, width // 64)),
        ffn_dim=len(state["transformer.layers.0.linear1.weight"]),
        num_codebooks=books,
        audio_channels=channels,
        pad_token_id=size - 1,
        bos_token_id=size - 1,
        dropout=float(own.get("dropout", 0.0)),
    )


def encodec(state: Mapping[str, Tensor], said: Mapping[str, Any], where: str) -> EncodecConfig:
    """The codec.

    Raises:
        InputError: it is no EnCodec, or one of a kind that MusicGen has not.
    """
    first = state.get("encoder.model.0.conv.conv.weight_v")
    books = sorted(key for key in state if key.endswith("._codebook.embed"))
    if first is None or not books:
        raise InputError(
            f"{where}: no encoder.model.0.conv.conv.weight_v and codebooks; it is no EnCodec of audiocraft"
        )
    seanet = said.get("seanet") or {}
    if seanet.get("causal") or any("shortcut" in key for key in state):
        raise InputError(f"{where}: a causal EnCodec, or one with shortcut convolutions; MusicGen's has neither")
    ups = sorted(
        (int(match[1]), tensor.shape[2] // 2)
        for key, tensor in state.items()
        if (match := re.fullmatch(r"decoder\.model\.(\d+)\.convtr\.convtr\.weight_v", key))
    )
    last = max(int(match[1]) for key in state if (match := re.match(r"encoder\.model\.(\d+)\.conv\.", key)))
    final = state[f"encoder.model.{last}.conv.conv.weight_v"]
    inner = state["encoder.model.1.block.1.conv.conv.weight_v"]
    recurrent = {match[1] for key in state if (match := re.search(r"^encoder.*\.lstm\.weight_hh_l(\d+)$", key))}
    return codec.config_of(
        rate=int(said.get("sample_rate") or 32000),
        ratios=[ratio for _, ratio in ups],
        codebooks=len(books),
        codebook_size=len(state[books[0]]),
        num_filters=len(first),
        hidden_size=len(final),
        num_lstm_layers=len(recurrent),
        kernel_size=first.shape[2],
        last_kernel_size=final.shape[2],
        residual_kernel_size=inner.shape[2],
        dilation_growth_rate=int(seanet.get("dilation_base") or 2),
        compress=first.shape[0] // inner.shape[0],
    )
