"""The recipe: what trains and what does not, exact resume, on recordings as users have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from domains.music.data.datamodule import MusicData
from domains.music.inference.loaded import MusicGenComposer
from domains.music.model import attachments
from domains.music.model.manifest import Manifest
from domains.music.recipe.musicgen import MusicGenRecipe
from domains.music.recipe.mustango import MustangoRecipe
from domains.music.tiny import networks
from domains.music.types import MusicQuery
from suite import adapters, training
from suite.adapters.section import AdapterSection
from suite.cli.merging import merge
from suite.errors import InputError
from suite.files import read_json
from suite.media import audio
from suite.training import TrainerConfig
from tests.adapters.cases import randomise
from tests.music.models import small_base
from tests.real_data import real_data

KINDS: dict[str, dict[str, Any]] = {
    "linear": {"preset": "linear", "bottleneck_size": 8},
    "conv": {"preset": "conv", "bottleneck_size": 8},
    "transformer": {
        "preset": "transformer",
        "bottleneck_size": 8,
        "placement": ["encoder", "decoder_out", "per_layer"],
    },
    "lora": {"preset": "lora", "r": 4},
    "krona": {"preset": "krona", "a1": 8, "a2": 8},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_base(tmp_path_factory.mktemp("base"))


def train(base: Path, kind: str, folder: Path, steps: int, source: str, resume: bool = False) -> training.Run:
    recipe = MusicGenRecipe(base=str(base), adapter=KINDS[kind])
    data = MusicData(source, None, seconds=1.0, batch_size=2, cache=str(base.parent / "cache"))
    config = TrainerConfig(
        max_epochs=-1, max_steps=steps, lr=1e-3, scheduler="constant", checkpoint_every=5, limit_val_batches=0
    )
    if resume:
        return training.fit(recipe, data, config, resume=folder)
    return training.fit(recipe, data, config, folder=folder)


@pytest.mark.parametrize("kind", [MusicGenRecipe, MustangoRecipe])
def test_recordings_that_are_not_there_are_known_before_a_base_is_loaded(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mine: no such file or folder"):
        kind(base=str(tmp_path / "absent")).bind(MusicData(str(tmp_path / "mine"), None))


@pytest.mark.parametrize(
    "kind", ["conv", *(pytest.param(one, marks=pytest.mark.slow) for one in KINDS if one != "conv")]
)
def test_real_recordings_train_and_resume_to_the_bit(kind: str, base: Path, tmp_path: Path) -> None:
    recordings = real_data("audio")
    whole = train(base, kind, tmp_path / "whole", 20, str(recordings))
    train(base, kind, tmp_path / "parts", 10, str(recordings))
    parts = train(base, kind, tmp_path / "parts", 20, str(recordings), resume=True)
    weights = [path.relative_to(whole.adapter) for path in sorted(whole.adapter.rglob("*.safetensors"))]
    assert weights
    for name in weights:
        assert (whole.adapter / name).read_bytes() == (parts.adapter / name).read_bytes()
    stated = Manifest.from_dict(read_json(whole.adapter / "suite.json")["domain"], whole.adapter)
    assert (stated.codebooks, stated.rate) == (networks.CODEBOOKS, 8000)
    card = (whole.adapter / "README.md").read_text(encoding="utf-8")
    assert "CC-BY-NC 4.0" in card and "see LICENSES.txt beside the recordings" in card

    # What it makes is as long as asked for, at the model's rate, also in the file.
    composer = MusicGenComposer(base, stated, base=str(base))
    composer.model = adapters.load(composer.model, whole.adapter).eval()
    [wave] = composer.compose(["a piano"], MusicQuery(seconds=1.3), seeds=[0])
    assert wave.shape == (1, 10400)
    [frozen] = composer.compose(["a piano"], MusicQuery(seconds=1.3), seeds=[0], frozen=True)
    assert not np.array_equal(wave, frozen)
    audio.write(tmp_path / "made.wav", wave, composer.rate)
    written = audio.probe(tmp_path / "made.wav")
    assert (written.rate, round(written.seconds * written.rate)) == (8000, 10400)


def test_the_published_waveform_adapter_is_played_and_not_trained(base: Path, tmp_path: Path) -> None:
    composer = MusicGenComposer(base, Manifest(), base=str(base))
    query = MusicQuery(seconds=0.5)
    [bare] = composer.compose(["a march"], query, seeds=[1])
    section = AdapterSection.of({"preset": "waveform", "bottleneck_size": 4}, attachments.PRESETS)
    composer.model = attachments.attach_section(composer.model, section).eval()
    [(_, layer)] = adapters.layers(composer.model, "linear_adapter")
    [same] = composer.compose(["a march"], query, seeds=[1])
    assert same.shape == bare.shape == (1, 4000)
    tone = torch.sin(torch.arange(4000) * 0.3)[None]
    back = composer.through_waveform(tone)  # resampled there and back
    torch.testing.assert_close(back[:, 100:-100], tone[:, 100:-100], atol=1e-3, rtol=0)
    torch.nn.init.ones_(layer.tensor("branch", "default").blocks[0].up.bias)
    [moved] = composer.compose(["a march"], query, seeds=[1])
    np.testing.assert_allclose(moved[:, 500:-500], same[:, 500:-500] + 1, atol=1e-3)
    [frozen] = composer.compose(["a march"], query, seeds=[1], frozen=True)
    np.testing.assert_array_equal(frozen, bare)

    recipe = MusicGenRecipe(base=str(base), adapter={"preset": "waveform"})
    with pytest.raises(InputError, match="not in the way of the tokens"):
        recipe.compute({})


def test_pieces_on_the_way_change_nothing_of_the_training(base: Path, tmp_path: Path) -> None:
    found = {}
    for name, samples in (("bare", None), ("shown", {"every": 2, "prompts": ["a march", ""], "seconds": 0.4})):
        recipe = MusicGenRecipe(base=str(base), adapter=KINDS["conv"], samples=samples)
        data = MusicData("world:train:4:raga", None, seconds=0.6, batch_size=1)
        config = TrainerConfig(max_epochs=-1, max_steps=4, lr=1e-3, limit_val_batches=0)
        run = training.fit(recipe, data, config, folder=tmp_path / name)
        found[name] = next(run.adapter.rglob("*.safetensors")).read_bytes()
    assert found["bare"] == found["shown"]
    names = {path.name for path in (tmp_path / "shown" / "samples").iterdir()}
    steps = ("000000", "000002", "000004")
    assert names == {f"step_{step}{end}" for step in steps for end in ("_1.wav", "_2.wav", ".png")}
    assert audio.probe(tmp_path / "shown" / "samples" / "step_000004_1.wav").rate == 8000
    with pytest.raises(InputError, match="prompts names one or more"):
        MusicGenRecipe(samples={"every": 2})


def test_lora_folds_into_a_base_that_plays_the_same_and_the_others_refuse(base: Path, tmp_path: Path) -> None:
    for kind in ("lora", "conv"):
        recipe = MusicGenRecipe(base=str(base), adapter=KINDS[kind])
        recipe.model = recipe.build()
        randomise(recipe.model, scale=0.05)
        recipe.save_adapter(tmp_path / kind)
    merge(str(tmp_path / "lora"), tmp_path / "merged", name=None, domain="music", base=str(base))
    adapted = MusicGenComposer(base, Manifest(), base=str(base))
    adapted.model = adapters.load(adapted.model, tmp_path / "lora").eval()
    merged = MusicGenComposer(tmp_path / "merged", Manifest(), base=str(tmp_path / "merged"))
    query = MusicQuery(seconds=0.5, temperature=0)
    waves = [composer.compose(["a slow march"], query, seeds=[0])[0] for composer in (adapted, merged)]
    np.testing.assert_allclose(waves[1], waves[0], atol=1e-4)
    assert not np.array_equal(waves[0], adapted.compose(["a slow march"], query, seeds=[0], frozen=True)[0])
    with pytest.raises(InputError, match=r"conv_adapter .*cannot be merged"):
        merge(str(tmp_path / "conv"), tmp_path / "never", name=None, domain="music", base=str(base))
