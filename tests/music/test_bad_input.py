"""What users get wrong with recordings, captions and models, two ways and more of each, through the command.

Each is one line and exit code 2, and nothing half-written stays; what is no fault is done, and said.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.music.model.encoders import collate
from domains.music.official.whole import convert
from suite.errors import InputError
from suite.hub import paths
from suite.media import audio
from suite.media.report import Report
from tests.music.made import MBIDS, folder, tone
from tests.music.models import small_base
from tests.music.test_prepare import rows, told

soundfile = pytest.importorskip("soundfile")

Made = Callable[[Path], Path]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report's spectrograms, which cost a second each and are tested elsewhere."""
    monkeypatch.setattr("domains.music.data.prepare._page", lambda *_: Report("not drawn"))


def wave_with(value: float) -> Made:
    def make(home: Path) -> Path:
        samples = np.full(16000, 0.1)
        samples[5000] = value
        soundfile.write(home / "a.wav", samples, 8000, subtype="FLOAT")
        return home

    return make


def header_with(rate: int) -> Made:
    def make(home: Path) -> Path:
        path = tone(home / "a.wav", 0.5)
        data = bytearray(path.read_bytes())
        data[24:28] = struct.pack("<I", rate)
        path.write_bytes(data)
        return path

    return make


def bytes_of(content: bytes, name: str = "a.wav") -> Made:
    def make(home: Path) -> Path:
        (home / name).write_bytes(content)
        return home / name

    return make


def no_samples(home: Path) -> Path:
    soundfile.write(home / "a.wav", np.zeros((0, 1)), 8000)
    return home / "a.wav"


def channels(count: int) -> Made:
    return lambda home: tone(home / "a.wav", 0.5, channels=count)


def table(text: str) -> Made:
    def make(home: Path) -> Path:
        folder(home, 2)
        (home / "table.csv").write_text(text, encoding="utf-8")
        return home / "table.csv"

    return make


