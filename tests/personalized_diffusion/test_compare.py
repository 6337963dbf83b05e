"""The verb `compare`: methods on one recipe, resumed where it stopped, in one table and one picture."""

import json

import pytest
import yaml

from domains.personalized_diffusion.evaluation import compare as module
from domains.personalized_diffusion.evaluation.compare import compare
from suite.errors import InputError
from suite.training.drivers import comparison
from suite.training.drivers.comparison import Member, weigh
from suite.training.drivers.comparison import row as row_of


@pytest.fixture
def config(random_base, tmp_path):
    path = tmp_path / "config.yaml"
    experiment = {
        "domain": "personalized_diffusion",
        "base": str(random_base),
        "recipe": {"adapter": {"preset": "diffusekrona", "factors": [4, 16]}},
        "data": {"photos": "sprites:robot:3", "token": "sks", "noun": "robot", "repeats": 4},
        "trainer": {"max_steps": 2, "lr": 1e-2, "accelerator": "cpu"},
    }
    path.write_text(yaml.safe_dump(experiment))
    return path


def test_methods_share_recipe_photos_and_seeds(config, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a sks robot at night\n")
    given = {"images": 2, "steps": 1, "prompts": prompts, "seeds": (1,), "rates": ("lora=1e-3",), "out": out}
    record = compare(config, methods=("krona", "lora"), **given)
    rows = {row["method"]: row for row in record["rows"]}
    assert list(rows) == ["base", "krona", "lora"]
    assert 0 < rows["krona"]["parameters"] < rows["lora"]["parameters"] and rows["base"]["parameters"] == 0
    assert set(rows["krona"]["metrics"]) == {"dino", "clip_i", "clip_t", "div"}
    assert rows["krona"]["seconds"] > 0 and rows["lora"]["metrics"] != rows["base"]["metrics"]
    assert json.loads((out / "comparison.json").read_text()) == json.loads(json.dumps(record["rows"]))
    assert (out / "comparison.png").is_file() and "CLIP-T" in record["message"]
    assert yaml.safe_load((out / "lora-1" / "config.yaml").read_text())["trainer"]["lr"] == 1e-3
    assert yaml.safe_load((out / "krona-1" / "config.yaml").read_text())["seed"] == 1
    assert "lora" in (out / "report.html").read_text()

    def never(*_, **__):
        raise AssertionError("what is finished is not trained again")

    monkeypatch.setattr(comparison, "run", never)
    again = compare(config, methods=("krona", "lora"), **given)
    assert again["rows"] == record["rows"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": 0}, "at least 1"),
        ({"strength": float("nan")}, "strength must be"),
        ({"real": "absent"}, "absent"),
        ({"prompts": "absent.txt"}, "absent.txt"),
        ({"set": ("data.noun=dog",)}, "--real and --prompts must be given"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_trained(config, tmp_path, monkeypatch, given, message):
    def never(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(comparison, "run", never)
    given = {name: tmp_path / word if isinstance(word, str) else word for name, word in given.items()}
    with pytest.raises(InputError, match=message):
        compare(config, **{"methods": ("krona",), "out": tmp_path / "out", **given})
    assert not (tmp_path / "out").exists()


def test_seeds_give_means_and_spreads(tmp_path):
    members = [Member("krona", seed, None, tmp_path, 10.0 * seed) for seed in (1, 2, 3)]
    row = row_of([(member, {"dino": member.seed / 10, "clip_t": 0.5}) for member in members])
    assert row.metrics == pytest.approx({"dino": 0.2, "clip_t": 0.5}) and row.seconds == 20
    assert row.spread == pytest.approx({"dino": 0.1, "clip_t": 0.0})
    assert "0.2000 ± 0.1000" in module._table([row])


def test_parameters_are_those_of_the_files(random_base, tmp_path):
    from tests.personalized_diffusion.made import write_adapter

    folder = write_adapter(random_base, tmp_path / "adapter", method="lora")
    numbers, size = weigh(folder)
    assert size == (folder / "adapter_model.safetensors").stat().st_size
    assert numbers == (size - int.from_bytes((folder / "adapter_model.safetensors").read_bytes()[:8], "little") - 8) / 4


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"methods": ("krona", "lorra")}, "no method is called lorra"),
        ({"methods": ()}, "at least one method"),
        ({"seeds": ()}, "at least one"),
        ({"rates": ("lora:3",)}, "METHOD=RATE"),
        ({"rates": ("full=1",)}, "METHOD=RATE with one of krona"),
        ({"set": ("trainer.max_steps",)}, "SECTION.KEY=VALUE"),
        ({"set": ("trainer.max_stepz=3",)}, "max_stepz"),
    ],
)
def test_what_cannot_be_compared_is_told_before_anything_is_trained(config, tmp_path, monkeypatch, given, complaint):
    monkeypatch.setattr(comparison, "run", lambda *_: pytest.fail("trained"))
    with pytest.raises(InputError, match=complaint) as raised:
        compare(config, **{"methods": ("krona",), "out": tmp_path / "out", **given})
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()
