"""The classifier, its losses and slerp, against formulas and the numbers of the papers."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from domains.deepfake import DeepfakeDetector, DetectionQuery
from domains.deepfake.data.datamodule import DeepfakeData
from domains.deepfake.model import attachments, bases, class_token
from domains.deepfake.model.forgery_classifier import ForgeryClassifier
from domains.deepfake.model.interpolation import between, slerp
from domains.deepfake.model.losses import LossWeights, alignment, combine, uniformity
from domains.deepfake.recipe import DeepfakeRecipe, cosine
from suite import adapters, training
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.hub import paths
from tests.deepfake.small import VISION, experiment, write_base

B = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
L = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
TOWERS = {
    "B/32": ({**B, "patch_size": 32}, 87_456_000, 41_474),
    "B/16": ({**B, "patch_size": 16}, 85_799_424, 41_474),
    "L/14": ({**L, "patch_size": 14}, 303_179_776, 104_450),
    "L/14-336": ({**L, "patch_size": 14, "image_size": 336}, 303_507_456, 104_450),
}
GMACS = {"B/32": 4.4, "B/16": 17.6, "L/14": 81.0}
"""A face through the tower, patch embedding included."""


def section(**values: object) -> AdapterSection:
    return AdapterSection.of(values, attachments.PRESETS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("name", TOWERS)
def test_what_trains_of_every_tower(name: str) -> None:
    architecture, tower, trained = TOWERS[name]
    with torch.device("meta"):
        model = bases.shape("none", "LinearNorm", architecture)
        head = sum(parameter.numel() for parameter in model.head.parameters())
        assert sum(parameter.numel() for parameter in model.vision_model.parameters()) == tower
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # peft's line for every norm
            model = attachments.attach_section(model, section(preset="clip-ln-slerp"))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(names) == 2 * (2 + 2 * architecture["num_hidden_layers"]) + 2
    assert adapters.count(model) == (trained, tower + head + trained - head)


def test_what_trains_of_a_perception_encoder() -> None:
    """51 norms, the one of its pooling among them: what `norm_pre`, `norm1`, `norm2` and `norm` name in GenD's code."""
    with torch.device("meta"):
        model = bases.shape("none", "LinearNorm", {"timm": "vit_pe_core_large_patch14_336"})
        tower = sum(parameter.numel() for parameter in model.vision_model.parameters())
        norms = [name for name, part in model.named_modules() if isinstance(part, nn.LayerNorm)]
        model = attachments.attach_section(model, section(preset="clip-ln-unal"))
    assert (tower, len(norms)) == (316_102_656, 51)
    assert len([p for p in model.parameters() if p.requires_grad]) == 2 * 51 + 2
    assert adapters.count(model) == (51 * 2048 + 2_050, tower + 51 * 2048 + 2_050)
    with pytest.raises(InputError, match=r"no Perception Encoder 'vit_pe_core_huge'; choose .*vit_pe_core_large"):
        bases.shape("none", "LinearNorm", {"timm": "vit_pe_core_huge"})


def test_what_trains_of_a_dinov3() -> None:
    architecture = {**L, "model_type": "dinov3_vit", "patch_size": 16, "num_register_tokens": 4}
    with torch.device("meta"):
        model = bases.shape("none", "LinearNorm", architecture)
        tower = sum(parameter.numel() for parameter in model.vision_model.parameters())
        norms = [name for name, part in model.named_modules() if isinstance(part, nn.LayerNorm)]
        model = attachments.attach_section(model, section(preset="clip-ln-unal"))
    assert (tower, len(norms)) == (303_129_600, 49)
    assert adapters.count(model) == (49 * 2048 + 2_050, tower + 49 * 2048 + 2_050)
    with pytest.raises(InputError, match="'depth' is no field of a DINOv3ViTConfig"):
        bases.shape("none", "LinearNorm", {"model_type": "dinov3_vit", "depth": 3})


@pytest.mark.parametrize("name", GMACS)
def test_what_a_face_costs(name: str) -> None:
    with torch.device("meta"):
        model = bases.shape("none", "LinearNorm", TOWERS[name][0])
    assert round(model.macs() / 1e9, 1) == GMACS[name]


