"""Wrong input at the command: one line that says what, where and what to do, exit code 2, nothing half-written.

This file is item 9 of the acceptance list.
"""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from domains.personalized_diffusion.data import photos, world
from domains.personalized_diffusion.inference.compatibility import settings_of
from domains.personalized_diffusion.model import bases as pipelines
from domains.personalized_diffusion.model.manifest import Stated
from domains.personalized_diffusion.tiny import networks as small
from suite import adapters, hub
from suite.cli.main import main
from suite.errors import InputError
from tests.personalized_diffusion.made import write_adapter

DOMAIN = "personalized_diffusion"
PROMPT = "a photo of sks robot"


@dataclass(frozen=True)
class Said:
    """Exit code and streams of one call."""

    code: int
    out: str
    err: str

    def refused(self, *words: str) -> str:
        """The one line that refuses, which holds every one of `words`."""
        assert self.code == 2, (self.out, self.err)
        assert "Traceback" not in self.err
        [line] = [line for line in self.err.splitlines() if line.startswith("error: ")]
        for word in words:
            assert word in line, line
        return line


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch):
    """Loading the same base again and again is most of what these tests would do."""
    monkeypatch.setattr(pipelines, "load", lambda *words: copy.deepcopy(_load(*map(str, words))))


@cache
def _load(base: str, *where: str, load=pipelines.load) -> pipelines.Base:
    return load(base, torch.float32, "cpu")


@pytest.fixture
def command(capsys):
    def call(*argv: Any) -> Said:
        code = main([DOMAIN, *map(str, argv)])
        streams = capsys.readouterr()
        return Said(code, streams.out, streams.err)

    return call


