"""`Personalizer` and `suite personalized_diffusion predict` on a base with random weights."""

import csv
import json
import tempfile

import pytest
import torch
from PIL import Image

from domains.personalized_diffusion.data import world
from domains.personalized_diffusion.model import bases as pipelines
from domains.personalized_diffusion.output import pictures
from domains.personalized_diffusion.output.result import ImagesResult
from domains.personalized_diffusion.predict import Personalizer
from domains.personalized_diffusion.types import Picture, PromptQuery, weighted
from suite import adapters
from suite.cli.predict import run
from suite.domain import Domain, Task
from suite.errors import InputError
from tests.personalized_diffusion.made import write_adapter
from tests.real_data import real_data

TASK = Task(
    recipe="domains.personalized_diffusion.recipe:DreamBoothRecipe",
    data="domains.personalized_diffusion.data.datamodule:PhotoData",
    predictor="domains.personalized_diffusion.predict:Personalizer",
    query="domains.personalized_diffusion.types:PromptQuery",
    result="domains.personalized_diffusion.output.result:ImagesResult",
)
DOMAIN = Domain("personalized_diffusion", "photos to pictures", "personalized_diffusion", {"default": TASK})
PROMPT = "a photo of sks robot in the snow"
FAST = {"steps": 2, "images": 2}


@pytest.fixture(scope="module")
def adapter(random_base, tmp_path_factory):
    return write_adapter(random_base, tmp_path_factory.mktemp("adapters") / "first")


@pytest.fixture(scope="module")
def second(random_base, tmp_path_factory):
    return write_adapter(random_base, tmp_path_factory.mktemp("adapters") / "second", seed=2)


@pytest.fixture(scope="module")
def personalizer(random_base, adapter):
    return Personalizer.from_pretrained(str(adapter), str(random_base), "cpu")


def same(first, second):
    return [pictures.difference(a, b) for a, b in zip(first, second, strict=True)] == [0] * len(first)


def test_a_seed_gives_the_same_pictures_whatever_lies_beside_them(personalizer, random_base, adapter):
    [result] = personalizer.predict(PROMPT, images=3, steps=2, seed=5, batch_size=2)
    assert [picture.seed for picture in result.pictures] == [5, 6, 7] and result.images[0].size == (
        world.SIZE,
        world.SIZE,
    )
    again = Personalizer.from_pretrained(str(adapter), str(random_base), "cpu")
    [alone] = again.predict([PROMPT], images=1, steps=2, seed=7)
    assert pictures.difference(alone.images[0], result.images[2]) < 1
    [repeated] = personalizer.predict(PROMPT, images=3, steps=2, seed=5, batch_size=2)
    assert [one.digest for one in repeated.pictures] == [one.digest for one in result.pictures]
    assert not same(result.images[:1], result.images[1:2])


def test_strength_zero_is_the_base_and_strengths_lie_between(personalizer, random_base):
    [result] = personalizer.predict(PROMPT, strength=(1.0, 0.0, 0.5), before=True, **FAST)
    by = {}
    for picture in result.pictures:
        by.setdefault(picture.strength, []).append(picture.image)
    assert list(by) == [None, 1.0, 0.0, 0.5]
    bare = Personalizer(pipelines.load(random_base, device="cpu"))
    assert same(by[0.0], by[None]) and same(by[None], bare(PROMPT, **FAST))
    assert pictures.difference(by[1.0][0], by[None][0]) > 1
    assert pictures.difference(by[0.5][0], by[1.0][0]) > 0 < pictures.difference(by[0.5][0], by[None][0])
    assert same(result.images, by[1.0]) and same(personalizer(PROMPT, **FAST), by[1.0])


def test_two_adapters_add_up(random_base, adapter, second):
    both = Personalizer.from_pretrained(str(adapter), str(random_base), "cpu")
    both.add(str(second), 0.5)
    with both._acting(1.0):
        for name, layer in both.network.named_modules():
            if name.endswith("attn2.to_k"):
                x = torch.randn(3, layer.in_features)
                together = layer(x) - layer.base_layer(x)
                parts = sum(
                    weight * torch.nn.functional.linear(x, layer.get_delta_weight(part) / layer.factor(part))
                    for part, weight in ((both.loaded[0].layers[0], 1.0), (both.loaded[1].layers[0], 0.5))
                )
                assert torch.allclose(together, parts, atol=1e-5)
    first = Personalizer.from_pretrained(str(adapter), str(random_base), "cpu")
    [alone] = first.predict(PROMPT, **FAST)
    [joined] = first.predict(PROMPT, also=(f"{second}@0.5",), **FAST)
    assert not same(alone.images, joined.images)
    assert same(joined.images, both(PROMPT, **FAST))
    assert joined.settings.adapters == {str(adapter): 1.0, str(second): 0.5}
    [off] = first.predict(PROMPT, also=(f"{second}@0",), **FAST)
    assert same(off.images, alone.images)