def test_lora_and_the_probe_train_what_the_paper_counts() -> None:
    for preset, trained in (("lora", 49_152 + 2_050), ("linear", 2_050)):
        with torch.device("meta"):
            model = attachments.attach_section(
                bases.shape("none", "LinearNorm", TOWERS["L/14"][0]), section(preset=preset)
            )
        assert adapters.count(model).trainable == trained


def test_the_adapter_starts_as_the_frozen_base_to_the_bit_and_merges_to_the_bit(base: Path) -> None:
    torch.manual_seed(0)
    model, pixels = bases.of_folder(base, "LinearNorm"), torch.randn(2, 3, 64, 64)
    before = model(pixels)
    model = attachments.attach_section(model, section(preset="clip-ln-slerp")).eval()
    assert torch.equal(model(pixels), before)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    tuned = model(pixels)
    assert not torch.equal(tuned, before)
    adapters.merge(model)
    assert torch.equal(model(pixels), tuned)
    adapters.unmerge(model)
    assert torch.equal(model(pixels), tuned)


def test_the_feature_is_the_class_token_after_the_last_norm(base: Path) -> None:
    model, pixels = bases.of_folder(base, "LinearNorm"), torch.randn(2, 3, 64, 64)
    tower = model.vision_model
    tokens = tower(pixel_values=pixels).last_hidden_state  # (2, 65, 48)
    feature = functional.layer_norm(
        tokens[:, 0], (48,), tower.post_layernorm.weight, tower.post_layernorm.bias, eps=1e-5
    )
    torch.testing.assert_close(model.features(pixels), feature)
    unit = feature / feature.norm(dim=1, keepdim=True)
    torch.testing.assert_close(model(pixels), unit @ model.head.weight.T + model.head.bias)
    model.kind = "linear"
    scored = model.classify(feature)
    torch.testing.assert_close(scored.logits, feature @ model.head.weight.T + model.head.bias)
    torch.testing.assert_close(scored.embeddings, unit)  # whatever the head sees


def test_a_head_of_zeros_says_a_half_and_costs_ln_2() -> None:
    model = ForgeryClassifier(CLIPVisionModel(CLIPVisionConfig(**VISION)))
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    scored = model.classify(torch.randn(4, 48))
    assert torch.equal(scored.logits.softmax(1), torch.full((4, 2), 0.5))
    terms = combine(scored.logits, scored.embeddings, torch.tensor([0, 1, 1, 0]), LossWeights())
    assert terms.total.item() == pytest.approx(math.log(2))


def test_uniformity_and_alignment_of_known_pairs() -> None:
    e1, e2 = torch.eye(3)[0], torch.eye(3)[1]
    same = torch.tensor([1, 1])
    assert float(uniformity(torch.stack([e1, e1]))) == pytest.approx(0)
    assert float(uniformity(torch.stack([e1, -e1]))) == pytest.approx(-8)
    assert float(uniformity(torch.stack([e1, e2]))) == pytest.approx(-4)
    assert float(uniformity(e1[None])) == 0
    assert float(alignment(torch.stack([e1, -e1]), same)) == pytest.approx(4)
    assert float(alignment(torch.stack([e1, e2]), same)) == pytest.approx(2)
    assert float(alignment(torch.stack([e1, e2]), torch.tensor([0, 1]))) == 0  # no pair of one label
    assert float(alignment(e1[None], torch.tensor([0]))) == 0


def test_the_embedding_losses_are_means_over_unordered_pairs() -> None:
    torch.manual_seed(0)
    z, labels = functional.normalize(torch.randn(7, 5), dim=1), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    pairs = [(i, j) for i in range(7) for j in range(i + 1, 7)]
    distances = {pair: float((z[pair[0]] - z[pair[1]]).norm()) for pair in pairs}
    spread = math.log(sum(math.exp(-2 * d * d) for d in distances.values()) / len(pairs))
    assert float(uniformity(z)) == pytest.approx(spread, rel=1e-5)
    own = [d**2 for (i, j), d in distances.items() if labels[i] == labels[j]]
    assert float(alignment(z, labels)) == pytest.approx(sum(own) / len(own), rel=1e-5)


