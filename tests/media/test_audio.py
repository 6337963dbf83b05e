"""Recordings in and out: formats, rates, parts, damaged headers, bounded memory."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from suite.errors import InputError
from suite.media import audio

soundfile = pytest.importorskip("soundfile")


def tone(seconds: float, rate: int, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    wave = 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[None], channels, axis=0).astype(np.float32)


def loudest(wave: np.ndarray, rate: int) -> float:
    """Hz of the strongest part."""
    spectrum = np.abs(np.fft.rfft(wave[0] * np.hanning(wave.shape[1])))
    return float(spectrum.argmax() * rate / wave.shape[1])


@pytest.mark.parametrize("format", audio.FORMATS)
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_what_is_written_is_read_again(tmp_path: Path, format: str, rate: int, channels: int) -> None:
    path = tmp_path / f"tone.{format}"
    assert audio.write(path, tone(1.5, rate, channels=channels), rate) == 0
    info = audio.probe(path)
    assert (info.rate, info.channels) == (rate, channels)
    sound = audio.read(path)
    assert abs(sound.seconds - 1.5) < 0.08
    assert abs(info.seconds - sound.seconds) < 1e-3
    assert len(sound.wave) == channels
    assert abs(loudest(sound.wave, rate) - 440) < 2
    assert audio.encode(tone(0.2, rate), rate, format)


@pytest.mark.parametrize("format", audio.FORMATS)
def test_a_file_says_what_it_is(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"tagged.{format}"
    audio.write(path, tone(0.3, 16000), 16000, tags={"title": "Yaman kalyāṇ", "comment": "CC BY-NC", "artist": " "})
    tags = audio.probe(path).tags
    assert tags["title"] == "Yaman kalyāṇ"
    assert "artist" not in tags
    assert tags["comment"] == "CC BY-NC"


def test_a_tag_of_any_length_is_kept_as_far_as_there_is_room(tmp_path: Path) -> None:
    for format in audio.FORMATS:
        path = tmp_path / f"long.{format}"
        audio.write(path, tone(0.3, 16000), 16000, tags={"title": "waltz " * 2000})
        assert audio.probe(path).tags["title"].startswith("waltz waltz")


def test_a_container_that_libsndfile_does_not_know_is_read_by_ffmpeg(tmp_path: Path) -> None:
    import av

    path = tmp_path / "tone.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=22050, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(2.0, 22050), format="fltp", layout="mono")
        frame.sample_rate = 22050
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    sound = audio.read(path, rate=8000)
    assert sound.rate == 8000
    assert abs(sound.seconds - 2.0) < 0.1
    assert abs(loudest(sound.wave, 8000) - 440) < 2


def test_resampling_folds_nothing_back(tmp_path: Path) -> None:
    """15 kHz is above what 16,000 samples a second can hold; every second sample would give it at 1 kHz."""
    path = tmp_path / "high.wav"
    audio.write(path, tone(1.0, 32000, 15000), 32000)
    read = audio.read(path, rate=16000).wave
    assert read.shape[1] == 16000
    assert np.abs(read[:, 500:-500]).max() < 1e-3
    assert np.abs(audio.resample(tone(1.0, 32000, 15000), 32000, 16000)[:, 500:-500]).max() < 1e-3


def test_a_stream_equals_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 200_000)).astype(np.float32)
    audio.write(path, wave, 44100)
    whole = audio.read(path).wave
    assert np.abs(whole - wave).max() < 1e-4
    blocks = list(audio.stream(path, rate=16000, channels=1))
    assert len(blocks) > 2
    joined = np.concatenate(blocks, axis=1)
    once = audio.resample(whole.mean(0, keepdims=True), 44100, 16000)
    assert abs(joined.shape[1] - once.shape[1]) <= 1
    length = min(joined.shape[1], once.shape[1])
    assert np.abs(joined[:, :length] - once[:, :length]).max() < 1e-4


def test_a_part_is_that_part(tmp_path: Path) -> None:
    for name in ("a.wav", "a.mp3"):
        path = tmp_path / name
        audio.write(path, np.concatenate([tone(1, 16000, 300), tone(1, 16000, 1200), tone(1, 16000, 600)], 1), 16000)
        part = audio.read(path, start=1.2, end=1.8)
        assert abs(part.seconds - 0.6) < 1e-3
        assert abs(loudest(part.wave, 16000) - 1200) < 5
        with pytest.raises(InputError, match="holds no sample from 5 s on"):
            audio.read(path, start=5.0)
        with pytest.raises(InputError, match="no part of a recording"):
            audio.read(path, start=1.0, end=0.5)


@pytest.mark.parametrize("stated", [10, 10_000])
def test_an_mp3_with_a_wrong_length_in_its_header_is_read_to_its_end(tmp_path: Path, stated: int) -> None:
    path = tmp_path / "tone.mp3"
    audio.write(path, tone(3.0, 44100, channels=2), 44100)
    data = bytearray(path.read_bytes())
    mark = max(data.find(b"Xing"), data.find(b"Info"))
    data[mark + 8 : mark + 12] = struct.pack(">I", stated)
    path.write_bytes(data)
    assert abs(audio.read(path).seconds - 3.0) < 0.06
    assert abs(audio.probe(path).seconds - 3.0) < 0.06


def test_a_loud_wave_is_made_quieter_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    quieter = audio.write(path, 5 * tone(0.5, 8000), 8000)
    assert quieter == pytest.approx(20 * np.log10(2.0) + audio.HEADROOM, abs=0.1)
    assert np.abs(audio.read(path).wave).max() == pytest.approx(10 ** (-audio.HEADROOM / 20), abs=1e-3)


def test_an_mp3_of_a_rate_that_mp3_lacks_is_resampled(tmp_path: Path) -> None:
    audio.write(tmp_path / "odd.mp3", tone(1.0, 10000), 10000)
    assert audio.probe(tmp_path / "odd.mp3").rate == 11025


def broken(path: Path, kind: str) -> Path:
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "words":
        path.write_bytes(b"no sound at all " * 50)
    elif kind == "no samples":
        soundfile.write(path, np.zeros((0, 1)), 16000)
    elif kind in ("nan", "infinite"):
        wave = tone(1.0, 16000)[0]
        wave[9000] = np.nan if kind == "nan" else np.inf
        soundfile.write(path, wave, 16000, subtype="FLOAT")
    else:
        rate = {"rate 0": 0, "rate absurd": 4_000_000_000}[kind]
        soundfile.write(path, tone(0.5, 16000)[0], 16000)
        data = bytearray(path.read_bytes())
        data[24:28] = struct.pack("<I", rate)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "is empty"),
        ("words", "no recording that can be read"),
        ("no samples", "holds no sample"),
        ("nan", "no numbers"),
        ("infinite", "no numbers"),
        ("rate 0", "samples a second|can be read|holds no sample"),
        ("rate absurd", "samples a second|can be read|holds no sample"),
    ],
)
def test_what_is_no_recording_is_refused_in_a_line(tmp_path: Path, kind: str, said: str) -> None:
    path = broken(tmp_path / "bad.wav", kind)
    with pytest.raises(InputError, match=said) as refusal:
        audio.read(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_many_channels_are_not_mixed_by_guess(tmp_path: Path) -> None:
    path = tmp_path / "surround.wav"
    audio.write(path, tone(0.2, 48000, channels=6), 48000)
    assert len(audio.read(path).wave) == 6
    with pytest.raises(InputError, match="6 channels; mix it down"):
        audio.read(path, channels=1)


def test_names_that_are_nothing(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.wav", "does not exist"), (tmp_path, "is a folder"), ("a\0b.wav", "not exist")):
        with pytest.raises(InputError, match=said):
            audio.read(path)
    with pytest.raises(InputError, match="choose wav, flac, ogg, mp3"):
        audio.write(tmp_path / "a.xyz", tone(0.1, 8000), 8000)
    assert list(tmp_path.iterdir()) == []


def test_three_minutes_are_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 44100, 2) as file:
        for _ in range(18):
            file.write(tone(10, 44100, channels=2).T)
    tracemalloc.start()
    samples = sum(wave.shape[1] for wave in audio.stream(path, rate=16000, channels=1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == 180 * 16000
    assert peak < 8 * 2**20