def test_a_text_encoder_that_was_trained_acts_too(random_base, tmp_path, adapter):
    folder = write_adapter(random_base, tmp_path / "both", text_encoder=True)
    personalizer = Personalizer.from_pretrained(str(folder), str(random_base), "cpu")
    with_both = personalizer.base.encode([PROMPT]).embeds
    with adapters.disabled(personalizer.network):
        assert not torch.allclose(with_both, personalizer.base.encode([PROMPT]).embeds)
    with pytest.raises(InputError, match="cannot act together"):
        personalizer.add(str(adapter))


def test_lora_has_strengths_too(random_base, tmp_path):
    folder = write_adapter(random_base, tmp_path / "lora", method="lora")
    personalizer = Personalizer.from_pretrained(str(folder), str(random_base), "cpu")
    [result] = personalizer.predict(PROMPT, strength=(1.0, 0.5), before=True, images=1, steps=2)
    base, full, half = (picture.image for picture in result.pictures)
    assert pictures.difference(base, full) > pictures.difference(half, full) > 0


def test_results_are_saved_with_their_settings(personalizer, tmp_path, random_base):
    query = {"strength": (1.0, 0.5), "before": True, "negative": "blurry", "out": tmp_path, **FAST}
    [result] = personalizer.predict(PROMPT, **query)
    files = result.save(tmp_path)
    home = tmp_path / "a_photo_of_sks_robot_in_the_snow"
    names = ["0.png", "1.png", "0_base.png", "1_base.png", "0_strength_0.5.png", "1_strength_0.5.png"]
    assert {file.name for file in files} == {*names, "result.json", "grid.png"}
    text = Image.open(home / "1.png").text["parameters"]
    assert text.startswith(f"{PROMPT}\nNegative prompt: blurry\nSteps: 2") and "Seed: 1" in text and "@1" in text
    record = json.loads((home / "result.json").read_text())
    assert record["pictures"][0]["sha256"] == result.pictures[0].digest and record["settings"]["width"] == world.SIZE
    rows = list(csv.DictReader((tmp_path / "images.csv").open()))
    assert [row["image"] for row in rows] == [f"{home.name}/0.png", f"{home.name}/1.png"]
    assert rows[0]["prompt"] == PROMPT and (tmp_path / "contact_sheet.png").is_file()
    assert result.grid.width > 2 * world.SIZE


def test_a_prompt_file_states_its_own_settings(personalizer, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("sks robot --w 64 --h 128 --d 9 --s 1\nsks robot --l x\na robot at night\n")
    first, second, third = personalizer.predict(path, **FAST)
    assert first.images[0].size == (64, 128) and first.pictures[0].seed == 9 and first.settings.steps == 1
    assert "guidance 'x' is no number" in second.error
    assert third.error is None and "lacks the trigger word 'sks'" in third.notices[0]
    assert not first.notices


def test_a_prompt_longer_than_the_base_reads_is_told(personalizer):
    [result] = personalizer.predict("sks robot " * 20, images=1, steps=1)
    assert "it is read in 3 parts" in result.notices[0]


def test_dreambooths_prompts_land_in_the_evaluations_layout(personalizer, tmp_path, monkeypatch):
    path = real_data("dreambooth/prompts_and_classes.txt")
    monkeypatch.setattr("domains.personalized_diffusion.predict.draw", lambda *_: [Image.new("RGB", (64, 64))])
    results = list(personalizer.predict(path, subject="robot_toy", images=1, steps=1, grid=False, out=tmp_path))
    assert len(results) == 25 and results[0].prompt == "a sks toy in the jungle"
    assert sorted(p.name for p in (tmp_path / "robot_toy").iterdir()) == [f"{n:02d}" for n in range(25)]
    assert (tmp_path / "robot_toy" / "24" / "0.png").is_file()
    [unclear] = personalizer.predict(path, subject="dog4", **FAST)
    assert "no subject 'dog4'" in unclear.error


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"images": 0}, "at least 1"),
        ({"steps": 0}, "0 steps"),
        ({"strength": ()}, "strength must be"),
        ({"strength": (float("nan"),)}, "strength must be"),
        ({"size": "huge"}, "size 'huge'"),
        ({"seed": -1}, "must not be negative"),
        ({"seed": 2**70}, "at most"),
        ({"guidance": float("nan")}, "guidance nan"),
        ({"strength": float("inf")}, "strength must be"),
        ({"images": 1.5}, "images must be a whole number"),
        ({"also": ("./absent@0.5",)}, "does not exist"),
    ],
)
def test_wrong_options_are_one_line(personalizer, options, complaint):
    with pytest.raises(InputError, match=complaint) as raised:
        list(personalizer.predict(PROMPT, **options))
    assert "\n" not in str(raised.value)


