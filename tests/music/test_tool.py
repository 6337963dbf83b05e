"""The command and the Python class on a whole small MusicGen: lengths, rates, continuation, memory, bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from domains.music.data.datamodule import MusicData
from domains.music.predict import MusicGenerator
from domains.music.recipe.musicgen import MusicGenRecipe
from suite import training
from suite.media import audio
from suite.training import TrainerConfig
from tests.music.made import tone
from tests.music.models import small_base
from tests.music.test_prepare import told

WORDS = "a slow waltz in minor for flute"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of an adapter of two steps and of its base."""
    home = tmp_path_factory.mktemp("tool")
    base = small_base(home / "base")
    recipe = MusicGenRecipe(base=str(base), adapter={"preset": "lora", "r": 2})
    data = MusicData("world:train:4:raga", None, seconds=1.0, batch_size=2)
    config = TrainerConfig(max_epochs=-1, max_steps=2, lr=1e-2, scheduler="constant", limit_val_batches=0)
    return training.fit(recipe, data, config, folder=home / "run").adapter, base


@pytest.fixture(scope="module")
def generator(model: tuple[Path, Path]) -> MusicGenerator:
    return MusicGenerator.from_pretrained(str(model[0]), str(model[1]), "cpu")


def options(model: tuple[Path, Path], out: Path, *words: str | Path) -> tuple[str | Path, ...]:
    return ("predict", *words, "--adapter", model[0], "--base", model[1], "--out", out)


@pytest.mark.parametrize("format", ["wav", "mp3"])
def test_a_file_is_as_long_as_asked_at_the_model_s_rate(model: tuple[Path, Path], tmp_path: Path, format: str) -> None:
    code, out, err = told(*options(model, tmp_path, WORDS), "--seconds", "1.27", "--format", format, "--no-pictures")
    assert code == 0, err
    info = audio.probe(tmp_path / f"{WORDS.replace(' ', '_')}.{format}")
    assert (info.rate, round(info.seconds * info.rate)) == (8000, round(1.27 * 8000))
    assert "open" in out and "listen.html" in out


def test_the_frozen_base_and_the_adapter_differ_from_one_seed_on(generator: MusicGenerator) -> None:
    result = generator(WORDS, seconds=1.0, before=True, seed=3)
    adapted, frozen = result.takes
    assert (adapted.seed, frozen.seed) == (3, 3)
    assert not np.array_equal(adapted.wave, frozen.wave)
    again = generator(WORDS, seconds=1.0, before=True, seed=3)
    assert [take.digest for take in again.takes] == [take.digest for take in result.takes]


def test_a_recording_of_another_rate_is_gone_on_from(generator: MusicGenerator, tmp_path: Path) -> None:
    begun = tone(tmp_path / "begun.ogg", 1.5, rate=44100, channels=2)
    whole = generator(WORDS, seconds=2.0, continue_from=begun)
    assert whole.wave.shape == (1, 16000)
    assert whole.continued == pytest.approx(1.5, abs=1e-3)
    rest = generator(WORDS, seconds=2.0, continue_from=begun, keep_prompt=False)
    assert rest.wave.shape == (1, 4000)
    np.testing.assert_array_equal(rest.wave, whole.wave[:, 12000:])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "does not exist"),
        ("words", "no recording that can be read"),
        ("longer", "the prompt is longer than the audio to generate"),
        ("shorter than a frame", "a frame has 320"),
        ("six channels", "6 channels"),
    ],
)
def test_a_recording_that_cannot_be_gone_on_from(
    model: tuple[Path, Path], tmp_path: Path, kind: str, said: str
) -> None:
    path = tmp_path / "begun.wav"
    if kind == "words":
        path.write_text("no sound", encoding="utf-8")
    elif kind != "missing":
        seconds = {"longer": 2.0, "shorter than a frame": 0.01, "six channels": 0.5}[kind]
        tone(path, seconds, channels=6 if kind == "six channels" else 1)
    words = ("--continue-from", path, "--seconds", "1")
    code, _, err = told(*options(model, tmp_path / "out", WORDS), *words)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1, err
    assert not list(tmp_path.glob("out/*.wav"))


def test_bad_prompts_do_not_stop_good_ones(model: tuple[Path, Path], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    lines = [
        f'{{"captions": "{WORDS}"}}',
        '{"captions": 3}',
        '{"captions": "' + "waltz " * 600 + '"}',
        '{"captions": ""}',
    ]
    prompts.write_text("\n".join(lines), encoding="utf-8")
    code, out, err = told(*options(model, tmp_path / "out", prompts), "--seconds", "0.3", "--no-pictures")
    assert code == 2, err
    assert "2 done, 2 failed" in out
    assert "prompts.jsonl:2: holds no prompt" in err
    assert "601 tokens long; the text encoder reads 512" in err
    assert {path.name for path in (tmp_path / "out").glob("*.wav")} == {
        f"{WORDS.replace(' ', '_')}.wav", "unconditional.wav",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seconds", "0"), "seconds is 0"),
        (("--format", "midi"), "midi"),
        (("--top-p", "2"), "top_p is 2"),
        (("--beside", "/nowhere"), "no such file or folder"),
        (("--adapter", "/nowhere"), "/nowhere"),
    ],
)
def test_options_that_mean_nothing_are_one_line(
    model: tuple[Path, Path], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    code, _, err = told(*options(model, tmp_path / "out", WORDS), *words)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_three_minutes_are_made_in_the_memory_of_one_window(model: tuple[Path, Path]) -> None:
    """Windows of 200 frames; the process's peak after 180 seconds beside that after 16."""
    script = (
        "import resource, sys\n"
        "from domains.music.predict import MusicGenerator\n"
        "generator = MusicGenerator.from_pretrained(sys.argv[1], sys.argv[2], 'cpu')\n"
        "for seconds in (16.0, 180.0):\n"
        "    wave = generator('a slow waltz', seconds=seconds, guidance=1.0).wave\n"
        "    assert wave.shape == (1, round(8000 * seconds)), wave.shape\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *map(str, model)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    short, long = (int(line) for line in done.stdout.split())
    assert long - short < 64 * 1024  # kilobytes
