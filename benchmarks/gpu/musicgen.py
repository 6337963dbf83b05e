"""Seconds of music a second of MusicGen-medium in bf16 with adapters on, beside transformers' own `generate`.

Random weights at the real shapes, 40 million parameters of convolution adapters on every layer; transformers' model has
none, since its `generate` knows no adapter's memory. Codes alone are timed: the codec is the same on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers import MusicgenConfig, MusicgenForConditionalGeneration, T5Config

from benchmarks.gpu.claim import Figure, Setting, now
from domains.music.inference.sampling import Sampling
from domains.music.inference.session import generate
from domains.music.model import attachments, bases, codec
from suite.adapters.section import AdapterSection

FRAME_RATE = 50
TINY = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 64}


def measure(setting: Setting) -> Iterator[Figure]:
    """Real-time factors of both, batches of 1 and 4, guidance 3."""
    torch.manual_seed(0)
    dtype = torch.float32 if setting.smoke else torch.bfloat16
    size = "small" if setting.smoke else "medium"
    decoder = bases.decoder_config(size, dropout=0.0, **(TINY if setting.smoke else {}))
    text = T5Config(d_model=64, d_kv=16, d_ff=64, num_layers=1, num_heads=4)
    audio = codec.config_of(
        rate=32000, ratios=[8, 5, 4, 4], codebooks=4, codebook_size=2048, num_filters=4, hidden_size=16
    )
    with setting.device:
        whole = MusicgenForConditionalGeneration(
            MusicgenConfig(text_encoder=text, audio_encoder=audio, decoder=decoder)
        ).to(dtype)
        whole.eval().requires_grad_(False)
    frames = 6 if setting.smoke else 5 * FRAME_RATE
    section = {"preset": "conv", "target_params": "40k" if setting.smoke else "40M"}
    model = attachments.attach_section(
        bases.language_model(whole), AdapterSection.of(section, attachments.PRESETS)
    ).eval()
    for batch in (1,) if setting.smoke else (1, 4):
        states = torch.randn(batch, 12, 64, device=setting.device, dtype=dtype)
        mask = torch.ones(batch, 12, device=setting.device)
        ids = torch.ones(batch, 12, device=setting.device, dtype=torch.long)

        def ours(states: torch.Tensor = states, mask: torch.Tensor = mask) -> None:
            generate(model, states, mask, frames, Sampling())

        def theirs(ids: torch.Tensor = ids) -> None:
            with torch.inference_mode():
                whole.generate(input_ids=ids, max_new_tokens=frames + 3, do_sample=True, guidance_scale=3.0)

        found = {}
        for name, call in (("suite", ours), ("transformers", theirs)):
            call()
            start = now()
            call()
            found[name] = batch * frames / FRAME_RATE / (now() - start)
            yield Figure(f"{name}, batch {batch}", found[name], "s of music a s")
        yield Figure(f"suite / transformers, batch {batch}", found["suite"] / found["transformers"], "x", 1.5)