def manifest(*records: dict[str, object]) -> Made:
    def make(home: Path) -> Path:
        folder(home, 2)
        (home / "data.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
        return home / "data.jsonl"

    return make


def silent(level: float) -> Made:
    def make(home: Path) -> Path:
        audio.write(home / "a.wav", np.full((1, 16000), level, np.float32), 8000)
        return home

    return make


def on_two_sides(one: str, other: str) -> Made:
    def make(home: Path) -> Path:
        for start in (0, 30000):
            tone(home / f"Kar_{MBIDS[0]}_{start}.wav", 0.6)
        lines = [f"Kar_{MBIDS[0]}_{start}.wav,{side}" for start, side in ((0, one), (30000, other))]
        (home / "table.csv").write_text("path,split\n" + "\n".join(lines) + "\n", encoding="utf-8")
        return home / "table.csv"

    return make


REFUSED: list[tuple[str, Made, str]] = [
    ("unreadable: words", bytes_of(b"no sound " * 99), "no recording that can be read"),
    ("unreadable: a torn header", bytes_of(b"RIFF\0\0"), "no recording that can be read"),
    ("unreadable: a torn mp3", bytes_of(b"\xff\xfb", "a.mp3"), "no recording that can be read|holds no sound"),
    ("zero length: no bytes", bytes_of(b""), "is empty"),
    ("zero length: no samples", no_samples, "no clip is left|holds no sample"),
    ("no number: nan", wave_with(np.nan), "holds values that are no numbers"),
    ("no number: infinity", wave_with(np.inf), "holds values that are no numbers"),
    ("rate 0", header_with(0), "states 0 samples a second|can be read"),
    ("rate absurd: too low", header_with(3), "states 3 samples a second|can be read"),
    ("rate absurd: too high", header_with(2_000_000_000), "samples a second|can be read"),
    ("more than two channels: 3", channels(3), "3 channels; mix it down"),
    ("more than two channels: 6", channels(6), "6 channels; mix it down"),
    ("silent: zeros", silent(0.0), "no clip is left: .* silent"),
    ("silent: an offset alone", silent(0.3), "no clip is left: .* silent"),
    ("out of the folder: a table", table("path,text\n../../etc/passwd,x\n"), "leads out of"),
    ("out of the folder: an absolute path", table("path,text\n/etc/passwd,x\n"), "leads out of"),
    ("out of the folder: a manifest", manifest({"path": "../x.wav", "sample_rate": 8000}), "leads out of"),
    ("on two sides: train and test", on_two_sides("train", "test"), "is in the splits train and test"),
    ("on two sides: val and train", on_two_sides("val", "train"), "is in the splits val and train"),
    ("a table without a path", table("title,text\na,b\n"), "a column path"),
    ("a table of a name that is not there", table("path,text\nnone.wav,x\n"), "holds none of the 1 recordings"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "said"), [(make, said) for _, make, said in REFUSED], ids=[one[0] for one in REFUSED])
def test_prepare_refuses_in_a_line_and_leaves_nothing(tmp_path: Path, make: Made, said: str) -> None:
    (tmp_path / "in").mkdir()
    source = make(tmp_path / "in")
    code, _, err = told("prepare", source, "--out", tmp_path / "out", "--seconds", "1", "--rate", "8000")
    assert code == 2, err
    assert re.search(said, err), err
    assert len(err.strip().splitlines()) == 1, err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def prepared(tmp_path: Path, *words: str) -> tuple[str, list[dict[str, str]]]:
    code, out, err = told(
        "prepare", tmp_path / "in", "--out", tmp_path / "out", "--seconds", "1", "--rate", "8000", *words
    )
    assert code == 0, err
    return out, rows(tmp_path / "out")


@pytest.mark.parametrize("lengths", [(0.3, 0.4), (2.7, 1.6)])
def test_clips_shorter_than_the_others_are_kept_and_counted(tmp_path: Path, lengths: tuple[float, float]) -> None:
    for number, seconds in enumerate(lengths):
        tone(tmp_path / "in" / f"{number}.wav", seconds)
    out, found = prepared(tmp_path)
    assert "note: 2 clips are shorter than the others; training pads and masks them" in out
    assert sum(float(row["seconds"]) for row in found) == pytest.approx(sum(lengths), abs=1e-3)


@pytest.mark.parametrize("loudness", [1.5, 8.0])
def test_clipping_is_said(tmp_path: Path, loudness: float) -> None:
    folder(tmp_path / "in", 1)
    wave = np.clip(loudness * np.sin(np.arange(16000) / 5), -1, 1)
    soundfile.write(tmp_path / "in" / "loud.wav", wave, 8000)
    assert "clipped, peaks are cut off: loud.wav" in prepared(tmp_path)[0]


@pytest.mark.parametrize("rate", [8000, 44100])
def test_stereo_for_a_mono_model_is_mixed_down_and_said(tmp_path: Path, rate: int) -> None:
    tone(tmp_path / "in" / "a.wav", 1.0, rate=rate, channels=2)
    out, found = prepared(tmp_path)
    assert "1 stereo recording is mixed down to one channel" in out
    assert audio.probe(tmp_path / "out" / found[0]["path"]).channels == 1


@pytest.mark.parametrize("stated", [3, 60_000])
def test_an_mp3_with_a_wrong_length_is_cut_to_its_end(tmp_path: Path, stated: int) -> None:
    path = tone(tmp_path / "in" / "a.mp3", 3.0, rate=16000)
    data = bytearray(path.read_bytes())
    mark = max(data.find(b"Xing"), data.find(b"Info"))
    data[mark + 8 : mark + 12] = struct.pack(">I", stated)
    path.write_bytes(data)
    _, found = prepared(tmp_path)
    assert sum(float(row["seconds"]) for row in found) == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("caption", [None, "", " \n"])
def test_a_missing_caption_is_unconditional_and_said(tmp_path: Path, caption: str | None) -> None:
    path = tone(tmp_path / "in" / "a.wav", 1.0)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    out, found = prepared(tmp_path)
    assert "1 clip has no caption, for what is made without a prompt alone" in out
    assert found[0]["text"] == ""


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("raga\na.wav,Yamn kalyan", "unknown raga: Yamn kalyan (near Yaman kalyāṇ)"),
        ("makam\na.wav,Nothing", "unknown makam: Nothing"),
    ],
)
def test_unknown_names_are_said(tmp_path: Path, row: str, said: str) -> None:
    tone(tmp_path / "in" / "a.wav", 1.0)
    (tmp_path / "in" / "metadata.csv").write_text(f"path,{row}\n", encoding="utf-8")
    assert f"note: {said}" in prepared(tmp_path)[0]


