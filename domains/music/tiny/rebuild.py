"""Rebuilding the embedded default, in pieces of some minutes, each of which leaves what it made."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from transformers import EncodecFeatureExtractor, EncodecModel, MusicgenForConditionalGeneration

from domains.music.data import world
from domains.music.model.bases import DOMAIN
from domains.music.tiny import networks, pretraining
from suite.training import embedded

Part = Literal["all", "codec", "language", "language2", "base", "adapter"]


def autoencoder(run_dir: Path) -> None:
    """An autoencoder, codebooks, and a decoder that reads them, into `run_dir/codec`."""
    model = pretraining.train_autoencoder()
    model.save_pretrained(run_dir / "autoencoder")
    pretraining.fit_codebooks(model)
    # What is shipped is in half precision; the language model is to hear just that.
    pretraining.train_decoder(model).half().save_pretrained(run_dir / "codec")
    language(run_dir, 0)


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
    text = f"""\
A small `MusicgenForConditionalGeneration`: an EnCodec of 8 kHz, 25 frames a second and {networks.CODEBOOKS} codebooks
of {networks.CODES}, a T5 encoder of one layer, and a decoder of {networks.LAYERS} layers of width {networks.WIDTH}. It
plays marches, waltzes and songs in major, minor and pentatonic for four instruments, as its prompts say them. It has
heard no raga: neither the scale, nor the cycle of five beats, nor a bend.

- Data: made at run time by `domains/music/data/world.py`. The codec hears sounds without music, and a few pieces; the
  language model {pretraining.PIECES} pieces of the old genres.
- Training: the codec {pretraining.AUTOENCODER.steps} + {pretraining.DECODER.steps} steps of
  {pretraining.AUTOENCODER.batch} segments of 0.96 s, its codebooks by k-means; the language model {stages}; AdamW,
  cosine, one CPU core, fp32, no GPU.
- Rebuild: `python -m domains.music.tiny`
"""
    return embedded.card("The tiny MusicGen", text, {"library_name": "transformers"})


def rebuild(part: Part = "all", run_dir: Path = Path("runs/tiny/music")) -> None:
    """Rebuild the embedded default in place, and its entries in the catalogue.

    Args:
        part: what to rebuild; later parts go on from what earlier ones left in `run_dir`.
        run_dir: where parts leave what they made.
    """
    home, wanted = embedded.home(DOMAIN), (lambda *names: part == "all" or part in names)
    if wanted("codec"):
        autoencoder(run_dir)
    for stage, name in enumerate(("language", "language2")):
        if wanted(name):
            language(run_dir, stage)
    if wanted("base"):
        write_base(home / "base", run_dir)
        embedded.record(home / "base", DOMAIN, kind="base")