def test_gradients_are_finite_for_identical_embeddings_and_those_of_weight_0_are_none() -> None:
    z = torch.ones(4, 3, requires_grad=True)
    embeddings = functional.normalize(z, dim=1)
    logits = torch.zeros(4, 2, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1])
    combine(logits, embeddings, labels, LossWeights(1.0, 0.5, 0.1)).total.backward()
    assert z.grad is not None and torch.isfinite(z.grad).all()
    z.grad = None
    terms = combine(logits, functional.normalize(z, dim=1), labels, LossWeights())
    terms.total.backward()
    assert z.grad is None
    assert torch.isfinite(terms.uniformity) and torch.isfinite(terms.alignment_labels)


def test_slerp_halfway_and_at_the_ends() -> None:
    e1, e2 = torch.eye(4)[:1], torch.eye(4)[1:2]
    torch.testing.assert_close(slerp(e1, e2, 0.5), (e1 + e2) / math.sqrt(2))
    torch.testing.assert_close(slerp(3 * e1, e2, 0.0), e1)
    torch.testing.assert_close(slerp(e1, 5 * e2, 1.0), e2)
    angle = math.pi / 6  # a third of a right angle
    torch.testing.assert_close(slerp(e1, e2, 1 / 3), math.cos(angle) * e1 + math.sin(angle) * e2)


def test_slerp_in_bfloat16_has_no_nan_for_equal_and_opposite_features() -> None:
    features = torch.randn(6, 8).bfloat16()
    features[1] = features[0]
    with torch.autocast("cpu", torch.bfloat16):
        same, opposite = slerp(features, features, torch.rand(6, 1)), slerp(features, -features, torch.rand(6, 1))
        within = between(features[:2], torch.tensor([1, 1]))
    for result in (same, opposite, within):
        assert result.dtype == torch.float32
        assert torch.isfinite(result).all()
    torch.testing.assert_close(same, functional.normalize(features.float(), dim=1), atol=1e-3, rtol=0)


def test_features_are_interpolated_within_classes_and_a_lonely_one_stays() -> None:
    torch.manual_seed(3)
    features, labels = 5 * torch.randn(7, 6, requires_grad=True), torch.tensor([1, 0, 1, 2, 0, 1, 0])
    result = between(features, labels)
    assert torch.equal(result[3], features[3])  # alone in its class: as it was, not normalised
    others = [0, 1, 2, 4, 5, 6]
    torch.testing.assert_close(result[others].norm(dim=1), torch.ones(6))
    for row in others:  # a point of the plane of itself and one of its class
        mates = [n for n in range(7) if labels[n] == labels[row]]
        spans = [torch.stack([features[row], features[mate]]) for mate in mates]
        misses = [float((result[row] - result[row] @ torch.linalg.pinv(s) @ s).norm()) for s in spans]
        assert min(misses) < 1e-4
    assert result is not features and result.requires_grad


def test_slerp_draws_the_permutation_and_then_the_shares_class_by_class() -> None:
    features, labels = torch.randn(5, 4), torch.tensor([0, 1, 0, 1, 1])
    torch.manual_seed(9)
    result = between(features, labels, (0.2, 0.6))
    torch.manual_seed(9)
    for label in (0, 1):
        rows = (labels == label).nonzero().flatten()
        own, order = features[rows], torch.randperm(len(rows))
        t = torch.rand(len(rows), 1) * 0.4 + 0.2
        torch.testing.assert_close(result[rows], slerp(own, own[order], t))