# Training


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_base(tmp_path_factory.mktemp("bad") / "base")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda home: tone(home / "blip.wav", 0.02).parent, "blip.wav: 160 samples from 0 s on are fewer than the 320"),
        (
            lambda home: tone(home / "blip.wav", 0.035).parent,
            "blip.wav: 280 samples from 0 s on are fewer than the 320",
        ),
        (channels(4), "4 channels; mix it down"),
        (wave_with(np.nan), "holds values that are no numbers"),
        (silent(0.0), "no clip in which anything is to be heard"),
        (lambda home: home, "holds no recording"),
        (on_two_sides("train", "test"), "is in the splits train and test"),
    ],
)
def test_training_refuses_in_a_line(base: Path, tmp_path: Path, make: Made, said: str) -> None:
    (tmp_path / "in").mkdir()
    source = make(tmp_path / "in")
    words = (
        "train",
        "--config",
        "configs/music/tiny.yaml",
        "--base",
        base,
        "--data.train",
        f"{source}",
        "--data.val",
        "null",
    )
    run = ("--run-dir", tmp_path / "run", "--trainer.monitor", "null", "--data.seconds", "1")
    code, _, err = told(*words, *run)
    assert code == 2, err
    assert said in err
    assert sum(line.startswith("error") for line in err.splitlines()) == 1
    assert not list((tmp_path / "run").rglob("adapter_model.safetensors"))


def test_the_same_recordings_are_not_trained_and_validated_on(base: Path, tmp_path: Path) -> None:
    folder(tmp_path / "in", 3)
    for val in (str(tmp_path / "in"), f"{tmp_path / 'in'}:train"):
        words = ("train", "--config", "configs/music/tiny.yaml", "--base", base, "--run-dir", tmp_path / "run")
        code, _, err = told(*words, "--data.train", f"{tmp_path / 'in'}:train", "--data.val", val)
        assert code == 2 and "must not be trained on" in err, err


# Prompts, codes and models


@pytest.mark.parametrize("in_a_file", [False, True])
def test_a_prompt_that_is_longer_than_t5_reads_is_refused(tmp_path: Path, in_a_file: bool) -> None:
    prompt = "a slow raga " * 200
    if in_a_file:
        (tmp_path / "prompts.txt").write_text(f"{prompt}\n", encoding="utf-8")
    source = tmp_path / "prompts.txt" if in_a_file else prompt
    code, _, err = told("predict", source, "--seconds", "0.5", "--out", tmp_path / "out")
    assert code == 2, err
    [line] = [line for line in err.splitlines() if "tokens long" in line]
    assert "the text encoder reads 512" in line and len(line) < 400
    assert not list((tmp_path / "out").glob("*.wav"))


@pytest.mark.parametrize("code", [-1, 512])
def test_codes_that_no_codebook_has_are_refused(code: int) -> None:
    states = {"text": torch.zeros(1, 4), "text_mask": torch.ones(1, dtype=torch.long)}
    good, bad = ({"codes": torch.tensor([[0, 511], [3, number]]), **states} for number in (511, code))
    assert collate([good], 512)["codes"].shape == (1, 2, 2)
    with pytest.raises(InputError, match=r"outside 0 to 511; they are another codec's: empty data\.cache"):
        collate([good, bad], 512)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"codebooks": 4}, "this adapter is for 4 codebooks, the model has 2"),
        ({"codebooks": 8}, "this adapter is for 8 codebooks, the model has 2 (stereo)"),
        ({"width": 1536}, "this adapter is for a model of width 1536, the base's is 128"),
        ({"width": 1024}, "this adapter is for a model of width 1024, the base's is 128"),
        ({"family": "melody"}, "the adapter states family 'melody', not musicgen or mustango"),
        ({"codebooks": "two"}, "codebooks"),
    ],
)
def test_an_adapter_of_another_model_is_refused(tmp_path: Path, stated: dict[str, object], said: str) -> None:
    home = shutil.copytree(paths.assets() / "checkpoints" / "tiny" / "music" / "adapter", tmp_path / "adapter")
    manifest = json.loads((home / "suite.json").read_text(encoding="utf-8"))
    manifest["domain"].update(stated)
    (home / "suite.json").write_text(json.dumps(manifest), encoding="utf-8")
    code, _, err = told("predict", "a raga", "--adapter", home, "--out", tmp_path / "out")
    assert code == 2 and said in err, err
    assert len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "out").exists()


class Harm:
    """What a pickle runs when it is read."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("the pickle was run",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kept_by", ["torch", "pickle"])
def test_pickled_weights_are_not_run(tmp_path: Path, kept_by: str) -> None:
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "state_dict.bin").open("wb") as file:
        (torch.save if kept_by == "torch" else pickle.dump)({"best_state": Harm(), "xp.cfg": ""}, file)
    with pytest.raises(InputError, match=r"state_dict.bin") as raised:
        convert(tmp_path / "in", out=tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
