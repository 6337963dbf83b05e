"""The section `adapter:` of every domain's recipe: one parser, and what earlier versions wrote is told anew."""

from __future__ import annotations

from typing import Any

import pytest

from domains.personalized_diffusion.model.methods import MethodSettings, section_of
from domains.personalized_diffusion.recipe import DreamBoothRecipe
from domains.point_cloud.model import attachments, bases
from domains.point_cloud.recipe import PointCloudRecipe
from domains.relation_extraction.recipe import LORA, RelationExtractionRecipe
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.training.construct import construct

RECIPES: tuple[Any, ...] = (PointCloudRecipe, DreamBoothRecipe, RelationExtractionRecipe)
SHAPE = {"class": "point_mae", "trans_dim": 24, "depth": 2, "num_heads": 6, "cls_dim": 8, "encoder_dims": 24}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"r": 4}, r"recipe\.adapter names neither of preset and method; name one: a preset \("),
        ({"preset": "lora", "method": "lora"}, "names both of preset and method"),
        ({"preset": "nothing"}, r"recipe\.adapter\.preset: unknown 'nothing'; choose from "),
        ({"method": "lorra"}, r"recipe\.adapter\.method: unknown adapter method 'lorra'; did you mean 'lora'"),
    ],
)
def test_every_recipe_reads_the_section_alike(recipe: Any, section: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        recipe(adapter=section)


@pytest.mark.parametrize(
    ("recipe", "old", "said"),
    [
        (PointCloudRecipe, {"method": "lora"}, r"recipe\.method has gone; write recipe\.adapter: \{preset: lora\}"),
        (PointCloudRecipe, {"options": {"rank": 8}}, r"write recipe\.adapter: \{preset: \.\.\., rank: 8\}"),
        (DreamBoothRecipe, {"method": "krona"}, r"write recipe\.adapter: \{preset: diffusekrona\}"),
        (DreamBoothRecipe, {"factors": [4, 64]}, r"write recipe\.adapter: \{preset: \.\.\., factors: \[4, 64\]\}"),
        (DreamBoothRecipe, {"rank": 8}, r"write recipe\.adapter: \{preset: \.\.\., rank: 8\}"),
    ],
)
def test_what_earlier_versions_wrote_is_told_anew(recipe: Any, old: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        construct(recipe, old, "recipe", {})


def test_a_preset_is_a_papers_settings_with_some_changed() -> None:
    assert RelationExtractionRecipe(adapter={"preset": "autore", "r": 8}).adapter == {**LORA, "r": 8}
    assert RelationExtractionRecipe(adapter=LORA).adapter == LORA
    settings = MethodSettings.of({"preset": "diffusekrona", "factors": [8, 2], "init": "zero"})
    assert settings == MethodSettings("krona", (8, 2), options={"init": "zero"})


def test_any_method_of_the_core_goes_on_a_domains_base() -> None:
    section = {"method": "lora", "targets": ["qkv"], "r": 2}
    model = attachments.attach_section(bases.build(SHAPE), AdapterSection.of(section, attachments.PRESETS))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert {"lora_A", "cls_head_finetune"} <= {part for name in names for part in name.split(".")}
    assert [name for name, _ in adapters.layers(model, "lora")] == [f"blocks.blocks.{n}.attn.qkv" for n in (0, 1)]
    assert MethodSettings.of({"method": "ssf", "targets": ["to_q"]}).record()["method"] == "ssf"


def test_settings_of_another_preset_are_refused() -> None:
    with pytest.raises(InputError, match=r"recipe\.adapter\.factors is no setting of lora; say the whole section anew"):
        MethodSettings.of({"preset": "lora", "factors": [4, 64]})
    with pytest.raises(InputError, match=r"recipe\.adapter\.rank is no setting of linear"):
        attachments.attach(bases.build(SHAPE), "linear", rank=4)


def test_methods_that_are_compared_share_what_they_can() -> None:
    section = {"preset": "diffusekrona", "factors": [8, 2], "projections": "kv", "rank": 2, "init": "zero"}
    assert section_of("krona", section) == {name: value for name, value in section.items() if name != "rank"}
    assert section_of("lora", section) == {"preset": "lora", "projections": "kv", "rank": 2}
    assert section_of("full", section) == {"preset": "full"}