def test_the_preset_decides_what_the_configuration_leaves_out() -> None:
    slerped = DeepfakeRecipe(adapter={"preset": "clip-ln-slerp"})
    assert slerped.slerp and slerped.loss == LossWeights(1.0, 0.0, 0.0)
    spread = DeepfakeRecipe(adapter={"preset": "clip-ln-unal"})
    assert not spread.slerp and spread.loss == LossWeights(1.0, 0.5, 0.1)
    changed = DeepfakeRecipe(adapter={"preset": "clip-ln-unal"}, loss={"uniformity": 0.2}, slerp=True)
    assert changed.slerp and changed.loss == LossWeights(1.0, 0.2, 0.1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": {"uniformty": 0.5}}, "uniformity"),
        ({"loss": {"ce_labels": 0}}, "all weights are 0"),
        ({"loss": {"ce_labels": -1}}, "0 or more"),
        ({"slerp_range": [0.9, 0.1]}, "slerp_range"),
        ({"adapter": {"preset": "clip-ln-slrp"}}, "clip-ln-slerp"),
        ({"adapter": {"preset": "linear", "r": 4}}, None),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], said: str | None, base: Path) -> None:
    with pytest.raises(InputError, match=said):
        DeepfakeRecipe(base=str(base), **settings).build()  # type: ignore[arg-type]


def test_a_loss_of_nan_trains_nothing_and_too_many_end_the_run(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = DeepfakeRecipe(base=str(base), most_nan=1)
    recipe.configure_model()
    batch = {"image": torch.full((2, 3, 64, 64), float("nan")), "label": torch.tensor([0, 1])}
    outputs = recipe.compute(batch)
    outputs.loss.backward()
    gradients = [p.grad for p in recipe.model.parameters() if p.grad is not None]
    assert float(outputs.loss) == 0 and all(torch.count_nonzero(g) == 0 for g in gradients)
    assert "skipped (1)" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"NaN in 2 batches; lower trainer\.lr"):
        recipe.compute(batch)


def test_slerp_before_a_head_without_normalisation_is_said_to_be_an_ablation(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for head, said in (("linear", True), ("LinearNorm", False)):
        recipe = DeepfakeRecipe(base=str(base), head=head)
        recipe.bind(DeepfakeData("faces:train:2", None))
        assert ("features of length 1" in capsys.readouterr().err) == said


def test_the_published_schedule_ends_at_the_lowest_rate() -> None:
    factor = cosine(100, 5e-5 / 8e-5)
    assert factor(0) == 1 and factor(100) == pytest.approx(0.625) and factor(50) == pytest.approx(0.8125)


def test_patches_are_judged_by_the_head_as_the_class_token_is(base: Path) -> None:
    model, pixels = bases.of_folder(base, "LinearNorm"), torch.randn(1, 3, 64, 64)
    tokens = model.vision_model(pixel_values=pixels).last_hidden_state[0, 1:]  # (64, 48)
    unit = functional.normalize(model.vision_model.post_layernorm(tokens), dim=1)
    weight, bias = model.head.weight, model.head.bias
    expected = (unit @ (weight[1] - weight[0]) + bias[1] - bias[0]).view(1, 8, 8)
    torch.testing.assert_close(model.patch_logits(pixels), expected)


def test_gends_schedule_starts_anew_every_cycle() -> None:
    factor = cosine(10, 1e-6 / 3e-4, again=True)
    assert factor(0) == factor(10) == factor(20) == 1 and factor(9) < 0.05
    assert factor(5) == factor(25) == pytest.approx((1 + 1e-6 / 3e-4) / 2)


@pytest.mark.parametrize("name", ["clip_ln_unal", "pe_ln_unal", "dinov3_ln_unal"])
def test_gends_configurations_are_its_recipe(name: str) -> None:
    config = training.load_config(paths.assets() / "configs" / "deepfake" / f"{name}.yaml")
    recipe = DeepfakeRecipe(base="none", **config.recipe)
    assert recipe.loss == LossWeights(1.0, 0.5, 0.1) and not recipe.slerp and recipe.cycle == 10
    assert (config.trainer.lr, recipe.min_lr, config.data["batch_size"]) == (3e-4, 1e-6, 512)
    assert (config.trainer.max_epochs, config.trainer.patience) == (30, 30)
    assert (config.data["augment"], config.data["alignment"]) == ("gend", "gend")


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"cycle": 0}, "whole epochs"), ({"cycle": 2, "trainer": {"scheduler": "linear"}}, "of a cosine over epochs")],
)
def test_cycles_that_mean_nothing_are_refused(settings: dict[str, Any], said: str, base: Path, tmp_path: Path) -> None:
    trainer = settings.pop("trainer", {})
    with pytest.raises(InputError, match=said):
        training.run(experiment(base, recipe=settings, trainer=trainer), run_dir=tmp_path / "run")