def test_python_callers_give_one_strength_and_one_further_adapter_as_they_are():
    query = PromptQuery(strength=0.5, also="./other")
    assert (query.strength, query.also) == ((0.5,), ("./other",))
    assert (PromptQuery(size=64).size, PromptQuery(size=(64, 48)).size) == ("64", "64x48")
    assert PromptQuery(negative=None).negative == ""


def test_what_is_no_prompt_is_one_line(personalizer, tmp_path):
    for wrong in ("", " ", None, 5):
        with pytest.raises(InputError, match="at least one word"):
            personalizer(wrong, **FAST)
    number, folder = personalizer.predict([5, tmp_path], **FAST)
    assert "at least one word" in number.error and "is a folder" in folder.error


def test_one_picture_is_told_as_one():
    one = Picture(Image.new("RGB", (8, 8)), 0, 0)
    assert "x: 1 picture, " in str(ImagesResult("x", pictures=(one,)))
    assert "x: 2 pictures, " in str(ImagesResult("x", pictures=(one, one)))


def test_weights_of_further_adapters():
    assert weighted("hf:org/name@v1") == ("hf:org/name@v1", 1.0)
    assert weighted("hf:org/name@v1@0.5") == ("hf:org/name@v1", 0.5)
    assert weighted("./here@-1") == ("./here", -1.0) and weighted("tiny") == ("tiny", 1.0)
    with pytest.raises(InputError, match="no finite number"):
        weighted("tiny@nan")


def test_nan_pictures_are_refused_not_shown_black(personalizer, monkeypatch):
    bias = torch.full_like(personalizer.base.vae.decoder.conv_out.bias, float("nan"))
    monkeypatch.setattr(personalizer.base.vae.decoder.conv_out, "bias", torch.nn.Parameter(bias))
    [result] = personalizer.predict(PROMPT, images=1, steps=1)
    assert "NaN" in result.error and "float32" in result.error and "\n" not in result.error


def test_the_command_draws_text_and_files_and_goes_on_after_a_bad_one(random_base, adapter, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("sks robot at night\nsks robot --x 3\n")
    words = ["--adapter", str(adapter), "--base", str(random_base), "--steps", "1", "--images", "1"]
    answer = run(DOMAIN, [PROMPT, str(prompts), "absent.txt", *words, "--out", str(tmp_path / "out")])
    assert answer.code == 2 and (answer.data["done"], answer.data["failed"]) == (2, 2)
    errors = {record["source"]: record["error"] for record in answer.data["results"] if record["error"]}
    assert set(errors) == {"absent.txt", f"{prompts}:2"} and "--x is not known" in errors[f"{prompts}:2"]
    assert (tmp_path / "out" / "sks_robot_at_night" / "0.png").is_file()
    assert answer.data["next"] == [f"open {tmp_path / 'out' / 'contact_sheet.png'}"]


def test_a_folder_is_made_for_nothing_where_nothing_is_drawn(random_base, adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run(DOMAIN, ["absent.txt"]).code == 2
    with pytest.raises(InputError, match="at least 1"):
        run(DOMAIN, [PROMPT, "--images", "0"])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_holds_the_pictures_of_its_last_run(tmp_path):
    def pictures_of(*strengths, number):
        images = [Picture(Image.new("RGB", (8, 8)), n, n, s) for s in strengths for n in range(number)]
        query = PromptQuery(strength=strengths)
        ImagesResult("x", name="x", pictures=tuple(images), query=query).save(tmp_path)
        return sorted(file.name for file in (tmp_path / "x").glob("*.png"))

    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "9.png").touch()  # somebody else's
    assert len(pictures_of(1.0, 0.5, number=3)) == 8
    assert pictures_of(1.0, number=1) == ["0.png", "9.png"]


def test_a_subject_without_its_prompts_file_is_told(personalizer, monkeypatch):
    monkeypatch.setattr("domains.personalized_diffusion.predict.draw", lambda *_: [Image.new("RGB", (64, 64))])
    [result] = personalizer.predict(PROMPT, subject="dog6", images=1)
    assert result.notices == ("--subject dog6 is of DreamBooth's prompts file, and this prompt is of none",)


def test_the_query_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, domains.personalized_diffusion.types; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert PromptQuery().strength == (1.0,)
