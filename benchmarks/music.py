"""What adapters cost MusicGen while it generates, and what cached codes save while it trains.

    python -m benchmarks.music [--save] [--repeats 7]

Random weights, one thread, float32; times are processor seconds in interleaved rounds.

- A cached step of the language model at MusicGen-medium's shapes with 40 million parameters after the last layer
  (`decoder_out`, which the paper found best), guidance doubling the one row: the adapter beside four frozen layers
  without heads, less than a twelfth of the model, so that 0.6 of them is less than 5 % of a step.
- The same parameters on every layer (`per_layer`): a cached step of six of the 48 layers and the heads, with six 48ths
  of the 40 million, beside the frozen one.
- The adapters of one layer at step 1,000 beside step 10. Attention grows by its nature and is left out.
- An epoch from cached codes and text states beside one that encodes each time: EnCodec and T5-base at their real size,
  clips of 5 s at 32 kHz, one training step of a language model of MusicGen-small's width a batch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import EncodecModel, MusicgenConfig, MusicgenForConditionalGeneration, T5Config

from benchmarks._measured import Target, compared, keep, rounds
from domains.music.inference.steps import CachedSteps
from domains.music.model import attachments, bases, codec, delays
from domains.music.model.encoders import collate
from domains.music.model.musicgen import MusicGenLM, losses
from suite import adapters
from suite.adapters.methods.additive.sequences import Stream
from suite.adapters.section import AdapterSection

LAYERS, MILLION = 6, 1_000_000
FEW = 4
STEPS = 12
"""Cached steps of a round."""
EARLY, LATE = 10, 1000
CLIPS, SECONDS = 2, 5
TARGETS = [
    *(Target(f"{preset}, decoder_out", "four layers", round(0.05 * 48 / FEW, 3)) for preset in attachments.SEQUENCE),
    *(Target(f"{preset}, per_layer", "frozen", 1.05) for preset in attachments.SEQUENCE),
    Target("conv, step 1000", "conv, step 10", 1.2),
    Target("linear, step 1000", "linear, step 10", 1.2),
    Target("encoded each time", "cached", 5.0, at_most=False),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="write results/music.json")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.inference_mode():
        seconds = rounds(generating(), given.repeats)
        seconds |= rounds(one_place(), given.repeats)
        seconds |= rounds(streaming(), given.repeats)
    seconds |= rounds(training(), given.repeats)
    ratios = compared(seconds, TARGETS)
    if given.save:
        keep("music", given.repeats, seconds, ratios=ratios)


def medium(preset: str | None, layers: int = LAYERS) -> MusicGenLM:
    """So many layers of MusicGen-medium, with their share of 40 million parameters."""
    model: Any = bases.shape("", {"size": "medium", "num_hidden_layers": layers, "dropout": 0.0}).eval()
    if preset is not None:
        section = {"preset": preset, "target_params": 40 * MILLION * layers // 48}
        model = attachments.attach_section(model, AdapterSection.of(section, attachments.PRESETS)).eval()
    return model


def generating() -> dict[str, Callable[[], None]]:
    """`STEPS` cached steps of each model, going on where its last ones ended."""
    states, mask = torch.randn(1, 12, bases.T5_WIDTH), torch.ones(1, 12)

    def steps_of(model: MusicGenLM) -> Callable[[], None]:
        # A session of its own for each round would time the prompt; rounds go on with one.
        steps = CachedSteps(model, states, mask, guidance=3.0)
        token = torch.randint(0, 2048, (1, 4, 1))

        def some() -> None:
            for _ in range(STEPS):
                steps(token)

        return some

    frozen = medium(None)
    found = {"frozen": steps_of(frozen)}
    for preset in attachments.SEQUENCE:
        model = medium(preset)
        model.load_state_dict(frozen.state_dict(), strict=False, assign=True)  # one set of weights for all
        found[f"{preset}, per_layer"] = steps_of(model)
    return found


def one_place() -> dict[str, Callable[[], None]]:
    """The adapter after the last layer alone, and a few frozen layers; heads, which a model has once, are left out."""
    states, mask = torch.randn(1, 12, bases.T5_WIDTH), torch.ones(1, 12)
    frozen = medium(None, FEW)
    frozen.decoder.lm_heads = nn.ModuleList([nn.Linear(frozen.config.hidden_size, 1)])
    steps, token = CachedSteps(frozen, states, mask, guidance=3.0), torch.randint(0, 2048, (1, 4, 1))

    def layers() -> None:
        for _ in range(STEPS):
            steps(token)

    found = {"four layers": layers}
    for preset in attachments.SEQUENCE:
        model: Any = bases.shape("", {"size": "medium", "num_hidden_layers": 1, "dropout": 0.0}).eval()
        section = {"preset": preset, "placement": "decoder_out", "target_params": 40 * MILLION}
        model = attachments.attach_section(model, AdapterSection.of(section, attachments.PRESETS)).eval()
        [(_, layer)] = adapters.layers(model, attachments.SEQUENCE[preset])
        h, stream = torch.randn(2, 1, model.config.hidden_size), Stream()

        def some(model: Any = model, layer: Any = layer, stream: Stream = stream, h: torch.Tensor = h) -> None:
            with adapters.context(model, stream=stream):
                for _ in range(STEPS):
                    layer.change(h, "default")

        found[f"{preset}, decoder_out"] = some
    return found


def streaming() -> dict[str, Callable[[], None]]:
    """The adapter of one layer after `EARLY` and after `LATE` steps."""
    found: dict[str, Callable[[], None]] = {}
    for preset in ("linear", "conv"):
        model = medium(preset, layers=1)
        [(_, layer)] = adapters.layers(model, attachments.SEQUENCE[preset])
        h = torch.randn(2, 1, model.config.hidden_size)
        for number in (EARLY, LATE):
            stream = Stream()
            with adapters.context(model, stream=stream):
                for _ in range(number):
                    layer.change(h, "default")

            def some(model: MusicGenLM = model, layer: Any = layer, stream: Stream = stream, h: Any = h) -> None:
                with adapters.context(model, stream=stream):
                    for _ in range(STEPS):
                        layer.change(h, "default")

            found[f"{preset}, step {number}"] = some
    return found


def training() -> dict[str, Callable[[], None]]:
    """An epoch of `CLIPS` clips, a clip a batch."""
    ratios = {"rate": 32000, "ratios": [8, 5, 4, 4], "codebooks": 4, "codebook_size": 2048}
    audio = codec.config_of(**ratios, num_filters=64, hidden_size=128)  # type: ignore[arg-type]
    text = T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12)
    decoder = bases.decoder_config("small", num_hidden_layers=1, dropout=0.0)
    whole = MusicgenForConditionalGeneration(MusicgenConfig(text_encoder=text, audio_encoder=audio, decoder=decoder))
    whole.eval()
    model = attachments.attach_section(
        bases.language_model(whole.requires_grad_(False)),
        AdapterSection.of({"preset": "linear", "bottleneck_size": 64}, attachments.PRESETS),
    )
    waves = [0.1 * np.random.default_rng(n).standard_normal((1, SECONDS * 32000)) for n in range(CLIPS)]
    codes_of: EncodecModel = whole.audio_encoder
    words = torch.randint(0, 1000, (1, 32))

    @torch.no_grad()
    def encoded(wave: np.ndarray) -> dict[str, torch.Tensor]:
        codes = codec.encode(codes_of, torch.from_numpy(wave).float()[None])[0]
        states = whole.text_encoder(input_ids=words).last_hidden_state[0]
        return {"codes": codes, "text": states, "text_mask": torch.ones(len(states), dtype=torch.long)}

    def step(sample: dict[str, torch.Tensor]) -> None:
        batch = collate([sample], model.special)
        wanted, known = delays.targets(batch["codes"], model.special, model.delays)
        sequence = delays.delayed(batch["codes"], model.special, model.delays)[..., :-1]
        losses(model(sequence, batch["text"], batch["text_mask"]), wanted, known)[0].mean().backward()

    kept = [encoded(wave) for wave in waves]

    def each_time() -> None:
        for wave in waves:
            step(encoded(wave))

    def cached() -> None:
        for sample in kept:
            step(sample)

    return {"encoded each time": each_time, "cached": cached}


if __name__ == "__main__":
    main()
