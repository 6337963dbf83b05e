"""Rebuilding the embedded default, in pieces of some minutes, each of which leaves what it made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import EncodecFeatureExtractor, EncodecModel, MusicgenForConditionalGeneration

from domains.music.data import world
from domains.music.inference.loaded import load
from domains.music.model.bases import DOMAIN
from domains.music.tiny import measuring, networks, pretraining
from domains.music.tiny.pretraining import LANGUAGE as LANGUAGE_MODEL
from domains.music.tiny.pretraining import ROUNDS
from suite import hub
from suite.files import read_json, write_text
from suite.training import ExperimentConfig, embedded
from suite.training.plain import Schedule

Part = Literal["all", "base", "adapter"]
CODEC, LANGUAGE = "codec", "language"


@dataclass(frozen=True)
class Stage:
    """A stage of pre-training: what it does to the folder of the run."""

    name: str
    run: Callable[[Path], None]


def stages() -> list[Stage]:
    """All of them, in order."""
    found = []
    for place, each in enumerate(ROUNDS):
        for part, schedule in enumerate(each.autoencoder):
            run = partial(_autoencoder, schedule=schedule, ear=each.ear)
            found.append(Stage(f"round {place}: autoencoder {part}", run))
        found.append(Stage(f"round {place}: codebooks", _codebooks))
        found.append(Stage(f"round {place}: decoder", partial(_decoder, schedule=each.decoder, ear=each.ear)))
    return [*found, Stage("language", _language)]


def pretrain(run_dir: Path, minutes: float | None = None) -> bool:
    """Do the stages that are not done yet, one after another; each leaves what it made in `run_dir`.

    Args:
        minutes: after which no further stage is begun.

    Returns:
        Whether all are done.
    """
    record, started = run_dir / "done.json", time.monotonic()
    done: list[str] = read_json(record)["stages"] if record.is_file() else []
    for stage in stages():
        if stage.name in done:
            continue
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            return False
        stage.run(run_dir)
        done.append(stage.name)
        write_text(record, json.dumps({"stages": done}))
    return True


def _held(run_dir: Path, name: str) -> EncodecModel:
    return EncodecModel.from_pretrained(run_dir / name, dtype=torch.float32)


def _autoencoder(run_dir: Path, schedule: Schedule, ear: float) -> None:
    before = _held(run_dir, CODEC) if (run_dir / CODEC).is_dir() else None
    pretraining.train_autoencoder(before, schedule, ear).save_pretrained(run_dir / CODEC)


def _codebooks(run_dir: Path) -> None:
    model = _held(run_dir, CODEC)
    pretraining.fit_codebooks(model)
    model.save_pretrained(run_dir / CODEC)


def _decoder(run_dir: Path, schedule: Schedule, ear: float) -> None:
    pretraining.train_decoder(_held(run_dir, CODEC), schedule, ear).save_pretrained(run_dir / CODEC)


def _language(run_dir: Path) -> None:
    # What is shipped is in half precision; the language model is to hear just that.
    audio = _held(run_dir, CODEC).half().float()
    torch.manual_seed(LANGUAGE_MODEL.seed)
    whole = networks.untrained()
    whole.audio_encoder = audio
    songs = pretraining.Songs.of(audio, run_dir / "songs", pretraining.PIECES)
    pretraining.train_language_model(whole, songs, LANGUAGE_MODEL, run_dir / "language_so_far.safetensors")
    whole.save_pretrained(run_dir / LANGUAGE)


def save(whole: MusicgenForConditionalGeneration, folder: Path) -> None:
    """The folder that `from_pretrained` reads, in half precision, with tokenizer and feature extractor."""
    frames = int(world.SECONDS * whole.audio_encoder.config.frame_rate)
    whole.generation_config.update(
        max_length=frames,
        do_sample=True,
        guidance_scale=networks.GUIDANCE,
        temperature=networks.TEMPERATURE,
        pad_token_id=networks.CODES,
        bos_token_id=networks.CODES,
    )
    whole.to(torch.float16).save_pretrained(folder)
    networks.tokenizer().save_pretrained(folder)
    EncodecFeatureExtractor(feature_size=1, sampling_rate=world.RATE).save_pretrained(folder)


def write_base(folder: Path, run_dir: Path) -> None:
    """Put the base into `folder`, whole or not at all."""
    whole = MusicgenForConditionalGeneration.from_pretrained(run_dir / LANGUAGE)
    embedded.write_base(folder, lambda empty: save(whole, empty), base_card())


def base_card() -> str:
    """The README of the base."""
    parts = [one for each in ROUNDS for one in each.autoencoder]
    first, last = ROUNDS[0], ROUNDS[-1]
    text = f"""\
