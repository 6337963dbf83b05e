"""Rebuilding the embedded default: stages go on where they stopped, and what they leave is a base."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EncodecModel

from domains.music.data import world
from domains.music.evaluation.scoring import made_figures
from domains.music.inference.loaded import MusicGenComposer, load
from domains.music.model.manifest import Manifest
from domains.music.tiny import measuring, networks, pretraining, rebuild
from domains.music.types import SAMPLING, MusicQuery
from suite.files import read_json


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step a stage, on next to nothing."""
    short = lambda one: dataclasses.replace(one, steps=1, batch=1, warmup=0)  # noqa: E731
    each = rebuild.ROUNDS[0]
    quick = dataclasses.replace(each, autoencoder=tuple(map(short, each.autoencoder[:2])), decoder=short(each.decoder))
    monkeypatch.setattr(rebuild, "ROUNDS", (quick,))
    monkeypatch.setattr(rebuild, "LANGUAGE_MODEL", short(rebuild.LANGUAGE_MODEL))
    made = pretraining.sounds(2, 2.0)
    monkeypatch.setattr(pretraining, "sounds", lambda: made)
    monkeypatch.setattr(pretraining, "PIECES", 2)
    monkeypatch.setattr(pretraining.networks, "CODES", 16)


def test_stages_go_on_where_they_stopped_and_leave_a_base(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(rebuild.time, "monotonic", lambda: 60.0 * next(clock))
    assert not rebuild.pretrain(tmp_path, minutes=2.5)
    done = read_json(tmp_path / "done.json")["stages"]
    assert done == ["round 0: autoencoder 0", "round 0: autoencoder 1"]
    before = EncodecModel.from_pretrained(tmp_path / "codec").state_dict()
    assert rebuild.pretrain(tmp_path)
    assert read_json(tmp_path / "done.json")["stages"][2:] == [
        *("round 0: codebooks", "round 0: decoder", "language"),
    ]
    after = EncodecModel.from_pretrained(tmp_path / "codec").state_dict()
    assert torch.equal(before["encoder.layers.0.conv.bias"], after["encoder.layers.0.conv.bias"])
    assert not torch.equal(before["quantizer.layers.0.codebook.embed"], after["quantizer.layers.0.codebook.embed"])

    kept = pretraining.Songs.of(None, tmp_path / "songs", 2)  # no codec is needed for what is encoded already
    assert kept.codes.shape == (2, 2, 200) and len(kept.words) == 2

    rebuild.write_base(tmp_path / "base", tmp_path)
    composer = MusicGenComposer(tmp_path / "base", Manifest(), base="tiny")
    assert composer.windows.length == 200
    [wave] = composer.compose(["a slow march in major for organ"], MusicQuery(seconds=0.4), seeds=[0])
    assert wave.shape == (1, 3200) and np.isfinite(wave).all()


def test_a_frame_of_a_drum_counts_as_one_of_a_melody() -> None:
    """Over all frames at once the loss of a left-out stroke is next to nothing."""
    seconds = torch.arange(8000) / 8000
    melody = 0.4 * torch.sin(2 * torch.pi * 400 * seconds)[None, None]
    drum = melody.clone()
    drum[..., 4000:4400] += 0.4 * torch.sin(2 * torch.pi * 90 * seconds[:400])
    left_out = pretraining.difference(melody, drum)
    assert left_out > 0.05
    assert pretraining.difference(drum, drum) < 1e-6
    # In hertz the low strokes of a drum are next to nothing beside a melody; to the ear they are not.
    assert pretraining.difference(melody, drum, ear=2.0) > 1.2 * pretraining.difference(melody, drum, ear=0.0)


def test_the_shipped_adapter_plays_what_its_base_cannot_and_keeps_what_it_can() -> None:
    composer = load("tiny")
    query = MusicQuery(seconds=8.0)

    def heard(genre: str | None, *, frozen: bool) -> dict[str, float]:
        asked = [world.piece("val", number, genre) for number in range(6)]
        waves = composer.compose([piece.caption for piece in asked], query, seeds=range(6), frozen=frozen)
        rows = [made_figures(wave, composer.rate, piece) for wave, piece in zip(waves, asked, strict=True)]
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    before, after = (heard(world.HELD_OUT, frozen=frozen) for frozen in (True, False))
    assert after["in_scale"] > before["in_scale"] + 0.1
    assert after["in_cycle"] > before["in_cycle"] + 0.2
    before, after = (heard(None, frozen=frozen) for frozen in (True, False))
    assert before["in_cycle"] > 0.8 and after["in_cycle"] > 0.7 and after["in_scale"] > 0.85


def test_the_base_is_sampled_as_its_generation_settings_say() -> None:
    composer = load("tiny")
    cool = {"guidance": networks.GUIDANCE, "temperature": networks.TEMPERATURE, "top_k": 250, "top_p": 0.0}
    assert composer.defaults == cool
    words = ["a slow raga in bibhas for flute"]
    [wave] = composer.compose(words, MusicQuery(seconds=2.0), seeds=[3])
    [same] = composer.compose(words, MusicQuery(seconds=2.0, **cool), seeds=[3])
    [hot] = composer.compose(words, MusicQuery(seconds=2.0, **SAMPLING), seeds=[3])
    assert np.array_equal(wave, same)
    assert not np.array_equal(wave, hot)


def test_the_comparison_asks_for_held_out_pieces() -> None:
    assert {piece.genre for piece in measuring.pieces("raga")} == {"raga"}
    assert {piece.genre for piece in measuring.pieces(None)} == {"march", "waltz", "song"}
