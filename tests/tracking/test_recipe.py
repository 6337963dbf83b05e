"""Training: what moves and what does not, the published schedule, a clip that is learnt, and learnt the same twice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from domains.tracking.data.samples import CropSettings, TrackingSamples
from domains.tracking.data.sampling import FrameSampling
from domains.tracking.data.sources import open_set
from domains.tracking.evaluation.runs import followed
from domains.tracking.inference.loaded import LoadedTracker
from domains.tracking.model.manifest import Manifest
from domains.tracking.recipe import LR_FIRST, LR_MIN, TrackingRecipe, lora_parameters, published_rate
from suite import adapters, training
from suite.errors import InputError
from suite.hub import paths
from tests.tracking import small

TRACKER = {"template_size": 28, "search_size": 70, "search_area_factor": 3.0}


def recipe(folder: Path, **settings: Any) -> TrackingRecipe:
    base = folder / "base"
    if not base.is_dir():
        small.write_base(base)
    made = TrackingRecipe(base=str(base), tracker={**TRACKER, **settings.pop("tracker", {})}, **settings)
    torch.manual_seed(0)
    made.configure_model()
    return made


def samples(settings: CropSettings | None = None, clips: int = 1) -> TrackingSamples:
    found = open_set(f"world:train:{clips}")
    crops = settings or CropSettings(28, 70, search_area_factor=3.0, scale_jitter=0.1, translation_jitter=0.5)
    return TrackingSamples([found], crops, 512, sampling=FrameSampling(20, 30), augment=False)


def batch(data: TrackingSamples, size: int, seed: int = 0) -> dict[str, torch.Tensor]:
    rows = []
    for number in range(size):
        torch.manual_seed(1000 * seed + number)
        rows.append(data[number])
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize(
    "adapter", [{"preset": "spmtrack", "r": 4}, {"preset": "lorat", "r": 4}, {"preset": "head"}], ids=str
)
def test_a_step_moves_what_trains_and_nothing_else(adapter: dict[str, Any], tmp_path: Path) -> None:
    lorat = adapter["preset"] == "lorat"
    made = recipe(tmp_path, adapter=adapter, tracker={"num_templates": 1, "state_token": False} if lorat else {})
    before = {name: value.detach().clone() for name, value in made.model.named_parameters()}
    optimizer = torch.optim.AdamW(made.parameter_groups(), lr=1e-2)
    outputs = made.compute(batch(samples(), 4))
    assert outputs.per_sample is not None and outputs.overlaps is not None
    torch.testing.assert_close(outputs.per_sample.mean(), outputs.loss)
    assert outputs.overlaps.shape == (4,)
    outputs.loss.backward()
    optimizer.step()
    moved = {name for name, value in made.model.named_parameters() if not torch.equal(value, before[name])}
    trained = {name for name, value in made.model.named_parameters() if value.requires_grad}
    # LoRA's A stands still as long as B is 0.
    assert moved == trained - {name for name in trained if "lora_A" in name}
    assert all(any(word in name for word in ("tmoe", "lora", "head", "embed", "query")) for name in trained)


def test_embeddings_do_not_decay_and_the_query_does(tmp_path: Path) -> None:
    made = recipe(tmp_path, adapter={"preset": "spmtrack", "r": 4})
    names = {id(parameter): name for name, parameter in made.named_parameters()}
    object.__setattr__(made.settings, "weight_decay", 0.1)
    decays = {
        names[id(parameter)]: group["weight_decay"]
        for group in made.parameter_groups()
        for parameter in group["params"]
    }
    assert decays["model.query_embed"] == decays["model.token_type_embed"] == 0
    assert decays["model.track_query"] == 0.1
    assert {value for name, value in decays.items() if name.endswith("bias")} == {0}
    assert {value for name, value in decays.items() if "tmoe" in name} == {0.1}


def test_the_published_schedule_warms_up_before_a_cosine_that_ends_short_of_its_floor() -> None:
    factor = published_rate(1e-4, 1000, 100)
    assert factor(0) == pytest.approx(LR_FIRST / 1e-4)
    assert factor(50) == pytest.approx((LR_FIRST + 1e-4) / 2 / 1e-4)
    assert factor(100) == pytest.approx(1)
    assert factor(600) == pytest.approx((1e-4 + LR_MIN) / 2 / 1e-4)
    assert factor(999) == pytest.approx((LR_MIN + (1e-4 - LR_MIN) * (1 + math.cos(math.pi * 0.899)) / 2) / 1e-4)


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(tmp_path: Path) -> None:
    made = recipe(tmp_path, adapter={"preset": "head"})
    given = batch(samples(), 2)
    made.train()
    made.compute(given)
    with torch.no_grad():
        made.model.head.cls_mlp.layers[-1].bias.fill_(math.nan)
    with pytest.raises(InputError, match=r"the loss is nan at step 0 \(the last finite one was \d"):
        made.compute(given)


def test_what_a_recipe_cannot_be_is_refused(tmp_path: Path) -> None:
    for settings, said in (
        ({"drop_path": 1.0}, "recipe.drop_path"),
        ({"loss": {"kinds": "bce"}}, "kinds"),
        ({"loss": {"kind": "focal"}}, "recipe.loss.kind"),
        ({"tracker": {"template_size": 30}}, "multiple of the patch"),
        ({"adapter": {"preset": "spmtrak"}}, "spmtrack"),
    ):
        with pytest.raises(InputError, match=said):
            TrackingRecipe(**settings)  # type: ignore[arg-type]


def test_what_lora_on_the_same_layers_trains_is_as_counted(tmp_path: Path) -> None:
    lorat = recipe(tmp_path, adapter={"preset": "lorat", "r": 4}, tracker={"num_templates": 1, "state_token": False})
    assert lora_parameters(lorat.model, 4) == adapters.count(lorat.model).trainable
    tmoe = recipe(tmp_path, adapter={"preset": "spmtrack", "r": 4})
    [(said, count)] = tmoe.comparisons().items()
    assert "rank 4" in said and count == adapters.count(lorat.model).trainable


@pytest.mark.parametrize(
    ("name", "trainable", "step"), [("spmtrack_b", 29_243_909, "181.5"), ("lorat_b", 12_985_349, "106.3")]
)
def test_shipped_configurations_count_as_published(name: str, trainable: int, step: str) -> None:
    config = training.load_config(paths.assets() / "configs" / "tracking" / f"{name}.yaml")
    made: Any = training.recipe_of(config)
    with torch.device("meta"):
        made.configure_model()
    assert adapters.count(made.model).trainable == trainable
    assert made.costs()["a step"].startswith(f"{step} GMACs")


@pytest.mark.slow
def test_a_clip_is_learnt_and_learnt_the_same_twice(tmp_path: Path) -> None:
    """The loss falls by more than half, and the tracker holds the clip better than an untrained one."""
    batches, clip = [batch(samples(), 8, number) for number in range(8)], open_set("world:train:1").sequences[0]

    def trained(steps: int) -> tuple[list[float], float]:
        made = recipe(tmp_path, adapter={"preset": "spmtrack", "r": 4, "alpha": 32.0})
        optimizer = torch.optim.AdamW(made.parameter_groups(), lr=3e-3)
        made.train()
        losses = []
        for step in range(steps):
            outputs = made.compute(batches[step % len(batches)])
            optimizer.zero_grad()
            outputs.loss.backward()
            torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
            optimizer.step()
            losses.append(float(outputs.loss.detach()))
        model: Any = made.model
        tracked = followed(LoadedTracker(model, Manifest(made.tracker)).session(), clip)
        return losses, _overlap(tracked.boxes, clip.track.boxes)

    (losses, overlap), (again, same), (_, untrained) = trained(120), trained(120), trained(0)
    assert losses == again and overlap == same
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert overlap > 1.5 * untrained


def _overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean IoU of boxes (frames, 4), corners."""
    low, high = np.maximum(found[:, :2], truth[:, :2]), np.minimum(found[:, 2:], truth[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (found, truth)]
    return float((shared / (areas[0] + areas[1] - shared)).mean())
