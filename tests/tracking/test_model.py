"""The tracker: sizes and costs of the published models, bases in three layouts, dropped paths."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from domains.tracking.model import attachments, bases
from domains.tracking.model.costs import step_macs
from domains.tracking.model.dinov2 import SIZES as RELEASED
from domains.tracking.model.dinov2 import Block, Sizes, blocks, resized_positions
from domains.tracking.model.heads import AnchorFreeHead
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import SpmTrack
from domains.tracking.official import keys
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.hub import weights
from tests.tracking import small

COUNTS = {
    "base": (115_330_565, 29_243_909, 447, 34_552_325, 45_169_157, 12_985_349),
    "large": (379_582_469, 75_872_261, 879, 90_028_037, 118_339_589, 32_518_149),
    "giant": (1_339_511_813, 204_018_693, 1455, 244_651_013, 294_458_373, 80_234_501),
}
"""Total, trainable, tensors of the released file, trainable of the two other forms and of LoRA on the same layers."""
GMACS = {"base": {1: 121.5, 3: 181.5}, "large": {1: 391.8, 3: 581.5}, "giant": {1: 1341.9, 3: 1970.2}}


def published(size: str, preset: str = "spmtrack", **settings: object) -> nn.Module:
    with torch.device("meta"):
        lorat = preset == "lorat"
        tracker = TrackerSettings(num_templates=1, state_token=False) if lorat else TrackerSettings()
        model = SpmTrack(Sizes.of({"size": size}), tracker, split=lorat)
        section = AdapterSection.of({"preset": preset, **settings}, attachments.PRESETS)
        return attachments.attach_section(model, section)


@pytest.mark.parametrize("size", COUNTS)
def test_the_published_models_have_the_published_numbers_of_parameters(size: str) -> None:
    total, trainable, tensors, shared, compressed, lora = COUNTS[size]
    model = published(size)
    assert adapters.count(model) == (trainable, total)
    assert len(keys.to_released(keys.trained(model), {})) == tensors
    for form, count in (("shared_expert", shared), ("route_compression", compressed)):
        assert adapters.count(published(size, form=form)).trainable == count
    assert adapters.count(published(size, "lorat")).trainable == lora


@pytest.mark.parametrize("size", GMACS)
def test_a_step_costs_what_the_shapes_say(size: str) -> None:
    for count, expected in GMACS[size].items():
        with torch.device("meta"):
            model = SpmTrack(Sizes.of({"size": size}), TrackerSettings(num_templates=count))
            attachments.attach_section(model, AdapterSection.of({"preset": "spmtrack"}, attachments.PRESETS))
        assert round(step_macs(model) / 1e9, 1) == expected
    assert model.settings.tokens == 1318


@pytest.mark.parametrize("swiglu", [False, True])
def test_three_layouts_of_a_base_are_one_tracker(swiglu: bool, tmp_path: Path) -> None:
    folder = small.write_base(tmp_path / "transformers", swiglu=swiglu)
    tracker = bases.load_folder(folder, small.SETTINGS)
    timm = bases.backbone_state(weights.read(folder / "model.safetensors"), "base")
    timm["cls_token"] = torch.zeros(1, 1, 64)
    weights.write(timm, _folder(tmp_path / "timm") / "model.safetensors")
    released = {
        (name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3") if swiglu else name): value
        for name, value in timm.items()
    }
    torch.save({**released, "mask_token": torch.zeros(1, 64)}, _folder(tmp_path / "released") / "dinov2.pth")
    for name in ("timm", "released"):
        other = bases.load_folder(tmp_path / name, small.SETTINGS)
        for (key, one), (_, two) in zip(tracker.base_tensors().items(), other.base_tensors().items(), strict=True):
            assert torch.equal(one, two), key
        assert torch.equal(tracker.pos_embed, other.pos_embed)
        larger = replace(small.SETTINGS, search_size=84)
        same = bases.load_folder(tmp_path / name, larger, split=True)
        assert adapters.fingerprint(same) == adapters.fingerprint(tracker)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("swiglu", [False, True])
@torch.no_grad()
def test_blocks_compute_what_transformers_does_fused_and_split(swiglu: bool, tmp_path: Path) -> None:
    folder = small.write_base(tmp_path / "base", swiglu=swiglu)
    theirs, x = small.base_model(swiglu), torch.randn(2, 9, 64)
    for split in (False, True):
        tracker = bases.load_folder(folder, small.SETTINGS, split=split)
        for ours, layer in zip(tracker.blocks, theirs.encoder.layer, strict=True):
            torch.testing.assert_close(ours(x), layer(x), atol=1e-5, rtol=1e-5)


def test_a_base_with_registers_or_of_another_patch_is_refused(tmp_path: Path) -> None:
    folder = small.write_base(tmp_path / "base")
    with pytest.raises(InputError, match=r"patches of 14 pixels and the settings say 10; set recipe\.tracker\.patch"):
        bases.load_folder(folder, TrackerSettings(template_size=20, search_size=50, patch=10))
    state = weights.read(folder / "model.safetensors")
    weights.write({**state, "embeddings.register_tokens": torch.zeros(1, 4, 64)}, folder / "model.safetensors")
    with pytest.raises(InputError, match="with registers"):
        bases.load_folder(folder, small.SETTINGS)
    weights.write({"fc.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    with pytest.raises(InputError, match="unknown keys"):
        bases.load_folder(folder, small.SETTINGS)


def test_positions_are_resized_without_antialiasing() -> None:
    table = torch.randn(1, 37 * 37, 8)
    grid = table.reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    plain = functional.interpolate(grid, (27, 27), mode="bicubic", antialias=False)
    smooth = functional.interpolate(grid, (27, 27), mode="bicubic", antialias=True)
    ours = resized_positions(table, 27).reshape(1, 27, 27, 8).permute(0, 3, 1, 2)
    assert torch.equal(ours, plain)
    assert (ours - smooth).abs().max() > 0.1


def test_paths_are_dropped_by_sample_at_low_rates_and_by_subset_at_high_ones() -> None:
    sizes = replace(small.SIZES, depth=1)
    x = torch.randn(10, 3, 64)
    torch.manual_seed(0)
    [plain] = blocks(sizes)
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=0.3)
    for rate in (0.1, 0.4):
        block = blocks(sizes, drop_path=rate)[0]
        block.load_state_dict(plain.state_dict())
        assert torch.equal(block.eval()(x), plain.eval()(x))
        block.train()
        # Without the second path, so that the first one's rows can be told.
        block.ls2.gamma.data.zero_()
        torch.manual_seed(1)
        moved = (block(x) - x).flatten(1).abs().amax(1) > 0  # (batch,)
        whole = plain.ls1(plain.attn(plain.norm1(x)))
        kept = (block(x) - x).detach()
        if rate > 0.1:
            assert int(moved.sum()) == 6
            factors = {
                round((kept[row] / whole[row].detach()).mean().item(), 3) for row in range(10) if kept[row].any()
            }
            assert factors == {round(10 / 6, 3)}
    assert isinstance(block, Block)


def test_no_gradient_goes_back_from_frame_to_frame_and_states_do_not_mix() -> None:
    model = small.attached(SpmTrack(small.SIZES, small.SETTINGS))
    templates, masks, crop = small.inputs(small.SETTINGS)
    first, second = model(templates.unbind(1), masks.unbind(1), [crop.requires_grad_(), torch.randn_like(crop)])
    assert first.state.requires_grad is False
    assert crop.grad is None
    second.scores.sum().backward()
    assert crop.grad is None
    with torch.no_grad():
        pairs = zip(templates.unbind(1), masks.unbind(1), strict=True)
        embedded = torch.cat([model.embed_template(*pair) for pair in pairs], 1)
        both = model.search(embedded, crop, first.state)
        alone = model.search(embedded[1:], crop[1:], first.state[1:])
        torch.testing.assert_close(both.scores[1:], alone.scores, atol=1e-5, rtol=0)
        fresh = model.search(embedded, crop, model.fresh_state(2))
        assert (both.scores - fresh.scores).abs().max() > 1e-5


def test_what_is_not_a_number_of_a_tracker_is_refused() -> None:
    for wrong, said in (
        ({"template_size": 200}, "multiple of the patch"),
        ({"template_size": 392}, "larger than"),
        ({"window_penalty": 2}, "from 0 to 1"),
        ({"num_templates": 2}, "give 3, or 1"),
        ({"box_prior": 0.0}, "above 0 and below 1"),
        ({"colour": 1}, "unknown"),
        ({"state_token": 1}, "no bool"),
        ({"memory_policy": "all"}, "segments or thirds"),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            TrackerSettings.from_dict(wrong)
    assert set(RELEASED) == {"small", "base", "large", "giant"}


@pytest.mark.parametrize("prior", [0.5, 0.1])
def test_boxes_begin_as_far_from_their_cells_as_is_asked(prior: float) -> None:
    torch.manual_seed(0)
    head = AnchorFreeHead(16, 9, prior)
    _, boxes = head(0.1 * torch.randn(2, 81, 16))
    assert torch.allclose(boxes[..., 2:] - boxes[..., :2], torch.tensor(2 * prior), atol=1e-3)
    published = AnchorFreeHead(16, 9).reg_mlp.layers[-1].bias
    assert torch.equal(published, torch.zeros(4))
