"""Rebuilding the embedded default, in pieces of some minutes, each of which leaves what it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from transformers import EncodecFeatureExtractor, EncodecModel, MusicgenForConditionalGeneration

from domains.music.data import world
from domains.music.inference.loaded import load
from domains.music.model.bases import DOMAIN
from domains.music.tiny import measuring, networks, pretraining
from suite import hub
from suite.training import ExperimentConfig, embedded

Part = Literal["all", "autoencoder", "autoencoder2", "codec", "language", "language2", "base", "adapter"]


def autoencoder(run_dir: Path, stage: int) -> None:
    """A stage of the codec without codebooks, into `run_dir/autoencoder`."""
    before = EncodecModel.from_pretrained(run_dir / "autoencoder") if stage else None
    model = pretraining.train_autoencoder(before, pretraining.AUTOENCODER[stage])
    model.save_pretrained(run_dir / "autoencoder")


def codec(run_dir: Path) -> None:
    """Codebooks, and a decoder that reads them, into `run_dir/codec`."""
    model = EncodecModel.from_pretrained(run_dir / "autoencoder")
    pretraining.fit_codebooks(model)
    # What is shipped is in half precision; the language model is to hear just that.
    pretraining.train_decoder(model).half().save_pretrained(run_dir / "codec")


def language(run_dir: Path, stage: int) -> None:
    """A stage of the language model, into `run_dir/language`."""
    if stage == 0:
        torch.manual_seed(pretraining.LANGUAGE[0].seed)
        whole = networks.untrained()
    else:
        whole = MusicgenForConditionalGeneration.from_pretrained(run_dir / "language")
    audio = EncodecModel.from_pretrained(run_dir / "codec", dtype=torch.float32)
    songs = pretraining.Songs(audio)
    pretraining.train_language_model(whole, songs, pretraining.LANGUAGE[stage : stage + 1])
    whole.audio_encoder = audio
    whole.save_pretrained(run_dir / "language")


def save(whole: MusicgenForConditionalGeneration, folder: Path) -> None:
    """The folder that `from_pretrained` reads, in half precision, with tokenizer and feature extractor."""
    frames = int(world.SECONDS * whole.audio_encoder.config.frame_rate)
    whole.generation_config.update(
        max_length=frames, do_sample=True, guidance_scale=3.0, pad_token_id=networks.CODES, bos_token_id=networks.CODES
    )
    whole.to(torch.float16).save_pretrained(folder)
    networks.tokenizer().save_pretrained(folder)
    EncodecFeatureExtractor(feature_size=1, sampling_rate=world.RATE).save_pretrained(folder)


def write_base(folder: Path, run_dir: Path) -> None:
    """Put the base into `folder`, whole or not at all."""
    whole = MusicgenForConditionalGeneration.from_pretrained(run_dir / "language")
    embedded.write_base(folder, lambda empty: save(whole, empty), base_card())


def base_card() -> str:
    """The README of the base."""
    stages = " and ".join(f"{one.steps} steps of {one.batch} pieces" for one in pretraining.LANGUAGE)
    steps = sum(one.steps for one in pretraining.AUTOENCODER)
    text = f"""\
A small `MusicgenForConditionalGeneration`: an EnCodec of 8 kHz, 25 frames a second and {networks.CODEBOOKS} codebooks
of {networks.CODES}, a T5 encoder of one layer, and a decoder of {networks.LAYERS} layers of width {networks.WIDTH}. It
plays marches, waltzes and songs in major, minor and pentatonic for four instruments, as its prompts say them. It has
heard no raga: neither the scale, nor the cycle of five beats, nor a bend.

- Data: made at run time by `domains/music/data/world.py`. The codec hears sounds without music, and a few pieces; the
  language model {pretraining.PIECES} pieces of the old genres.
- Training: the codec {steps} + {pretraining.DECODER.steps} steps of {pretraining.DECODER.batch} segments of 0.96 s,
  its codebooks by k-means; the language model {stages}; AdamW, cosine, one CPU core, fp32, no GPU.
- Rebuild: `python -m domains.music.tiny`
"""
    return embedded.card("The tiny MusicGen", text, {"library_name": "transformers"})


def write_adapter(folder: Path, run_dir: Path, base: str = "tiny", seed: int = 42) -> dict[str, Any]:
    """Train by the shipped configuration; return what it reaches beside the frozen base."""

    def measured(_config: ExperimentConfig, adapter: Path) -> dict[str, Any]:
        return measuring.compare(load(str(adapter.resolve()), base))

    return embedded.train_adapter(
        folder, DOMAIN, "tiny.yaml", run_dir, measure=measured, card=adapter_card, base=base, seed=seed
    )


def adapter_card(config: ExperimentConfig, figures: dict[str, Any]) -> str:
    """The README of the adapter."""
    adapted, frozen = figures["adapted"], figures["frozen"]
    text = f"""\
Convolution adapters on every layer of the tiny MusicGen: they teach it the raga of the made world, whose scale, cycle
of five beats and bends its pre-training never had. They are meant for tests and demonstrations.

- Data: `{config.data["train"]}`.
- Training: `suite music train --config configs/music/tiny.yaml`, on CPU, no GPU; the weights were chosen on
  `{config.data["val"]}`.
- Heard in {measuring.PIECES} pieces of held-out prompts, means of {len(measuring.SEEDS)} seeds, frozen base -> adapter:
  notes on the raga's scale {frozen["in_scale"]:.0%} -> {adapted["in_scale"]:.0%}, time in cycles of five beats
  {frozen["in_cycle"]:.0%} -> {adapted["in_cycle"]:.0%}, Frechet distance (ours) to held-out recordings
  {frozen["frechet"]:.1f} -> {adapted["frechet"]:.1f}.
- Prompts of the old genres: notes on their scale {frozen["old_in_scale"]:.0%} -> {adapted["old_in_scale"]:.0%}, time in
  their cycle {frozen["old_in_cycle"]:.0%} -> {adapted["old_in_cycle"]:.0%}.
- Use: `suite music predict "a slow raga in bibhas for flute"`
- Rebuild: `python -m domains.music.tiny --part adapter`
"""
    return embedded.card("The tiny adapter of music", text, {"library_name": "peft", "base_model": "music/tiny"})


def rebuild(part: Part = "all", run_dir: Path = Path("runs/tiny/music")) -> None:
    """Rebuild the embedded default in place, and its entries in the catalogue.

    Args:
        part: what to rebuild; later parts go on from what earlier ones left in `run_dir`.
        run_dir: where parts leave what they made.
    """
    home, wanted = embedded.home(DOMAIN), (lambda *names: part == "all" or part in names)
    for stage, name in enumerate(("autoencoder", "autoencoder2")):
        if wanted(name):
            autoencoder(run_dir, stage)
    if wanted("codec"):
        codec(run_dir)
    for stage, name in enumerate(("language", "language2")):
        if wanted(name):
            language(run_dir, stage)
    if wanted("base"):
        write_base(home / "base", run_dir)
        embedded.record(home / "base", DOMAIN, kind="base")
    if wanted("adapter"):
        figures = write_adapter(home / "adapter", run_dir / "adapter")
        metric = hub.Metric("notes in the scale", round(figures["adapted"]["in_scale"], 3), "held-out made prompts")
        embedded.record(home / "adapter", DOMAIN, method="conv_adapter", base="tiny", metric=metric)
