"""DreamBooth training on small random bases: every method, family and option; what is saved, kept and refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from domains.personalized_diffusion.data import world
from domains.personalized_diffusion.data.datamodule import PhotoData
from domains.personalized_diffusion.model import bases as pipelines
from domains.personalized_diffusion.official import exports
from domains.personalized_diffusion.recipe import DreamBoothRecipe
from suite import adapters, training
from suite.errors import InputError
from suite.training import Run, TrainerConfig
from tests.personalized_diffusion import families

SMALL = {"preset": "diffusekrona", "factors": [4, 8]}


def train(
    base: Path,
    folder: Path,
    *,
    data: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    **recipe: Any,
) -> Run:
    """A few steps on two pictures of the made world's robot."""
    photos = PhotoData(**{"photos": "sprites:robot:2", "noun": "robot", "repeats": 8, "batch_size": 2, **(data or {})})
    settings = {"max_epochs": -1, "max_steps": 2, "lr": 1e-2, "log_every": 1, **(trainer or {})}
    made = DreamBoothRecipe(str(base), **{"adapter": {"preset": "diffusekrona", "factors": [4, 16]}, **recipe})
    return training.fit(made, photos, TrainerConfig(**settings), folder=folder)


def answer(network: Any) -> torch.Tensor:
    with torch.no_grad():
        channels, cross = network.config.in_channels, network.config.cross_attention_dim
        return network(torch.ones(1, channels, 8, 8), 10, torch.ones(1, 5, cross)).sample


@pytest.mark.parametrize("method", ["krona", "lora", "lokr", "loha", "svdiff", "full"])
def test_every_method_trains_and_loads_again(random_base: Path, tmp_path: Path, method: str) -> None:
    run = train(random_base, tmp_path / "run", **({} if method == "krona" else {"adapter": {"preset": method}}))
    section = adapters.read_manifest(run.adapter)["domain"]
    assert section["method"] == method
    assert section["trigger"] == {"token": "sks", "noun": "robot", "template": "a photo of {token} {noun}"}
    assert section["train"]["steps"] == 2 and section["train"]["images"] == 2
    assert section["base"] is None  # a path of this machine
    base = pipelines.load(random_base)
    frozen = answer(base.unet)
    adapters.load(pipelines.adapted_network(base, section["text_encoder"]), run.adapter)
    assert not torch.equal(answer(base.unet), frozen)


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_every_family_trains_with_its_text_encoders(tmp_path: Path, family: str) -> None:
    base = families.save(family, tmp_path / "base")
    options = {"timesteps": {"sampling": "logit_normal"}} if family in ("sd3", "flux") else {}
    run = train(base, tmp_path / "run", data={"resolution": 64}, text_encoder=True, adapter=SMALL, **options)
    parts = [entry["folder"] for entry in adapters.read_manifest(run.adapter)["adapters"]]
    assert parts == ["krona", "krona~2"]
    loaded = pipelines.load(base)
    adapters.load(pipelines.adapted_network(loaded, True), run.adapter)