@pytest.fixture(scope="module")
def adapter(random_base, tmp_path_factory) -> Path:
    """KronA on the random base, its factors filled."""
    return write_adapter(random_base, tmp_path_factory.mktemp("adapter") / "krona")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two good photos."""
    home = tmp_path / "photos"
    home.mkdir()
    for name, colour in (("a.png", "red"), ("b.jpg", "blue")):
        Image.new("RGB", (80, 70), colour).save(home / name)
    return home


@pytest.fixture
def train(command, random_base, tmp_path):
    """Train one step on the random base with settings of the configuration changed."""

    def call(photos: Path, *words: str, adapter: Any = None, **recipe: Any) -> Said:
        config = {
            "domain": DOMAIN,
            "base": str(random_base),
            "recipe": {"adapter": {"preset": "diffusekrona", "factors": [4, 8], **(adapter or {})}, **recipe},
            "data": {"photos": str(photos), "token": "sks", "noun": "robot"},
            "trainer": {"max_steps": 1, "accelerator": "cpu"},
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return command("train", "--config", path, "--run-dir", tmp_path / "run", *words)

    return call


def changed(adapter: Path, out: Path, change) -> Path:
    """A copy of an adapter with other tensors."""
    shutil.copytree(adapter, out)
    file = out / "adapter_model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file)
    return out


def break_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda home: [path.unlink() for path in home.iterdir()], ("photos", "no photos")),
        (lambda home: break_file(home / "a.png"), ("a.png", "damaged")),
        (lambda home: (home / "a.png").write_bytes(b""), ("a.png", "empty")),
        (lambda home: (home / "a.png").write_text("words"), ("a.png", "no picture")),
        (lambda home: (home / "c.heic").write_bytes(b"\0\0\0\x18ftypheic"), ("c.heic",)),
    ],
    ids=["empty", "truncated", "zero bytes", "text", "heic"],
)
def test_photos_that_cannot_be_read_are_named(train, folder, tmp_path, spoil, words):
    spoil(folder)
    train(folder).refused(*words)
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_decompression_bomb_is_refused_before_it_is_decoded(train, folder, monkeypatch):
    monkeypatch.setattr(photos, "MAX_PIXELS", 5000)
    train(folder).refused("80 x 70", "megapixels")


def test_an_absent_folder_is_named(train, tmp_path):
    train(tmp_path / "absent").refused("absent", "no such folder")


def test_odd_but_good_photos_train_and_odd_things_are_told(train, folder, tmp_path):
    (folder / "generated").mkdir()
    (folder / "notes.md").write_text("no photo")
    Image.new("CMYK", (70, 70)).save(folder / "cmyk.jpg")
    Image.new("P", (70, 70)).save(folder / "moving.webp", save_all=True, append_images=[Image.new("RGB", (70, 70))])
    Image.new("RGBA", (20, 30), (255, 0, 0, 10)).save(folder / "small.png")
    shutil.copy(folder / "a.png", folder / "again.png")
    said = train(folder)
    assert said.code == 0, said.err
    assert "again.png is the same file as a.png" in said.err
    assert f"small.png is 20 x 30: it is enlarged to {world.SIZE}" in said.err
    assert "the instance prompt as the base reads it: a photo of sks robot" in said.err


def test_one_photo_trains_with_a_warning_and_a_long_token_is_counted(train, folder):
    (folder / "b.jpg").unlink()
    said = train(folder, "--data.token", "zxqv")
    assert said.code == 0, said.err
    assert "only 1 photo" in said.err
    assert "the token 'zxqv' is 4 pieces" in said.err


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ({"factors": [7, 8]}, ("a1=7 does not divide", "use 4 or 8")),
        ({"factors": [4, 7]}, ("a2=7 does not divide",)),
        ({"factors": [4]}, ("recipe.adapter.factors", "two positive numbers")),
        ({"projections": "kx"}, ("projections 'kx'", "unknown letters x", "k, q, v, o")),
        ({"projections": ""}, ("at least one",)),
        ({"projections": "kk"}, ("each letter once",)),
        ({"preset": "kron"}, ("kron", "krona")),
        ({"preset": "lora"}, ("recipe.adapter.factors", "no setting of lora", "the whole section")),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_told(train, folder, adapter, words):
    train(folder, adapter=adapter).refused(*words)


def test_nearest_factors_are_an_option_of_their_own(train, folder):
    said = train(folder, adapter={"factors": [7, 8], "on_indivisible": "nearest"})
    assert said.code == 0, said.err


def test_small_factors_are_warned_of_with_their_count(train, folder):
    said = train(folder, adapter={"factors": [4, 8]})
    assert said.code == 0
    assert "recipe.adapter.factors [4, 8]: both at most 8" in said.err and "many parameters (" in said.err


def test_an_adapters_card_tells_trigger_licence_and_credits(train, folder, tmp_path):
    (folder / "CREDITS.txt").write_text("Photos: A. Person, CC BY 4.0\n# not a heading")
    assert train(folder).code == 0
    card = (tmp_path / "run" / "adapter" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["instance_prompt"] == "sks robot" and head["license"] == "apache-2.0"
    assert "    Photos: A. Person, CC BY 4.0\n    # not a heading" in card and "their consent" in card
    assert "krona, factors [4, 8], layout kron" in card


def predicted(command, adapter: Path, base: Path, *words: Any) -> Said:
    return command("predict", PROMPT, "--adapter", adapter, "--base", base, "--steps", 1, "--images", 1, *words)


@pytest.mark.parametrize(
    "section",
    [
        {"trigger": [1]},
        {"resolution": "large"},
        {"family": ["sdxl"]},
        {"text_encoder": "yes"},
        {"train": [1]},
        {"factors": "4,64"},
    ],
)
def test_a_manifest_with_something_else_where_an_object_stands(section, tmp_path):
    manifest = {"format": 1, "adapters": [{"folder": "."}], "base": {}, "domain": section}
    (tmp_path / "suite.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=rf"suite\.json: '{next(iter(section))}' of 'domain' is .*, not") as caught:
        settings_of(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_the_shipped_adapter_states_is_read_and_written_as_it_is():
    section = adapters.read_manifest(hub.resolve("tiny", DOMAIN))["domain"]
    stated = Stated.from_dict(section)
    assert stated.to_dict() == section and list(stated.to_dict()) == list(section)
    assert stated.trigger.phrase == "sks robot" and stated.family == "tiny" and stated.train["steps"] == 800


def test_an_adapter_of_another_base_says_which_is_which(command, adapter, random_base, tmp_path):
    def widen(state):
        for key in [key for key in state if ".attn2.to_k." in key and key.endswith("b")]:
            state[key] = torch.zeros(state[key].shape[0], 2048 // 8)

    wide = changed(adapter, tmp_path / "sdxl", widen)
    manifest = json.loads((wide / "suite.json").read_text())
    manifest["domain"]["family"] = "sdxl"
    (wide / "suite.json").write_text(json.dumps(manifest))
    predicted(command, wide, random_base).refused("targets SDXL (cross-attention width 2048)", "width 96", "--base")


def test_an_adapter_of_the_same_shapes_but_another_base_is_refused_when_strict(command, adapter, random_base, tmp_path):
    other = small.save_random(tmp_path / "other", seed=7)
    predicted(command, adapter, other, "--strict-base").refused("was trained on tiny", "load that base")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state[next(iter(state))].fill_(float("nan")), ("holds NaN or Inf",)),
        (lambda state: state.pop(next(iter(state))), ("missing",)),
        (
            lambda state: state.update({f"base_model.model.extra{n}.a": torch.zeros(2) for n in range(9)}),
            ("extra0", "extra2", "6 more"),
        ),
    ],
    ids=["nan", "missing partner", "extra keys"],
)
def test_broken_adapters_are_told(command, adapter, random_base, tmp_path, change, words):
    broken = changed(adapter, tmp_path / "broken", change)
    line = predicted(command, broken, random_base).refused(*words)
    assert "extra7" not in line


def test_a_file_of_another_program_is_told_how_to_come_in(command, random_base, tmp_path):
    file = tmp_path / "kohya.safetensors"
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file({f"{name}.lora_down.weight": torch.zeros(4, 64), f"{name}.lora_up.weight": torch.zeros(64, 4)}, file)
    line = predicted(command, file, random_base).refused("LoRA", "suite personalized_diffusion import")
    assert str(file) in line


def test_an_official_lora_is_not_taken_for_krona(command, random_base, tmp_path):
    file = tmp_path / "pytorch_lora_weights.safetensors"
    key = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora"
    save_file({f"{key}.down.weight": torch.zeros(2, 64), f"{key}.up.weight": torch.zeros(64, 2)}, file)
    said = command("inspect", file)
    assert said.code == 0 and "LoRA" in said.out
    save_file({f"{key}.down.weight": torch.zeros(2, 64)}, file)
    command("inspect", file).refused("incomplete")


def test_pickles_are_not_read_unasked(command, random_base, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_lora_weights.bin")
    command("inspect", folder / "pytorch_lora_weights.bin").refused("safetensors", "--pickle")
    predicted(command, folder, random_base).refused("holds no adapter")


def test_a_prompt_without_the_trigger_warns_and_is_drawn(command, adapter, random_base, tmp_path):
    said = command(
        "predict", "a robot outside", "--adapter", adapter, "--base", random_base, "--steps", 1, "--images", 1
    )
    assert said.code == 0 and "lacks the trigger word 'sks'" in said.out


def test_wrong_options_name_themselves(command, adapter, random_base, tmp_path):
    predicted(command, adapter, random_base, "--size", "63").refused("size 63 x 63")
    predicted(command, adapter, random_base, "--strength", "much").refused("--strength", "'much' is no number")
    predicted(command, adapter, random_base, "--device", "tpu").refused("device 'tpu' is unknown")
    predicted(command, adapter, random_base, "--dtype", "float8").refused("dtype 'float8' is unknown")
    predicted(command, adapter, random_base, "--also", "tinny").refused("tinny")
    command("predict", "absent.txt", "--adapter", adapter, "--base", random_base).refused("absent.txt", "no such file")
    assert not list(tmp_path.glob("*.part"))


def test_untrusted_text_makes_no_path_and_runs_nothing(command, adapter, random_base, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("../../../sks {0.__class__} $(touch x)\n")
    out = tmp_path / "out" / "inner"
    words = ("--adapter", adapter, "--base", random_base, "--steps", 1, "--images", 1)
    assert command("predict", prompts, *words, "--out", out).code == 0
    [made] = out.glob("*/0.png")
    assert made.parent.parent == out and not (tmp_path / "x").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "prompts.txt"]
