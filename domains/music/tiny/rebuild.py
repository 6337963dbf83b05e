"""Rebuilding the embedded default, in pieces of some minutes, each of which leaves what it made."""

from __future__ import annotations

from pathlib import Path

from transformers import EncodecModel

from domains.music.tiny import pretraining


def autoencoder(run_dir: Path) -> None:
    pretraining.train_autoencoder().save_pretrained(run_dir / "autoencoder")


def codec(run_dir: Path) -> None:
    model = EncodecModel.from_pretrained(run_dir / "autoencoder")
    pretraining.fit_codebooks(model)
    pretraining.train_decoder(model).save_pretrained(run_dir / "codec")
