"""Cards of adapters and samples of a training."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from matplotlib.figure import Figure

from domains.music.demo import demo
from domains.music.model.manifest import WEIGHTS_LICENCE, Manifest
from domains.music.output.card import adapter_card
from domains.music.output.samples import Samples, write_samples
from domains.music.predict import MusicGenerator
from suite.errors import InputError
from suite.media import audio, spectrograms
from tests.music.made import FakeComposer


def test_a_card_names_both_licences_and_how_to_prompt() -> None:
    stated = Manifest(
        wording="Oud instruments, Nihavent makam", trained_on="clips.csv: 12 recordings, 3 hours",
        licences=(WEIGHTS_LICENCE, "CC BY-NC 4.0\n# of the recordings"),
    )  # fmt: skip
    card = adapter_card(stated, base="hf:facebook/musicgen-small@main", methods=["conv_adapter"], parameters=1234567)
    _, head, text = card.split("---\n", 2)
    assert yaml.safe_load(head)["base_model"] == "facebook/musicgen-small"
    assert yaml.safe_load(head)["license"] == "other"
    assert "CC-BY-NC 4.0" in text and "- CC BY-NC 4.0 # of the recordings" in text
    assert "'Oud instruments, Nihavent makam' --adapter" in text
    assert "1,234,567 numbers" in text and "12 recordings" in text
    bare = adapter_card(Manifest(), base=None, methods=["lora"], parameters=1)
    assert "None of the base" in bare
    assert "license: unknown" in bare  # nobody has given the recordings a licence


def test_the_demo_says_what_is_heard_and_what_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MusicGenerator, "from_pretrained", lambda *_: MusicGenerator(FakeComposer()))
    monkeypatch.setattr(spectrograms, "draw", lambda _: Figure())
    text = demo(tmp_path)["text"].splitlines()
    assert text[-1] == f"next     open {tmp_path / 'listen.html'}" and (tmp_path / "listen.html").is_file()
    assert text[-2].startswith("Of 8 ragas that nobody played before, trackers hear")


def test_samples_of_a_step_are_heard_and_seen(tmp_path: Path) -> None:
    composer = FakeComposer()
    samples = Samples.of({"every": 10, "prompts": ["a slow waltz", "a fast march"], "seconds": 0.5, "seed": 4})
    files = write_samples(composer, samples, tmp_path / "samples", 20)
    assert {"step_000020_1.wav", "step_000020_2.wav"} < {file.name for file in files}
    assert any(file.suffix == ".png" for file in files)
    assert composer.calls == [(["a slow waltz", "a fast march"], [4, 5], False)]
    assert audio.probe(files[0]).seconds == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"every": 0, "prompts": ["x"]}, "every is at least 1"),
        ({"steps": 3}, "unexpected keyword argument 'steps'"),
        ({"seconds": -1, "prompts": ["x"]}, "seconds is -1"),
        ({}, "prompts names one or more"),
    ],
)
def test_a_section_that_means_nothing(section: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Samples.of(section)