def test_a_run_says_its_losses_parts_and_the_length_of_its_head_every_epoch(base: Path, tmp_path: Path) -> None:
    run = training.run(experiment(base, trainer={"max_epochs": 2}), run_dir=tmp_path / "run")
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    names = {"train/ce_labels", "train/uniformity", "train/alignment_labels", "train/head_weight_norm"}
    for name in (*names, "val/uniformity", "val/balanced_accuracy_video"):
        assert len([line for line in lines if name in line]) == 2, name
    assert all(line["train/uniformity"] < 0 for line in lines if "train/uniformity" in line)


def test_embeddings_of_all_devices_are_compared_where_asked_for(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices stood in for by one batch given twice: pairs are of both, gradients flow to the own ones."""
    batch = {"image": torch.randn(4, 3, 64, 64), "label": torch.tensor([0, 1, 0, 1])}
    losses = {}
    for gather in (False, True):
        recipe = DeepfakeRecipe(base=str(base), adapter={"preset": "clip-ln-unal"}, gather=gather)
        torch.manual_seed(0)
        recipe.configure_model()
        monkeypatch.setattr(recipe, "all_gather", lambda both, sync_grads: tuple(torch.stack([x, x]) for x in both))
        outputs = recipe.compute(batch)
        outputs.loss.backward()
        losses[gather] = outputs.loss.item()
        z = functional.normalize(recipe.model.features(batch["image"]), dim=1).detach()
        labels = batch["label"]
        if gather:
            z, labels = torch.cat([z, z]), torch.cat([labels, labels])
        wanted = functional.cross_entropy(outputs.logits, batch["label"]) + 0.5 * uniformity(z)
        assert losses[gather] == pytest.approx(float(wanted + 0.1 * alignment(z, labels)), rel=1e-5)
    assert losses[True] != losses[False]


@pytest.mark.parametrize("preset", ["clip-ln", "lora"])
def test_the_last_block_of_the_class_token_alone_gives_the_same_features(preset: str) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4}
    model = ForgeryClassifier(CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=64, patch_size=16)))
    model = attachments.attach_section(model, section(preset=preset)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    pixels, tower = torch.randn(3, 3, 64, 64), model.vision_model
    whole = model.features(pixels)
    assert whole.requires_grad and not class_token.fits(tower)  # training computes as transformers does
    with torch.inference_mode():
        assert class_token.fits(tower)
        torch.testing.assert_close(model.features(pixels), whole, rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model.features(pixels), tower(pixels).pooler_output.float(), rtol=0.1, atol=0.1)
        hook = tower.encoder.layers[-1].register_forward_hook(lambda *_: None)
        assert not class_token.fits(tower)
        hook.remove()
        assert class_token.fits(tower)
        narrow = CLIPVisionModel(CLIPVisionConfig(**VISION))
        assert not class_token.fits(narrow)


def test_faces_in_memory_are_what_they_are_said_to_be(detector: DeepfakeDetector) -> None:
    one = np.full((64, 64, 3), 90, np.uint8)
    assert len(detector.predict_crops([])) == 0
    # A single picture is one face, not as many as it has rows.
    assert detector.predict_crops(one) == pytest.approx(detector.predict_crops([one]))
    for wrong in ([one / 255], ["a.png"], torch.zeros(2, 3, 32, 64)):
        with pytest.raises(InputError, match="give"):
            detector.predict_crops(wrong)
    with pytest.raises(InputError, match="go to predict_crops"):
        detector(one)


@pytest.mark.parametrize("option", [{"detector": "eyes"}, {"heatmap": "all"}, {"face": "smallest"}, {"frames": 2.5}])
def test_python_refuses_the_options_that_the_command_refuses(option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(option))):
        DetectionQuery(**option)
