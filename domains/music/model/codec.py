"""EnCodec between waveforms and codes.

A waveform of L samples is ceil(L / hop) frames, and a frame is hop samples again, so that what is decoded is cut. Mono
codecs encode both channels of a stereo model, whose codebooks take turns: left 0, right 0, left 1, right 1, ...
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import EncodecConfig, EncodecModel


def config_of(*, rate: int, ratios: list[int], codebooks: int, codebook_size: int, **sizes: int) -> EncodecConfig:
    """MusicGen's kind of EnCodec: not causal, zero-padded, true skips, weight norm, no normalisation."""
    frame_rate = math.ceil(rate / math.prod(ratios))
    # transformers derives the number of codebooks from this.
    bandwidth = codebooks * math.ceil(math.log2(codebook_size)) * frame_rate / 1000
    return EncodecConfig(
        sampling_rate=rate,
        upsampling_ratios=ratios,
        codebook_size=codebook_size,
        target_bandwidths=[bandwidth],
        use_causal_conv=False,
        pad_mode="constant",
        use_conv_shortcut=False,
        normalize=False,
        trim_right_ratio=1.0,
        **sizes,
    )


def frames_of(samples: int, hop: int) -> int:
    """Frames of a waveform, the last one begun included."""
    return -(-samples // hop)


def latent(codec: EncodecModel, wave: Tensor) -> Tensor:
    """(B, 1, samples) to (B, hidden, frames); samples are padded to whole frames."""
    hop = codec.config.hop_length
    missing = -wave.shape[-1] % hop
    return codec.encoder(torch.nn.functional.pad(wave, (0, missing)))


@torch.no_grad()
def encode(codec: EncodecModel, wave: Tensor) -> Tensor:
    """Codes (B, K, frames) of waveforms (B, channels, samples); a stereo waveform has twice the codec's codebooks."""
    batch, channels, samples = wave.shape
    codes = codec.quantizer.encode(latent(codec, wave.reshape(batch * channels, 1, samples)))  # (K, B * channels, F)
    codes = codes.view(len(codes), batch, channels, -1)
    return codes.permute(1, 0, 2, 3).flatten(1, 2)  # (B, K * channels, F), channels taking turns


CHUNK, REACH = 500, 12
"""Frames whose samples are made at once, and those beside them that their samples depend on, with room to spare."""


@torch.no_grad()
def decode(codec: EncodecModel, codes: Tensor, samples: int | None = None, channels: int = 1) -> Tensor:
    """Waveforms (B, channels, samples) of codes (B, K, frames), cut to `samples` where given.

    The recurrent layers see all frames; what follows them, where a frame becomes hundreds of samples, sees a part at a
    time, so that the length of a piece takes next to no memory. The result is the same.
    """
    batch, books, frames = codes.shape
    by_channel = codes.view(batch, books // channels, channels, frames).permute(1, 0, 2, 3).flatten(1, 2)
    hidden = codec.quantizer.decode(by_channel)  # (B * channels, hidden, F)
    layers = list(codec.decoder.layers)
    recurrent = max((place for place, layer in enumerate(layers) if "LSTM" in type(layer).__name__), default=0) + 1
    for layer in layers[:recurrent]:
        hidden = layer(hidden)
    parts = []
    for start in range(0, frames, CHUNK):
        first, last = max(0, start - REACH), min(frames, start + CHUNK + REACH)
        part = hidden[..., first:last]
        for layer in layers[recurrent:]:
            part = layer(part)
        hop = part.shape[-1] // (last - first)
        parts.append(part[..., (start - first) * hop : (min(start + CHUNK, frames) - first) * hop])
    wave = torch.cat(parts, -1)  # (B * channels, 1, F * hop)
    return wave.view(batch, channels, -1)[..., :samples]
