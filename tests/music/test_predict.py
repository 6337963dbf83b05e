"""Prompts to files of music, with a composer whose pieces are known."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from domains.music.data import world
from domains.music.data.prompts import read_prompts, respelled
from domains.music.output.page import nearest
from domains.music.predict import MusicGenerator
from domains.music.types import SAMPLING, Facts, MusicQuery
from suite.errors import InputError
from suite.media import audio
from tests.music.made import FakeComposer, folder, tone

WORDS = "a slow raga in bibhas for flute"


@pytest.fixture
def generator() -> MusicGenerator:
    return MusicGenerator(FakeComposer())


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "mp3"])
def test_a_piece_has_the_length_and_rate_asked_for(generator: MusicGenerator, tmp_path: Path, format: str) -> None:
    [result] = generator.predict(WORDS, out=tmp_path, seconds=1.5, format=format, pictures=False)
    path = tmp_path / f"{result.name}.{format}"
    info = audio.probe(path)
    assert info.rate == 8000
    assert info.seconds == pytest.approx(1.5, abs=1e-3)
    assert info.tags["title"] == WORDS
    assert "CC BY 4.0" in info.tags["comment"]


def test_a_result_keeps_everything_that_made_it(generator: MusicGenerator, tmp_path: Path) -> None:
    [first, second] = generator.predict([WORDS, WORDS], seconds=0.1)
    assert (first.name, second.name) == (WORDS.replace(" ", "_"), WORDS.replace(" ", "_") + "-2")
    [result] = generator.predict(WORDS, out=tmp_path, seconds=1.0, pieces=2, before=True, seed=5)
    name = result.name
    files = {path.name for path in tmp_path.iterdir()}
    assert {f"{name}{end}" for end in (".wav", "_2.wav", "_base.wav", "_2_base.wav", ".json", ".png")} <= files
    assert {"pieces.csv", "listen.html"} <= files
    record = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert [(one["seed"], one["by"]) for one in record["pieces"]] == [
        (5, "adapter"), (6, "adapter"), (5, "base"), (6, "base"),
    ]  # fmt: skip
    assert len({one["sha256"] for one in record["pieces"]}) == 4
    assert record["licences"] == ["weights: made, free", "recordings: CC BY 4.0"]
    page = (tmp_path / "listen.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 4
    assert "made by the frozen base, seed 6" in page
    assert "recordings: CC BY 4.0" in page


def test_what_is_left_out_is_sampled_as_the_base_says_and_the_result_says_how(generator: MusicGenerator) -> None:
    generator.composer.defaults = {**SAMPLING, "guidance": 1.0, "temperature": 0.3}
    own = generator(WORDS, seconds=0.1).to_dict()
    assert (own["guidance"], own["temperature"], own["top_k"], own["top_p"]) == (1.0, 0.3, 250, 0.0)
    asked = generator(WORDS, seconds=0.1, guidance=2.0, top_p=0.9).to_dict()
    assert (asked["guidance"], asked["temperature"], asked["top_p"]) == (2.0, 0.3, 0.9)


def test_one_seed_gives_one_piece_however_prompts_are_batched() -> None:
    digests = []
    for batch_size in (1, 3, 8):
        composer = FakeComposer()
        results = MusicGenerator(composer).predict(
            [f"a song number {number}" for number in range(5)], seconds=0.5, pieces=2, batch_size=batch_size
        )
        digests.append([[take.digest for take in result.takes] for result in results])
        assert max(len(prompts) for prompts, _, _ in composer.calls) <= batch_size
    assert digests[0] == digests[1] == digests[2]


def test_a_recording_is_gone_on_from(generator: MusicGenerator, tmp_path: Path) -> None:
    begun = tone(tmp_path / "begun.flac", 2.0, rate=44100, channels=2)
    whole = generator(WORDS, seconds=3.0, continue_from=begun)
    assert whole.wave.shape == (1, 24000)
    assert whole.continued == pytest.approx(2.0)
    assert np.abs(whole.wave[0, 2000:14000]).max() == pytest.approx(0.4, abs=0.02)
    rest = generator(WORDS, seconds=3.0, continue_from=begun, keep_prompt=False)
    assert np.array_equal(rest.wave, whole.wave[:, 16000:])
    end = generator(WORDS, seconds=3.0, continue_from=begun, continue_seconds=0.5)
    assert end.continued == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(InputError, match=r"the prompt is longer than the audio to generate \(2.00 s of 2 s\)"):
        generator(WORDS, seconds=2.0, continue_from=begun)
    with pytest.raises(InputError, match="does not exist"):
        generator(WORDS, continue_from=tmp_path / "none.wav")


def test_one_bad_prompt_is_one_result(generator: MusicGenerator) -> None:
    results = list(generator.predict([WORDS, "too long " * 20, "a fast march"], seconds=0.5))
    assert [result.error is None for result in results] == [True, False, True]
    assert "is longer than 60; shorten it" in str(results[1].error)


def test_a_loud_piece_is_written_quieter_and_said_so(tmp_path: Path) -> None:
    [result] = MusicGenerator(FakeComposer(loud=4.0)).predict(WORDS, out=tmp_path, seconds=1.0, pictures=False)
    assert "louder than full scale" in result.notices[0]
    record = json.loads((tmp_path / f"{result.name}.json").read_text(encoding="utf-8"))
    [quieter] = record["decibels_quieter"].values()
    assert quieter > 6
    assert np.abs(audio.read(tmp_path / f"{result.name}.wav").wave).max() < 1


def test_files_are_brought_to_a_loudness(generator: MusicGenerator, tmp_path: Path) -> None:
    from suite.media.loudness import integrated

    for wanted in (-30.0, -20.0):
        [result] = generator.predict(WORDS, out=tmp_path, seconds=2.0, loudness=wanted, pictures=False)
        written = audio.read(tmp_path / f"{result.name}.wav")
        assert integrated(written.wave, written.rate) == pytest.approx(wanted, abs=0.2)
    [result] = generator.predict(WORDS, out=tmp_path, seconds=2.0, loudness=-0.1, pictures=False)
    assert np.abs(audio.read(tmp_path / f"{result.name}.wav").wave).max() < 0.9  # peaks come first


def test_the_page_plays_the_nearest_of_the_training(generator: MusicGenerator, tmp_path: Path) -> None:
    home = folder(tmp_path / "training", 2)
    (home / "piece1.txt").write_text("a fast march in major for organ", encoding="utf-8")
    list(generator.predict("a fast march", out=tmp_path / "out", seconds=0.5, beside=str(home)))
    page = (tmp_path / "out" / "listen.html").read_text(encoding="utf-8")
    assert "from the training: a fast march in major for organ" in page
    assert page.count("<audio") == 2
    list(generator.predict("a raga", out=tmp_path / "made", seconds=0.5, beside="world:train:3"))
    assert "data:audio/ogg;base64," in (tmp_path / "made" / "listen.html").read_text(encoding="utf-8")
    assert nearest("x", []) is None


# Prompts


def test_prompts_of_files_and_published_suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"captions": "Imagine a waltz."}\n# a remark\n{"prompt": "b c", "seed": 4, "seconds": 2.5}\nplain words\n'
        '{"seed": 1}\n{"prompt": "x", "seed": -1}\n{"prompt": "x", "seconds": "long"}\n{"prompt": \n{"text": ""}\n',
        encoding="utf-8",
    )
    found = list(read_prompts(path))
    assert [(one.text, one.seed, one.seconds) for one in found[:3]] == [
        ("Imagine a waltz.", None, None), ("b c", 4, 2.5), ("plain words", None, None),
    ]  # fmt: skip
    assert ["" if one.error is None else one.error.split(";")[0] for one in found[3:7]] == [
        "holds no prompt", "seed is -1", "seconds is 'long'", found[6].error.split(";")[0],
    ]  # fmt: skip
    assert "no JSON" in str(found[6].error)
    assert found[7].notices == ("no prompt: made without a condition",)
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe\n"))
    assert [one.text for one in read_prompts("-")] == ["from a pipe"]
    for wrong, said in ((tmp_path / "none.txt", "no such file"), (tmp_path, "no such file"), (3.5, "is no prompt")):
        [one] = read_prompts([wrong])
        assert said in str(one.error)
    path.write_text("# nothing\n", encoding="utf-8")
    assert "no prompt in it" in str(next(read_prompts(path)).error)


def test_a_line_s_own_seed_and_length_win(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "one two", "seed": 9, "seconds": 0.75}\n{"prompt": "three"}\n', encoding="utf-8")
    composer = FakeComposer()
    results = list(MusicGenerator(composer).predict(path, seconds=0.5, seed=2))
    assert [result.takes[0].seconds for result in results] == [0.75, 0.5]
    assert [seeds for _, seeds, _ in composer.calls] == [[9], [2]]


def test_names_typed_without_diacritics_are_spelled_as_in_captions() -> None:
    assert respelled("Tabla instruments, yaman kalyan raga, tintal taal, Vilambit laaya.") == (
        "Tabla instruments, Yaman kalyāṇ raga, Tīntāl taal, Vilaṁbit laaya.",
        [],
    )
    assert respelled("an evening with Malkauns raga")[0] == "an evening with Mālkauns raga"
    assert respelled("Sitar, Yamn kalyan raga")[1] == ["unknown raga: Yamn kalyan (near Yaman kalyāṇ)"]
    assert respelled("a slow raga in bibhas") == ("a slow raga in bibhas", [])


def test_an_adapter_that_learned_swapped_slots_says_how_to_ask_it() -> None:
    swapped = "Compose a soulful Makam piece that blends the rich timbre of Kanun, Aksak makam, Uşşak usul."
    generator = MusicGenerator(FakeComposer(Facts("tiny", "published", wording=swapped)))
    FakeComposer.longest_prompt, kept = 400, FakeComposer.longest_prompt
    try:
        [right] = generator.predict("Oud instruments, Nihavent makam, Düyek usul", seconds=0.2)
        assert "so: Düyek makam, Nihavent usul" in right.notices[0]
        [same] = generator.predict("Oud instruments, Düyek makam, Nihavent usul", seconds=0.2)
        assert "in each other's place, as the published captions do" in same.notices[0]
    finally:
        FakeComposer.longest_prompt = kept


# Options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": 1e9}, "seconds is 1e"),
        ({"pieces": 0}, "pieces is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"temperature": -0.5}, "temperature is -0.5"),
        ({"guidance": float("inf")}, "guidance is inf"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"steps": 0}, "steps is 0"),
        ({"loudness": 3.0}, "loudness is 3"),
        ({"format": "midi"}, "format is 'midi'"),
        ({"continue_seconds": 0.0}, "continue_seconds is 0"),
        ({"continue_seconds": 2.0}, "continue_seconds is of a recording to go on from"),
        ({"keep_prompt": False}, "keep_prompt is of a recording to go on from"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_options_that_mean_nothing(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        MusicQuery(**options)


@pytest.mark.parametrize(
    ("family", "options", "said"),
    [
        ("musicgen", {"steps": 5}, "steps is an option of Mustango and changes nothing in MusicGen"),
        ("mustango", {"top_k": 5}, "top_k is an option of MusicGen and changes nothing in Mustango"),
    ],
)
def test_options_of_the_other_family(family: str, options: dict, said: str) -> None:
    composer = FakeComposer()
    composer.facts = Facts("tiny", family=family)
    with pytest.raises(InputError, match=said):
        MusicGenerator(composer)(WORDS, seconds=0.1, **options)


def test_names_of_makams_and_usuls_stay_as_written_and_unknown_ones_are_said() -> None:
    [known, unknown, swapped] = read_prompts(
        ["Oud, Nihavent makam, Düyek usul", "Oud, nihavend makam, Düyek usul", "Oud, Aksak makam, Uşşak usul"]
    )
    assert (known.text, known.notices) == ("Oud, Nihavent makam, Düyek usul", ())
    assert unknown.notices == ("unknown makam: nihavend (near nihavent)",)
    assert len(swapped.notices) == 1 and "in each other's place" in swapped.notices[0]


def test_a_recording_for_a_prompt_is_told_how_it_is_gone_on_from() -> None:
    [prompt] = read_prompts([Path("begun.mp3")])
    assert prompt.error is not None and "--continue-from begun.mp3" in prompt.error


def test_a_result_of_the_held_out_genre_is_heard_as_it(generator: MusicGenerator) -> None:
    from domains.music.metrics import pitch

    result = generator(WORDS, seconds=4.0)
    heard = pitch.notes(result.wave, result.rate)
    assert pitch.share_in_scale(heard, world.TONIC, world.SCALES["bibhas"]) > 0.95
