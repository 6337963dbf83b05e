"""Prompts longer than CLIP reads at once, and layers of CLIP left out: in training as in drawing."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from domains.personalized_diffusion.data.datamodule import PhotoData
from domains.personalized_diffusion.model import bases
from domains.personalized_diffusion.model.conditioning import chunks, side_by_side
from domains.personalized_diffusion.predict import Personalizer
from domains.personalized_diffusion.recipe import DreamBoothRecipe
from suite import adapters, training
from suite.errors import InputError
from suite.training import TrainerConfig
from tests.personalized_diffusion import families
from tests.personalized_diffusion.made import write_adapter

LONG = "a robot in the snow at night " * 30
SMALL = {"preset": "diffusekrona", "factors": [4, 8]}


@pytest.fixture(scope="module")
def sd(random_base: Path) -> bases.Base:
    return bases.load(random_base, torch.float32, "cpu")


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> bases.Base:
    return bases.load(families.save("sdxl", tmp_path_factory.mktemp("base") / "sdxl"), torch.float32, "cpu")


def test_a_long_prompt_falls_into_parts_between_words(sd: bases.Base) -> None:
    tokenizer = sd.tokenizers[0]
    parts = chunks(LONG, tokenizer)
    assert len(parts) > 1 and " ".join(parts).split() == LONG.split()
    for part in parts:
        assert len(tokenizer(part, truncation=False).input_ids) <= tokenizer.model_max_length
    assert chunks("a robot,  in snow", tokenizer) == ["a robot,  in snow"]


@pytest.mark.parametrize("which", ["sd", "sdxl"])
def test_the_end_of_a_long_prompt_is_read(which: str, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(which)
    parts = chunks(LONG, base.tokenizers[0])
    with torch.no_grad():
        said = base.encode([LONG, "a robot"])
        each = [base.encode([part]) for part in parts]
        short, empty = base.encode(["a robot"]), base.encode([""])
    torch.testing.assert_close(said.embeds[:1], torch.cat([one.embeds for one in each], dim=1), rtol=0, atol=1e-5)
    blank = [empty.embeds] * (len(parts) - 1)
    torch.testing.assert_close(said.embeds[1:], torch.cat([short.embeds, *blank], dim=1), rtol=0, atol=1e-5)
    together = side_by_side([base.encode([LONG]), short], lambda: empty)
    torch.testing.assert_close(together.embeds, said.embeds, rtol=0, atol=1e-5)
    if said.pooled is not None and together.pooled is not None:
        torch.testing.assert_close(said.pooled[:1], each[0].pooled, rtol=0, atol=1e-5)
        torch.testing.assert_close(together.pooled, said.pooled, rtol=0, atol=1e-5)


@pytest.mark.parametrize("which", ["sd", "sdxl"])
def test_the_end_of_a_long_prompt_is_drawn(which: str, request: pytest.FixtureRequest) -> None:
    personalizer = Personalizer(request.getfixturevalue(which))
    asked = {"images": 1, "steps": 1, "size": "64", "guidance": 5.0}
    results = list(personalizer.predict([LONG + "robot", LONG + "cat", LONG + "robot", "a robot"], **asked))
    one, other, same, _ = (result.pictures[0].digest for result in results)
    assert one == same != other
    told = [any("is read in" in notice for notice in result.notices) for result in results]
    assert told == [True, True, True, False]


def test_captions_of_several_lengths_train_side_by_side(sd: bases.Base, random_base: Path, tmp_path: Path) -> None:
    from domains.personalized_diffusion.data import world

    folder = tmp_path / "photos"
    world.write_photos(folder, "robot", 2)
    texts = sorted(folder.glob("*.txt"))
    texts[0].write_text(LONG)
    data = PhotoData(photos=str(folder), noun="robot", batch_size=2)
    recipe = DreamBoothRecipe(str(random_base), adapter=SMALL, clip_skip=2)
    settings = TrainerConfig(max_epochs=-1, max_steps=1, accelerator="cpu")
    run = training.fit(recipe, data, settings, folder=tmp_path / "run")
    assert run.metrics["train/loss"] > 0
    assert adapters.read_manifest(run.adapter)["domain"]["clip_skip"] == 2
    assert Personalizer.from_pretrained(str(run.adapter), str(random_base), "cpu").base.clip_skip == 2


def test_skipping_a_layer_is_a_text_encoder_without_it(random_base: Path) -> None:
    base = bases.load(random_base, torch.float32, "cpu")
    encoder = base.text_encoders[0]
    shorter = copy.deepcopy(encoder)
    inner = getattr(shorter, "text_model", shorter)
    inner.encoder.layers = inner.encoder.layers[:-1]
    with torch.no_grad():
        last = base.encode(["a robot"]).embeds
        found = base.reading(2).encode(["a robot"]).embeds
        base.pipe.text_encoder = shorter
        wanted = base.reading(1).encode(["a robot"]).embeds
    assert torch.equal(found, wanted) and not torch.equal(found, last)


def test_skipped_layers_are_drawn_with(random_base: Path) -> None:
    drawn = []
    for skip in (1, 2):
        personalizer = Personalizer(bases.load(random_base, torch.float32, "cpu"))
        personalizer.base.reading(skip)
        [result] = personalizer.predict("a robot", images=1, steps=1)
        drawn.append(result.pictures[0].digest)
    assert drawn[0] != drawn[1]


def test_layers_that_cannot_be_skipped_are_refused(sd: bases.Base, sdxl: bases.Base) -> None:
    for base, skip, words in ((sd, 0, "last layer is 1"), (sd, 99, "has 2 layers|has . layers"), (sdxl, 2, "SDXL")):
        with pytest.raises(InputError, match=words):
            base.reading(skip)


def test_a_second_adapter_of_another_layer_is_told(random_base: Path, tmp_path: Path) -> None:
    first, second = (write_adapter(random_base, tmp_path / name) for name in ("first", "second"))
    manifest = json.loads((second / "suite.json").read_text())
    manifest["domain"]["clip_skip"] = 2
    (second / "suite.json").write_text(json.dumps(manifest))
    personalizer = Personalizer.from_pretrained(str(first), str(random_base), "cpu")
    assert personalizer.notices == []
    personalizer.add(str(second))
    [told] = personalizer.notices
    assert "layer 2 of CLIP" in told and "layer 1 here" in told
