"""The authors' files in and out, on small models in their layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from domains.point_cloud import official
from domains.point_cloud.model import attachments, bases, forward, manifest
from domains.point_cloud.model.layers import BackboneConfig
from domains.point_cloud.model.masked_autoencoder import PointMAE
from domains.point_cloud.official import keys
from suite import adapters, hub
from suite.errors import InputError

SHAPE = {
    "class": "point_mae", "trans_dim": 36, "depth": 2, "num_heads": 6, "num_group": 32, "group_size": 32,
    "encoder_dims": 36, "encoder_width": 16, "cls_dim": 7,
}  # fmt: skip
METHODS = {"pointgst": {"rank": 8, "basis": "released"}, "point_peft": {"indexing": "released"}}


@pytest.fixture(params=METHODS)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, nn.Module]:
    """A file as a parallel run of the authors' code leaves it, and the model in it."""
    torch.manual_seed(0)
    net = attachments.attach(bases.build(SHAPE), request.param, freeze_bn=False, **METHODS[request.param])
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    state = {f"module.{name}": tensor.clone() for name, tensor in keys.full_state(net).items()}
    file = tmp_path / "ckpt-best.pth"
    torch.save({"base_model": state, "optimizer": {"lr": 1.0}, "epoch": 3, "metrics": {"acc": 93.5}}, file)
    return file, net.eval()


def converted(file: Path, out: Path, **options: object) -> Path:
    converter = "domains.point_cloud.official:convert"
    return hub.convert(str(file), out, converter, num_group=32, num_heads=6, **options)


def test_a_released_file_goes_in_and_out_unchanged(released: tuple[Path, nn.Module], tmp_path: Path) -> None:
    file, net = released
    folder = converted(file, tmp_path / "adapter")
    loaded = manifest.from_manifest(folder, folder / "base")
    points = torch.randn(2, 64, 3)
    with torch.no_grad():
        assert torch.equal(forward.predict_logits(loaded, points), forward.predict_logits(net, points))
    out = hub.export(str(folder), tmp_path / "out", "domains.point_cloud.official:export")
    before, after = keys.read(file), keys.read(out / "ckpt-best.pth")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_adapter_keeps_the_statistics_that_drifted(released: tuple[Path, nn.Module], tmp_path: Path) -> None:
    folder = converted(released[0], tmp_path / "adapter")
    net = bases.load_base_folder(folder / "base", **SHAPE)
    drifted = net.encoder.first_conv[1].running_mean.clone()
    with torch.no_grad():
        net.encoder.first_conv[1].running_mean.zero_()
    loaded = adapters.load(net, folder)
    assert torch.equal(loaded.encoder.first_conv[1].running_mean, drifted)


def test_another_base_is_refused(released: tuple[Path, nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(9)
    base = bases.save_base(bases.build(SHAPE), tmp_path / "other", canonical=True)
    with pytest.raises(InputError, match="was trained on another base"):
        converted(released[0], tmp_path / "adapter", base=base)
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.pop("module.blocks.blocks.0.attn.qkv.weight"), "missing"),
        (lambda state: state.update({"module.pos_embed.2.weight": torch.zeros(12, 128)}), "another shape"),
        (lambda state: [state.pop(key) for key in [*state] if "adapt" in key or "prompt" in key], "neither PointGST"),
        (lambda state: [state.pop(key) for key in [*state] if ".encoder." in key], "no patch encoder"),
    ],
)
def test_damaged_files_are_refused(released: tuple[Path, nn.Module], tmp_path: Path, damage, message: str) -> None:
    contents = torch.load(released[0], weights_only=True)
    damage(contents["base_model"])
    file = tmp_path / "damaged.pth"
    torch.save(contents, file)
    with pytest.raises(InputError, match=message):
        converted(file, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_a_pre_training_file_becomes_a_base(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fields = {key: value for key, value in SHAPE.items() if key != "class"}
    pretrained = PointMAE(BackboneConfig(**fields), decoder_depth=1)
    file = tmp_path / "pretrain.pth"
    torch.save({"base_model": {f"module.{k}": v for k, v in pretrained.state_dict().items()}}, file)
    folder = official.convert_base(file, tmp_path / "base", num_heads=6)
    net = bases.load_base_folder(folder, cls_dim=3, num_group=16)
    assert torch.equal(net.blocks.blocks[1].mlp.fc1.weight, pretrained.MAE_encoder.blocks.blocks[1].mlp.fc1.weight)
    assert net.cls_head_finetune[-1].out_features == 3
    with pytest.raises(InputError, match="a pre-training file is no adapter"):
        converted(file, tmp_path / "adapter")
