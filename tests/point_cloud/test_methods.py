"""Acceptance of the methods: identity at the start, what trains, independence of batch companions, counts."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from domains.point_cloud import DOMAIN
from domains.point_cloud.model import attachments, bases, forward
from domains.point_cloud.model.attachments import count_trained
from domains.point_cloud.model.layers import Pointnorm
from domains.point_cloud.official import keys
from suite import adapters
from suite.cli.count import run as count
from suite.errors import InputError
from suite.hub import paths

SMALL = {
    "class": "point_mae", "trans_dim": 24, "depth": 2, "num_heads": 6, "num_group": 16, "group_size": 8,
    "encoder_dims": 24, "encoder_width": 16, "cls_dim": 5,
}  # fmt: skip
SCAN = {"class": "point_mae", "cls_dim": 15, "num_group": 128}
LARGE = {"class": "point_gpt", "trans_dim": 1024, "depth": 24, "num_heads": 16, "encoder_dims": 1024}


def small(method: str, *, freeze_bn: bool = True, noise: float = 0.0, **options: object) -> nn.Module:
    torch.manual_seed(0)
    options = {"rank": 6, "local": 8, **options} if method == "pointgst" else options
    net = attachments.attach(bases.build(SMALL), method, freeze_bn=freeze_bn, **options)
    if noise:
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=noise)
    return net


def clouds(count: int, points: int = 64) -> Tensor:
    return torch.randn(count, points, 3, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


def test_pcsa_is_the_identity_at_the_start() -> None:
    torch.manual_seed(0)
    bare = bases.build(SMALL).eval()
    adapted = small("pointgst").eval()
    with torch.no_grad():
        assert torch.equal(forward.predict_logits(adapted, clouds(2)), bare(clouds(2)))


@pytest.mark.parametrize("freeze_bn", [True, False])
@pytest.mark.parametrize("method", ["pointgst", "point_peft", "linear"])
def test_a_step_changes_only_what_the_method_trains(method: str, freeze_bn: bool) -> None:
    net = small(method, freeze_bn=freeze_bn).train()
    if freeze_bn:
        net.encoder.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trained = keys.trainable_names(net)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.05)
    for _ in range(2):  # at the very first step the gradient of what lies before a zero matrix is zero
        optimizer.zero_grad()
        forward.predict_logits(net, clouds(4)).square().sum().backward()
        optimizer.step()
    changed = {
        keys.official_name(name)
        for name, tensor in net.state_dict().items()
        if not torch.equal(tensor, before[name]) and keys.official_name(name) is not None
    }
    moved = {name for name in changed if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert moved
    assert moved <= trained
    if method == "pointgst":
        assert all("adapt" in name or "cls" in name for name in moved)
    assert any(name.startswith("encoder.") for name in changed) is not freeze_bn


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *((method, {}) for method in ("pointgst", "point_peft", "lora", "bitfit", "bottleneck")),
        ("dapt", {"rank": 4}),
        ("visual_prompt", {"tokens": 3}),
    ],
)
def test_logits_do_not_depend_on_batch_companions(method: str, options: dict) -> None:
    net = small(method, noise=0.2, **options).eval()
    together, order = clouds(8), torch.randperm(8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        batched = forward.predict_logits(net, together)
        alone = torch.cat([forward.predict_logits(net, one[None]) for one in together])
        permuted = forward.predict_logits(net, together[order])
    torch.testing.assert_close(alone, batched, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(permuted, batched[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["pointgst", "point_peft", "dapt", "visual_prompt"])
def test_a_model_is_copied_saved_and_switched_off_after_a_step(method: str, tmp_path: Path) -> None:
    net = small(method).train()
    net.encoder.eval()
    for parameter in net.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
    forward.predict_logits(net, clouds(4)).sum().backward()
    net.eval()
    with torch.no_grad():
        wanted = forward.predict_logits(net, clouds(2))
        assert torch.equal(forward.predict_logits(copy.deepcopy(net), clouds(2)), wanted)
        with adapters.disabled(net):
            bare = forward.predict_logits(net, clouds(2))
        assert not torch.allclose(bare, wanted)
        folder = adapters.save(net, tmp_path / method)
        for name in ("default", "modules"):  # the second is a word of the tensors' own names
            torch.manual_seed(0)
            loaded = adapters.load(bases.build(SMALL), folder, name=name).eval()
            assert torch.equal(forward.predict_logits(loaded, clouds(2)), wanted)
        assert not any("default" in key for file in folder.rglob("*.safetensors") for key in load_file(file))


def test_files_that_hold_the_adapters_own_name_load_and_swap(tmp_path: Path) -> None:
    """As the files of earlier versions do."""
    net = small("pointgst").eval()
    for parameter in net.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
    folder = adapters.save(net, tmp_path / "a")
    file = folder / "pcsa" / "adapter_model.safetensors"
    state = {key.replace(".pcsa_adapter.", ".pcsa_adapter.default-pcsa."): t for key, t in load_file(file).items()}
    save_file(state, file, {"format": "pt"})
    with torch.no_grad():
        wanted = forward.predict_logits(net, clouds(2))
        torch.manual_seed(0)
        loaded = adapters.load(bases.build(SMALL), folder, name="other").eval()
        assert torch.equal(forward.predict_logits(loaded, clouds(2)), wanted)
        for name, parameter in loaded.named_parameters():
            if "pcsa" in name:
                parameter.zero_()
        adapters.swap(loaded, folder)
        assert torch.equal(forward.predict_logits(loaded, clouds(2)), wanted)


def test_dapt_grows_its_prompts_block_by_block() -> None:
    """arXiv 2403.01439, section 3.3: block i sees the prompts of the i blocks before it, the head none."""
    net = small("dapt", noise=0.2, rank=4).eval()
    seen: list[int] = []
    for block in net.blocks.blocks:
        block.norm1.register_forward_hook(lambda _module, args, _output: seen.append(args[0].shape[1]))
    with torch.no_grad():
        forward.predict_logits(net, clouds(2))
    assert seen == [1 + SMALL["num_group"] + index for index in range(SMALL["depth"])]


def test_released_modes_depend_on_batch_companions_as_the_authors_code() -> None:
    released = [small("pointgst", noise=0.2, basis="released"), small("point_peft", noise=0.2, indexing="released")]
    for net in released:
        net.eval()
        with torch.no_grad():
            batched = forward.predict_logits(net, clouds(8))
            alone = torch.cat([forward.predict_logits(net, one[None]) for one in clouds(8)])
        assert (alone - batched).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("method", "architecture", "trainable", "total"),
    [
        ("pointgst", {"class": "point_mae", "cls_dim": 40}, 629_256, 22_454_280),
        ("pointgst", SCAN, 622_831, 22_447_855),
        ("pointgst", LARGE, 2_436_072, 311_808_072),
        ("point_peft", {"class": "point_mae", "cls_dim": 40}, 779_442, 22_566_834),
        ("point_peft", SCAN, 773_017, 22_560_409),
        ("full", {"class": "point_mae", "cls_dim": 40}, 22_099_752, 22_099_752),
        ("linear", {"class": "point_mae", "cls_dim": 40}, 274_728, 22_099_752),
    ],
)
def test_published_counts(method: str, architecture: dict, trainable: int, total: int) -> None:
    counted = count_trained(method, architecture)
    assert counted.trainable == trainable
    assert counted.total == total


@pytest.mark.parametrize(
    ("config", "trainable"),
    [
        ("pointgst_modelnet40", 629_256),
        ("pointgst_scanobjectnn", 622_831),
        ("pointgst_scanobjectnn_recon", 622_831),
        ("pointgst_pointgpt_l", 2_436_072),
        ("pointgst_shapenetpart", 5_593_234),
        ("point_peft_modelnet40", 779_442),
        ("point_peft_scanobjectnn", 773_017),
        ("point_peft_m2ae_scanobjectnn", 661_046),
        ("full_modelnet40", 22_099_752),
        ("linear_modelnet40", 274_728),
    ],
)
def test_published_configurations_count_without_a_base(config: str, trainable: int) -> None:
    path = paths.assets() / "configs" / "point_cloud" / f"{config}.yaml"
    answer = count(DOMAIN, ["--config", str(path)])
    assert answer.data["trainable"] == trainable


def test_every_published_configuration_is_counted() -> None:
    files = {path.stem for path in (paths.assets() / "configs" / "point_cloud").glob("*.yaml")}
    [counted] = [
        mark.args[1]
        for mark in test_published_configurations_count_without_a_base.pytestmark
        if mark.name == "parametrize"
    ]
    assert files == {name for name, _ in counted} | {"tiny", "tiny_parts"}


def test_centres_that_coincide_give_finite_logits() -> None:
    points = clouds(1)[:, :4].repeat(1, 16, 1)
    with torch.no_grad():
        assert torch.isfinite(forward.predict_logits(small("pointgst", noise=0.2).eval(), points)).all()


def test_chunks_must_divide_the_patches() -> None:
    net = small("pointgst", local=5).eval()
    with pytest.raises(InputError, match="16 centres cannot be cut into chunks of 5"):
        forward.predict_logits(net, clouds(1))


def test_a_convolution_that_is_adapted_or_hooked_is_asked() -> None:
    """The patch encoder multiplies once a patch what its points share, and adapters act all the same."""
    net = bases.build(SMALL).eval()
    patches, _ = net.group(clouds(2))
    plain = net.encoder(patches)
    asked: list[nn.Module] = []
    for layer in (*net.encoder.first_conv, *net.encoder.second_conv):
        layer.register_forward_hook(lambda module, *_: asked.append(module))
    torch.testing.assert_close(net.encoder(patches), plain, rtol=1e-5, atol=1e-6)
    assert len(asked) == len(net.encoder.first_conv) + len(net.encoder.second_conv)
    adapted = adapters.attach(net, "lora", r=2, targets=["encoder.second_conv.0"], init_lora_weights=False)
    assert not torch.allclose(adapted.encoder(patches), plain)


def test_a_fixed_batch_norm_is_the_same_without_a_gradient_and_gives_one_where_it_is_asked() -> None:
    torch.manual_seed(0)
    ours, plain = Pointnorm(8), torch.nn.BatchNorm1d(8)
    for norm in (ours, plain):
        norm(torch.randn(64, 8) * 3 + 1)
    plain.load_state_dict(ours.state_dict())
    ours.eval()
    plain.eval()
    points = torch.randn(16, 8)
    with torch.no_grad():
        torch.testing.assert_close(ours(points), plain(points))
    ours(points).sum().backward()
    assert ours.weight.grad is not None and ours.weight.grad.abs().sum() > 0