A small `MusicgenForConditionalGeneration`: an EnCodec of 8 kHz, 25 frames a second and {networks.CODEBOOKS} codebooks
of {networks.CODES}, a T5 encoder of one layer, and a decoder of {networks.LAYERS} layers of width {networks.WIDTH}. It
plays marches, waltzes and songs in major, minor and pentatonic for four instruments, as its prompts say them. It has
heard no raga: neither the scale, nor the cycle of five beats, nor a bend.

- Data: made at run time by `domains/music/data/world.py`. The codec hears 200 exercises without music and 200 parts of
  pieces, all of old genres, 4 s each; the language model {pretraining.PIECES} pieces of the old genres.
- Training: the codec {sum(one.steps for one in parts)} steps of {parts[0].batch} segments of 0.96 s in {len(ROUNDS)}
  rounds, the first by a loss in which the ear's bands count {first.ear:g}, the last {last.ear:g}; its codebooks by
  k-means, its decoder {last.decoder.steps} steps more in each round; AdamW. The language model {LANGUAGE_MODEL.steps}
  steps of {LANGUAGE_MODEL.batch} pieces, in bfloat16; Muon, and AdamW for embeddings and norms. One CPU core, no GPU.
- Rebuild: `OMP_NUM_THREADS=1 python -m domains.music.tiny`, which goes on where it was stopped.
"""
    return embedded.card("The tiny MusicGen", text, {"library_name": "transformers"})


def write_adapter(folder: Path, run_dir: Path, base: str = "tiny", seed: int = 43) -> dict[str, Any]:
    """Train by the shipped configuration; return what it reaches beside the frozen base."""

    def measured(_config: ExperimentConfig, adapter: Path) -> dict[str, Any]:
        return measuring.compare(load(str(adapter.resolve()), base))

    return embedded.train_adapter(
        folder, DOMAIN, "tiny.yaml", run_dir, measure=measured, card=adapter_card, base=base, seed=seed
    )


def adapter_card(config: ExperimentConfig, figures: dict[str, Any]) -> str:
    """The README of the adapter."""
    adapted, frozen, spread, gain = (figures[name] for name in ("adapted", "frozen", "spread", "gain"))
    text = f"""\
A LoRA on the projections and heads of the tiny MusicGen, trained on the raga of the made world, whose scale, cycle of
five beats and bends the base's pre-training never had. It is meant for tests and demonstrations.

- Data: `{config.data["train"]}`.
- Training: `suite music train --config configs/music/tiny.yaml`, on CPU, no GPU; the weights were chosen on
  `{config.data["val"]}`.
- Heard in {measuring.PIECES} pieces of held-out prompts, means of {len(measuring.SEEDS)} seeds, frozen base
  -> adapter: notes on the raga's scale {frozen["in_scale"]:.0%} -> {adapted["in_scale"]:.0%}, time in cycles of five
  beats {frozen["in_cycle"]:.0%} -> {adapted["in_cycle"]:.0%}, Frechet distance (ours) to other ragas
  {frozen["frechet"]:.1f} -> {adapted["frechet"]:.1f} (seeds differ by {spread["frechet"]:.1f}). Scale and cycle gain
  {gain["in_scale"]:.1f} and {gain["in_cycle"]:.1f} times the spread of the seeds.
- Prompts of the old genres: notes on their scale {frozen["old_in_scale"]:.0%} -> {adapted["old_in_scale"]:.0%}, time in
  their cycle {frozen["old_in_cycle"]:.0%} -> {adapted["old_in_cycle"]:.0%}.
- Use: `suite music predict "a slow raga in bibhas for flute"`
- Rebuild: `python -m domains.music.tiny --part adapter`
"""
    return embedded.card("The tiny adapter of music", text, {"library_name": "peft", "base_model": "music/tiny"})


def rebuild(part: Part = "all", run_dir: Path = Path("runs/tiny/music"), minutes: float | None = None) -> None:
    """Rebuild the embedded default in place, and its entries in the catalogue.

    Args:
        part: what to rebuild; a new base needs a new adapter.
        run_dir: where stages leave what they made; a second call goes on from there.
        minutes: after which no further stage of the base is begun; call again to go on.
    """
    home = embedded.home(DOMAIN)
    if part in ("all", "base"):
        if not pretrain(run_dir, minutes):
            return
        write_base(home / "base", run_dir)
        embedded.record(home / "base", DOMAIN, kind="base")
    if part in ("all", "adapter"):
        figures = write_adapter(home / "adapter", run_dir / "adapter")
        metric = hub.Metric("notes in the scale", round(figures["adapted"]["in_scale"], 3), "held-out made prompts")
        embedded.record(home / "adapter", DOMAIN, method="lora", base="tiny", metric=metric)