@pytest.mark.parametrize(
    ("preset", "targets", "reached"),
    [
        ("diffusekrona", r".*(to_k|ff\.net\.2)", {"Linear"}),
        ("lora", r".*(to_k|resnets\.\d+\.conv1)", {"Linear", "Conv2d"}),
        ("lokr", r".*resnets\.\d+\.conv1", {"Conv2d"}),
        ("loha", r".*resnets\.\d+\.conv1", {"Conv2d"}),
    ],
)
def test_other_layers_than_projections_train_and_go_out(
    preset: str, targets: str, reached: set[str], random_base: Path, tmp_path: Path
) -> None:
    own = {"factors": [4, 8]} if preset == "diffusekrona" else {"rank": 2}
    run = train(random_base, tmp_path / "run", adapter={"preset": preset, "targets": targets, **own})
    base = pipelines.load(random_base)
    frozen = answer(base.unet)
    network = adapters.load(base.unet, run.adapter)
    layers = {n: m for n, m in network.named_modules() if hasattr(m, "get_delta_weight")}
    assert {type(layer.get_base_layer()).__name__ for layer in layers.values()} == reached
    assert all(re.fullmatch(targets, name) for name in layers)
    adapted = answer(base.unet)
    assert not torch.equal(adapted, frozen)
    exports.export(run.adapter, tmp_path / "merged", "merged", base=random_base)
    torch.testing.assert_close(answer(pipelines.load(tmp_path / "merged").unet), adapted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("targets", ["(", 3])
def test_targets_that_are_no_expression_are_told(targets: Any) -> None:
    with pytest.raises(InputError, match=r"recipe\.adapter\.targets"):
        DreamBoothRecipe(adapter={"preset": "diffusekrona", "targets": targets})


def test_velocity_prediction_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    families.sd("v_prediction").save_pretrained(tmp_path / "base")
    run = train(tmp_path / "base", tmp_path / "run", data={"resolution": 64}, adapter=SMALL, snr_gamma=5.0)
    assert run.metrics["train/loss"] > 0


def test_flows_have_no_min_snr(tmp_path: Path) -> None:
    base = families.save("flux", tmp_path / "base")
    with pytest.raises(InputError, match="flux is a flow"):
        train(base, tmp_path / "run", data={"resolution": 64}, adapter=SMALL, snr_gamma=5.0)


def test_text_encoders_have_a_rate_of_their_own(random_base: Path, tmp_path: Path) -> None:
    frozen = train(random_base, tmp_path / "still", text_encoder=True, text_lr=1e-12)
    moving = train(random_base, tmp_path / "moving", text_encoder=True, text_lr=1e-2)
    assert _largest(frozen.adapter / "krona~2") < 1e-9 < 1e-3 < _largest(moving.adapter / "krona~2")
    assert _largest(frozen.adapter / "krona") > 1e-3


def _largest(folder: Path) -> float:
    """Of B, which starts at zero."""
    from safetensors.torch import load_file

    state = load_file(folder / "adapter_model.safetensors")
    return max(float(tensor.abs().max()) for name, tensor in state.items() if name.rsplit(".", 1)[-1].endswith("b"))


def test_class_images_are_drawn_once_and_shared(random_base: Path, tmp_path: Path) -> None:
    given = {"class_images": 3, "class_steps": 2, "class_folder": str(tmp_path / "class")}
    train(random_base, tmp_path / "one", data=given)
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "class").iterdir()}
    assert len(drawn) == 3
    train(random_base, tmp_path / "two", data=given, adapter={"preset": "lora"})
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "class").iterdir()} == drawn
    train(random_base, tmp_path / "three", data={**given, "class_images": 4})
    assert len(list((tmp_path / "class").iterdir())) == 4


def test_prior_preservation_changes_what_is_learnt(random_base: Path, tmp_path: Path) -> None:
    given = {"class_images": 2, "class_steps": 2, "class_folder": str(tmp_path / "class")}
    losses = [
        train(random_base, tmp_path / str(weight), data=given, prior_weight=weight).metrics["train/loss"]
        for weight in (0.0, 1.0)
    ]
    assert losses[1] > losses[0] + 0.3


def test_the_cache_of_a_folder_serves_the_next_run(random_base: Path, tmp_path: Path) -> None:
    given = {"cache": str(tmp_path / "cache"), "captions": "trigger"}
    train(random_base, tmp_path / "one", data=given)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert len(kept) == 3  # two pictures and one caption
    train(random_base, tmp_path / "two", data=given)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == kept
    train(random_base, tmp_path / "other", data={**given, "flip": True, "noun": "cat"})
    assert len(list((tmp_path / "cache").iterdir())) == 6  # both pictures mirrored, another caption


