"""Point-M2AE and Point-PEFT on its scales."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from domains.point_cloud import official
from domains.point_cloud.model import attachments, bases, forward, geometry
from domains.point_cloud.model.attachments import count_trained
from domains.point_cloud.model.point_m2ae import PointM2AE
from domains.point_cloud.model.prior import PointPrior
from suite import adapters
from suite.adapters.methods.additive.point_cloud.point_peft import with_prompts
from suite.errors import InputError

SMALL = {
    "class": "point_m2ae", "num_groups": [32, 16, 8], "group_sizes": [8, 4, 4], "encoder_dims": [12, 24, 36],
    "encoder_depths": [2, 1, 2], "cls_dim": 5,
}  # fmt: skip


def clouds(count: int, points: int = 64) -> Tensor:
    return torch.randn(count, points, 3, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


def adapted(**options: int) -> nn.Module:
    torch.manual_seed(0)
    net = attachments.attach(bases.build(SMALL), "point_peft", prompts=4, **options)
    for parameter in net.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
    return net.eval()


def test_published_counts_of_point_m2ae() -> None:
    architecture = {"class": "point_m2ae", "group_sizes": [32, 16, 16], "cls_dim": 15}
    assert count_trained("point_peft", architecture) == adapters.ParameterCount(661_046, 13_287_798)
    assert count_trained("full", architecture).trainable == 12_921_935  # the 12.9M of Point-PEFT's table


def test_scales_are_merged_from_each_other_and_see_only_their_radius() -> None:
    torch.manual_seed(0)
    net = bases.build(SMALL).eval()
    scales, coarsest = net.group(clouds(2))
    assert [tuple(center.shape[1:]) for center in scales.centers] == [(32, 3), (16, 3), (8, 3)]
    assert torch.equal(coarsest, scales.centers[-1])
    assert [tuple(index.shape[1:]) for index in scales.members] == [(16, 4), (8, 4)]
    # A centre is its own nearest neighbour on the scale before.
    assert torch.equal(geometry.gather(scales.centers[0], scales.members[0])[:, :, 0], scales.centers[1])
    seen: list[Tensor] = []
    net.blocks[0].blocks[0].attn.register_forward_hook(lambda _module, args, _output: seen.append(args[1]))
    with torch.no_grad():
        net(clouds(2))
    distance = torch.cdist(scales.centers[0], scales.centers[0], compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(seen[0], distance >= 0.32)


def test_prompts_are_seen_by_every_token() -> None:
    hidden = torch.ones(1, 3, 3, dtype=torch.bool).triu(1)
    wide = with_prompts(hidden, 1, 2)
    assert not wide[:, 1:3].any()
    assert not wide[:, :, 1:3].any()
    old = torch.tensor([0, 3, 4])
    assert torch.equal(wide[0][old[:, None], old], hidden[0])


def test_point_peft_on_scales_is_independent_of_companions_and_starts_without_the_mlp() -> None:
    net = adapted()
    with torch.no_grad():
        together = forward.predict_logits(net, clouds(4))
        alone = torch.cat([forward.predict_logits(net, one[None]) for one in clouds(4)])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)
    torch.manual_seed(0)
    fresh = attachments.attach(bases.build(SMALL), "point_peft", prompts=4)
    gates = [parameter for name, parameter in fresh.named_parameters() if name.endswith("ad_gate")]
    assert len(gates) == 5
    assert not any(gate.item() for gate in gates)


def test_places_of_prompts_are_shared_by_the_scales_after_loading_too(tmp_path: Path) -> None:
    net = adapted()
    saved = adapters.save(net, tmp_path / "adapter")
    torch.manual_seed(0)
    loaded = adapters.load(bases.build(SMALL), saved, trainable=True).eval()
    places = {id(value) for name, value in loaded.named_parameters(remove_duplicate=False) if "prompt_cor" in name}
    assert len(places) == 1
    with torch.no_grad():
        assert torch.equal(forward.predict_logits(loaded, clouds(2)), forward.predict_logits(net, clouds(2)))


def test_the_memory_reaches_the_last_scale_alone() -> None:
    net = adapted()
    bank = forward.build_bank(net, list(clouds(6)), batch=4)
    assert bank.shape == (36, 6)
    prior = PointPrior(bank, prompts=4)
    with torch.no_grad():
        assert not torch.allclose(
            forward.predict_logits(net, clouds(2), prior=prior), forward.predict_logits(net, clouds(2))
        )
    net.train()
    forward.predict_logits(net, clouds(4), prior=prior).sum().backward()
    untouched = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert untouched == []


def test_a_released_pre_training_file_becomes_a_base(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = bases.build({**SMALL, "cls_dim": 40})
    names = {"encoders.": "token_embed.", "pos_embeds.": "encoder_pos_embeds.", "blocks.": "encoder_blocks."}
    state = {
        f"module.h_encoder.{new}{key.removeprefix(old)}": value
        for key, value in net.state_dict().items()
        for old, new in names.items()
        if key.startswith(old)
    }
    extra = {"module.mask_token": torch.zeros(1, 36), "module.h_encoder.encoder_norms.0.weight": torch.ones(12)}
    torch.save({"base_model": {**state, **extra}}, tmp_path / "pre-train.pth")
    base = official.convert_base(tmp_path / "pre-train.pth", tmp_path / "base")
    sizes = {"num_groups": (32, 16, 8), "group_sizes": (8, 4, 4)}
    loaded = bases.load_base_folder(base, **sizes)
    assert isinstance(loaded, PointM2AE)
    with torch.no_grad():
        groups = net.group(clouds(2))
        found = loaded.eval().tokens(groups[0])
        wanted = net.eval().tokens(groups[0])
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("method", ["pointgst", "dapt", "visual_prompt"])
def test_methods_of_one_set_of_patches_are_refused(method: str) -> None:
    with pytest.raises(InputError, match="Point-M"):
        attachments.attach(bases.build(SMALL), method)


def test_scales_of_different_number_are_refused() -> None:
    with pytest.raises(InputError, match="one entry a scale"):
        bases.build({**SMALL, "encoder_depths": [1, 1]})
