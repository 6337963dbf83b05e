"""The recipes through the trainer; with seeds and at full length in the slow tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from domains.point_cloud.model import bases, forward, manifest, pretraining
from domains.point_cloud.model.layers import BackboneConfig
from domains.point_cloud.recipe import PartSegmentationRecipe, PointCloudRecipe, learning_rate, spare_tokens
from suite import adapters, training
from suite.errors import InputError
from suite.hub import paths
from suite.training import ExperimentConfig, load_config

SMALL = BackboneConfig(
    trans_dim=24, depth=2, num_heads=6, num_group=16, group_size=8, encoder_dims=24, encoder_width=16, cls_dim=8
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    clouds = torch.randn(8, 128, 3)
    schedule = pretraining.Schedule(steps=2, batch=4, points=96, decoder_depth=1)
    return bases.save_base(pretraining.pretrain(clouds, SMALL, schedule), tmp_path_factory.mktemp("base") / "base")


def experiment(base: Path, task: str = "classification", **recipe: object) -> ExperimentConfig:
    name = "tiny" if task == "classification" else "tiny_parts"
    config = load_config(paths.assets() / "configs" / "point_cloud" / f"{name}.yaml")
    data = {**config.data, "train": "shapes:train:16", "val": "shapes:val:8", "npoints": 96, "batch_size": 8}
    trainer = dataclasses.replace(config.trainer, max_epochs=2, val_every=1.0)
    recipe = {**config.recipe, "adapter": {"preset": "pointgst", "rank": 4, "local": 8}, **recipe}
    if task == "segmentation":
        recipe["head"] = {"fetch": [0, 1], "propagation": [16, 16], "head": [16, 8]}
    return dataclasses.replace(config, base=str(base), data=data, trainer=trainer, recipe=recipe)


@pytest.mark.parametrize(
    ("method", "options"), [("pointgst", {"rank": 4, "local": 8}), ("point_peft", {"prompts": 4}), ("full", {})]
)
def test_a_trained_adapter_predicts_the_same_from_its_folder(
    base: Path, tmp_path: Path, method: str, options: dict
) -> None:
    prior = method == "point_peft"
    config = experiment(base, adapter={"preset": method, **options}, prior=prior)
    run = training.run(config, run_dir=tmp_path / "run")
    assert (run.adapter / "bank.safetensors").is_file() is prior
    stated = adapters.read_manifest(run.adapter)["domain"]
    assert stated["classes"][:2] == ["bucket", "chair"]
    assert stated["npoints"] == 96
    scored = training.evaluate(config, run.adapter)
    assert scored["val/loss"] == pytest.approx(run.metrics["val/loss"], rel=1e-4)
    net = manifest.from_manifest(run.adapter, base)
    assert forward.predict_logits(net, torch.randn(1, 96, 3)).shape == (1, 8)


def test_part_segmentation_trains(base: Path, tmp_path: Path) -> None:
    run = training.run(experiment(base, "segmentation"), run_dir=tmp_path / "run")
    assert {"val/instance_miou", "val/class_miou"} <= run.metrics.keys()
    stated = adapters.read_manifest(run.adapter)["domain"]
    assert stated["parts"]["mug"] == ["body", "handle"]
    net = manifest.from_manifest(run.adapter, base)
    scores = forward.predict_logits(net, torch.randn(2, 96, 3), torch.eye(8)[:2])
    assert scores.shape == (2, 96, sum(map(len, stated["parts"].values())))


def test_published_rates_reach_the_optimiser(base: Path, tmp_path: Path) -> None:
    config = experiment(base, rates="published", warmup_epochs=2)
    trainer = dataclasses.replace(config.trainer, max_epochs=5, lr=1e-3, log_every=1, monitor=None, val_every=5.0)
    run = training.run(dataclasses.replace(config, trainer=trainer), run_dir=tmp_path / "run")
    lines = [line for line in map(__import__("json").loads, (run.folder / "metrics.jsonl").open()) if "lr" in line]
    rates = [line["lr"] for line in lines]
    wanted = [learning_rate(epoch, 1e-3, 4, 2) for epoch in range(5) for _ in range(2)]
    assert rates == pytest.approx(wanted)


def test_tokens_do_not_decay() -> None:
    module = torch.nn.Module()
    module.cls_token = torch.nn.Parameter(torch.zeros(1, 1, 4))
    module.cls_pos = torch.nn.Parameter(torch.zeros(1, 1, 4))
    module.bias = torch.nn.Parameter(torch.zeros(4))
    groups = [
        {"params": [module.cls_token, module.cls_pos], "weight_decay": 0.05},
        {"params": [module.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    spare_tokens(module, optimizer)
    decaying, free = (group["params"] for group in optimizer.param_groups)
    assert len(decaying) == 1
    assert decaying[0] is module.cls_pos
    assert any(parameter is module.cls_token for parameter in free)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointCloudRecipe(adapter={"preset": "pointgsp"}), "choose from pointgst"),
        (lambda: PointCloudRecipe(adapter={"preset": "lora"}, prior=True), "prior belongs to point_peft"),
    ],
)
def test_wrong_settings_are_refused(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_point_peft_is_refused_for_segmentation(base: Path) -> None:
    recipe = PartSegmentationRecipe(str(base), adapter={"preset": "point_peft"}, head={"fetch": [0, 1]})
    with pytest.raises(InputError, match="defined on Point-MAE's classifier"):
        recipe.configure_model()


def test_a_head_that_fetches_a_block_that_there_is_not_is_refused(base: Path) -> None:
    with pytest.raises(InputError, match=r"head\.fetch names the blocks 3, 7, 11, and there are 0 to 1"):
        PartSegmentationRecipe(str(base)).configure_model()


@pytest.mark.slow
def test_methods_over_seeds() -> None:
    """Acceptance 5: both methods beat the linear head by 5 points and come within 2 of full fine-tuning."""
    from benchmarks.point_cloud_methods import outcome

    means = {method: outcome(method, (0, 1, 2)).mean for method in ("linear", "full", "pointgst", "point_peft")}
    for method in ("pointgst", "point_peft"):
        assert means[method] >= means["linear"] + 0.05, means
        assert means[method] >= means["full"] - 0.02, means


@pytest.mark.slow
def test_parts_of_made_shapes(tmp_path: Path) -> None:
    """Acceptance 5: more than 0.8 instance mIoU on test shapes."""
    config = load_config(paths.assets() / "configs" / "point_cloud" / "tiny_parts.yaml")
    run = training.run(config, run_dir=tmp_path / "run")
    tested = dataclasses.replace(config, data={**config.data, "val": "shapes:test:400"})
    assert training.evaluate(tested, run.adapter)["val/instance_miou"] > 0.8