def test_sample_grids_at_0_n_2n(random_base: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a sks robot at night --d 7 --s 2\n")
    samples = {"every": 2, "prompts": ["a sks robot"], "file": str(prompts), "images": 2, "steps": 2}
    run = train(random_base, tmp_path / "run", samples=samples, trainer={"max_steps": 5})
    drawn = sorted(path.name for path in (run.folder / "samples").iterdir())
    assert drawn == ["step_000000.png", "step_000002.png", "step_000004.png"]
    plain = train(random_base, tmp_path / "plain", trainer={"max_steps": 5})
    assert _bytes(plain) == _bytes(run)  # drawing leaves training alone


def _bytes(run: Run) -> bytes:
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def test_training_goes_on_from_an_adapter(random_base: Path, tmp_path: Path) -> None:
    first = train(random_base, tmp_path / "first")
    more = train(random_base, tmp_path / "more", start=str(first.adapter), trainer={"lr": 1e-12})
    from safetensors.torch import load_file

    old, new = (load_file(run.adapter / "adapter_model.safetensors") for run in (first, more))
    assert old.keys() == new.keys()
    assert all(torch.allclose(old[name], new[name], atol=1e-6) for name in old)


def test_options_of_memory_give_the_same_training(random_base: Path, tmp_path: Path) -> None:
    plain = train(random_base, tmp_path / "plain")
    spared = train(random_base, tmp_path / "spared", low_memory=True, trainer={"gradient_checkpointing": True})
    assert spared.metrics["train/loss"] == pytest.approx(plain.metrics["train/loss"], rel=1e-5)


def test_a_packed_base_trains(random_base: Path, tmp_path: Path) -> None:
    run = train(random_base, tmp_path / "run", weights="nf4")
    assert run.metrics["train/loss"] > 0


def test_ema_noise_offset_and_random_cuts(random_base: Path, tmp_path: Path) -> None:
    given = {"crop": "random", "flip": True, "caption_dropout": 0.5, "val": "sprites:robot:2:1"}
    options = {"noise_offset": 0.1, "snr_gamma": 5.0, "timesteps": {"lowest": 0.2}}
    run = train(random_base, tmp_path / "run", data=given, trainer={"ema": 0.9, "val_every": 1}, **options)
    assert run.metrics["val/loss"] > 0


def test_a_loss_that_is_not_finite_stops_with_its_usual_causes(random_base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a VAE in float16"):
        train(random_base, tmp_path / "run", trainer={"lr": 1e30, "max_steps": 8, "gradient_clip_val": None})


def test_a_kohya_folder_of_folders(random_base: Path, tmp_path: Path) -> None:
    world.write_photos(tmp_path / "photos" / "3_sks robot", "robot", 2)
    world.write_photos(tmp_path / "photos" / "1_sks robot in snow", "robot", 1, seed=1)
    for sidecar in (tmp_path / "photos").rglob("*.txt"):
        sidecar.unlink()  # where a photo has no caption, the folder's name is one
    (tmp_path / "photos" / "generated").mkdir()
    data = PhotoData(photos=str(tmp_path / "photos"), noun="robot")
    data.setup()
    assert sorted((shot.caption, shot.repeats) for shot in data.shots["train"]) == [
        ("sks robot", 3),
        ("sks robot", 3),
        ("sks robot in snow", 1),
    ]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"adapter": {"preset": "diffusekrona", "factors": [4]}}, "two positive numbers"),
        ({"adapter": {"preset": "diffusekrona", "factors": {"x": [4, 16]}}}, "name some of k, q, v, o"),
        ({"timesteps": {"sampling": "cosine"}}, "uniform or logit_normal"),
        ({"timesteps": {"speed": 1}}, "speed"),
        ({"samples": {"every": 2}}, "names no prompt"),
        ({"adapter": {"preset": "diffusekrona", "projections": "kz"}}, "unknown letters z"),
    ],
)
def test_settings_of_the_recipe_are_checked(recipe: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        DreamBoothRecipe(**recipe)


def test_the_manifest_reads_back_as_json(random_base: Path, tmp_path: Path) -> None:
    run = train(
        random_base,
        tmp_path / "run",
        adapter={"preset": "diffusekrona", "factors": {"k": [4, 16], "v": [8, 8]}, "projections": "kv"},
    )
    section = json.loads((run.adapter / "suite.json").read_text())["domain"]
    assert section["factors"] == {"k": [4, 16], "v": [8, 8]}
    assert section["layout"] == "kron" and section["family"] == "tiny" and section["resolution"] == world.SIZE
