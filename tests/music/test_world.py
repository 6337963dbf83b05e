"""The made world sounds as its captions say: pitch and cycle, heard by trackers that know nothing of how it is made."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from domains.music.data import world
from domains.music.metrics import pitch, rhythm


@pytest.mark.parametrize("genre", world.GENRES)
def test_pieces_keep_their_scale_and_their_cycle(genre: str) -> None:
    for number in range(4):
        piece = world.piece("test", number, genre)
        wave = piece.sound()
        heard = pitch.notes(wave, world.RATE)
        assert len(heard) > 5
        assert pitch.share_in_scale(heard, world.TONIC, world.SCALES[piece.scale]) > 0.95, piece.caption
        assert rhythm.cycle(wave, world.RATE, piece.beat) == world.GENRES[genre].beats, piece.caption
        assert rhythm.share_of_cycle(wave, world.RATE, piece.beat, world.GENRES[genre].beats) > 0.9


def test_old_genres_are_not_in_the_held_out_scale() -> None:
    pieces = [world.piece("test", number) for number in range(12)]
    shares = [
        pitch.share_in_scale(pitch.notes(piece.sound(), world.RATE), world.TONIC, world.SCALES["bibhas"])
        for piece in pieces
    ]
    assert np.mean(shares) < 0.75
    assert {piece.genre for piece in pieces} == set(world.OLD)


def test_the_held_out_genre_bends_its_notes() -> None:
    piece = world.piece("test", 1, world.HELD_OUT)
    found, _ = pitch.pitches(piece.sound(), world.RATE)
    steps = np.abs(np.diff(12 * np.log2(found)))
    glides = np.nanmean((steps > 0.08) & (steps < 1))
    straight = world.piece("test", 1, "march")
    found, _ = pitch.pitches(straight.sound(), world.RATE)
    steps = np.abs(np.diff(12 * np.log2(found)))
    assert glides > 3 * np.nanmean((steps > 0.08) & (steps < 1))


def test_splits_differ_and_the_same_piece_sounds_the_same() -> None:
    sounds = {split: world.piece(split, 3).sound(2.0) for split in ("train", "val", "test")}
    for one, other in pairwise(sounds.values()):
        assert not np.array_equal(one, other)
    assert np.array_equal(sounds["val"], world.piece("val", 3).sound(2.0))


def test_a_piece_has_the_length_and_rate_asked_for_and_does_not_clip() -> None:
    for number in range(6):
        wave = world.piece("train", number).sound(3.0, rate=16000)
        assert wave.shape == (1, 48000)
        assert wave.dtype == np.float32
        assert 0.3 < np.abs(wave).max() <= 1


def test_captions_use_the_vocabulary_alone() -> None:
    words = set(world.vocabulary())
    for genre in world.GENRES:
        assert set(world.piece("train", 5, genre).caption.split()) <= words


def test_exercises_for_a_codec_have_neither_the_scale_nor_a_beat() -> None:
    shares = [
        pitch.share_in_scale(pitch.notes(world.exercise(number), world.RATE), world.TONIC, world.SCALES["major"])
        for number in range(5)
    ]
    assert np.mean(shares) < 0.75


def test_a_sweep_is_heard_at_its_pitch() -> None:
    rate = 22050
    for hertz in (196.0, 440.0, 1046.5):
        tone = sum(np.sin(2 * np.pi * hertz * part * np.arange(rate) / rate) / part for part in range(1, 5))
        [note] = pitch.notes(tone, rate)
        assert abs(12 * np.log2(note.pitch / hertz)) < 0.1
    silence = np.zeros(rate)
    assert pitch.notes(silence, rate) == []
    assert np.isnan(pitch.share_in_scale([], 220.0, (0,)))
    assert rhythm.cycle(silence, rate, 0.25) is None


def test_clicks_have_their_beat() -> None:
    rate = 8000
    wave = np.zeros(8 * rate)
    for second in np.arange(0, 8, 0.3):
        start = round(second * rate)
        wave[start : start + 200] = np.random.default_rng(0).standard_normal(200)
    assert abs(rhythm.beat_period(wave, rate) - 0.3) < 0.011
