"""FacT, RepAdapter and APT: the equations of their papers, what layers share, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from suite import adapters
from suite.adapters.methods.reparameterized.soka import is_sum_cheaper
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise


def chain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 12), nn.Linear(12, 4)).eval()


@pytest.mark.parametrize("form", ["tt", "tk"])
def test_fact_is_one_tensor_whose_ends_all_layers_share(form: str, tmp_path: Path) -> None:
    model = adapters.attach(chain(), "fact", targets=["0", "1", "2"], r=2, form=form, scaling=0.5)
    randomise(model, scale=0.5)
    layers, bare, x = [model[n] for n in range(3)], chain(), torch.randn(3, 4)
    u, v = layers[0].tensor("u", "default"), layers[0].tensor("v", "default")
    assert all(layer.tensor("u", "default") is u and layer.tensor("v", "default") is v for layer in layers)

    def by_blocks(x: Tensor, layer: nn.Module) -> Tensor:
        matrices = layer.matrices("default")  # (out / 4, in / 4, 2, 2)
        parts = x.split(4, dim=-1)
        return torch.cat([sum(p @ u @ m @ v for p, m in zip(parts, row, strict=True)) for row in matrices], -1)

    expected = x
    for number, layer in enumerate(layers):
        expected = bare[number](expected) + 0.5 * by_blocks(expected, layer)
    torch.testing.assert_close(model(x), expected)
    middle = 7 * (4 if form == "tt" else 2) + (8 if form == "tk" else 0)
    assert adapters.count(model).trainable == 2 * 4 * 2 + middle
    adapters.save(model, tmp_path / "a")
    saved = load_file(tmp_path / "a/adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in saved.values()) == adapters.count(model).trainable
    assert torch.equal(adapters.load(chain(), tmp_path / "a")(x), model(x))


def test_repadapter_is_its_equation_and_folds_into_the_weight() -> None:
    model, bare, x = nn.Sequential(nn.Linear(6, 5)), nn.Linear(6, 5), torch.randn(3, 6)
    bare.load_state_dict(model[0].state_dict())
    adapters.attach(model, "repadapter", targets=["0"], hidden=4, groups=2, scaling=0.5)
    randomise(model, scale=0.5)
    down, down_b, up, up_b = (model[0].tensor(name, "default") for name in model[0].parameter_names)
    hidden = x @ down.T + down_b
    grouped = nn.Conv1d(4, 6, 1, groups=2)
    grouped.weight.data, grouped.bias.data = up.detach().reshape(6, 2, 1), up_b.detach()
    expected = bare(x + 0.5 * grouped(hidden[..., None])[..., 0])
    torch.testing.assert_close(model(x), expected)
    adapters.merge(model)
    torch.testing.assert_close(model[0].get_base_layer()(x), expected)


def test_without_u2_approximated_prompts_are_their_prompts() -> None:
    model, x = fresh("vit"), torch.randn(2, 5, 32)
    attention, bare = model.blocks[0].attn, fresh("vit").blocks[0].attn
    seen: list[Tensor] = []
    bare.proj.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    bare(x)
    adapters.attach(model, "apt", targets=["blocks.0.attn"], tokens=3)
    layer = attention.suite_apt
    prompts = layer.tensor("mm_tokens", "default")
    scores = torch.relu(x @ prompts.T)
    expected = bare.proj(seen[0] + scores.amax(-1, keepdim=True) * (scores @ prompts))
    torch.testing.assert_close(attention(x), expected)
    with adapters.rows(model, ["default", None]):
        torch.testing.assert_close(attention(x)[0], expected[0])
    attention(x).square().sum().backward()
    assert all(layer.tensor(name, "default").grad is not None for name in layer.parameter_names)


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("fact", {"targets": ["fc1"], "width": 5}, r"fc1: width=5 does not divide its sizes \(16 in, 32 out\)"),
        ("repadapter", {"targets": ["fc1"], "hidden": 9, "groups": 3}, r"fc1: groups=3 does not divide its 16 inputs"),
        (
            "repadapter",
            {"targets": ["fc1"], "hidden": 8, "groups": 3},
            r"groups=3 must be at least 1 and divide hidden=8",
        ),
        ("apt", {"targets": ["fc1"]}, r"fc1: Linear has no output projection called proj or"),
        ("svfit", {"targets": ["fc1"], "r": 17}, r"fc1: r=17 is more than its 16 singular values"),
        ("loldu", {"targets": ["fc1"], "r": 17}, r"fc1: r=17 is more than its 16 pivots"),
        (
            "soka",
            {"targets": ["fc1"], "m1": 5},
            r"fc1: m1=5 does not divide 32; 4 does|fc1: m1=5 does not divide 32; 8",
        ),
        ("kasa", {"targets": ["fc1"], "r": 16}, r"fc1: r=16 would cut all of its 16 singular components"),
        ("sltrain", {"targets": ["fc1"], "sp_ratio": 1e-6}, r"fc1: sp_ratio=1e-06 is less than one of its entries"),
        ("pego", {"targets": ["fc1"], "fused": ["fc1"]}, r"fc1: 32 outputs are no query, key and value"),
        ("sora", {"targets": ["fc1"], "r": 0}, r"r=0 must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_a_layer_name_it(method: str, settings: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        adapters.attach(fresh("mlp"), method, **settings)


def test_a_weight_without_an_ldu_is_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    nn.init.zeros_(model[0].weight)
    with pytest.raises(InputError, match="0: a pivot of its weight is zero"):
        adapters.attach(model, "loldu", targets=["0"], r=2)


def test_ranks_chosen_by_the_spectrum_are_in_the_file(tmp_path: Path) -> None:
    """Another rounding of the base may ask for another rank: the file says which it was."""
    for method in ("svfit", "soka"):
        model, x = adapters.attach(fresh("mlp"), method, targets=["fc1"], energy=0.5), torch.randn(3, 16)
        randomise(model)
        adapters.save(model, tmp_path / method)
        config = (tmp_path / method / "adapter_config.json").read_text()
        assert '"rank_pattern": {' in config and '"fc1"' in config
        assert torch.equal(adapters.load(fresh("mlp"), tmp_path / method)(x), model(x))
        with pytest.raises(InputError, match="give r"):
            adapters.attach(fresh("mlp").to("meta"), method, targets=["fc1"])


def test_a_random_start_on_a_layer_of_one_output_is_finite() -> None:
    model = adapters.attach(nn.Sequential(nn.Linear(5, 1)), "soka", targets=["0"], r=1, m1=1, n1=1, init_weights=False)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_two_kasa_adapters_cut_what_each_of_them_says() -> None:
    model = nn.Sequential(nn.Linear(6, 6))
    weight = model[0].weight.detach().clone()
    adapters.attach(model, "kasa", targets=["0"], r=1, name="one")
    adapters.attach(model, "kasa", targets=["0"], r=3, name="three")
    sigma = torch.linalg.svdvals(weight)
    for name, cut in (("three", 3), ("one", 1)):
        adapters.activate(model, name)
        left = torch.linalg.svdvals(weight + model[0].get_delta_weight(name).detach())  # B is 0
        torch.testing.assert_close(left[: 6 - cut], sigma[: 6 - cut])
        torch.testing.assert_close(left[6 - cut :], torch.zeros(cut), atol=1e-5, rtol=0)


def test_few_and_many_vectors_get_the_same_from_kronecker_products() -> None:
    """Few are multiplied by the factors, many by the sum of the products."""
    model = adapters.attach(nn.Sequential(nn.Linear(12, 8)), "soka", targets=["0"], r=2, init_weights=False)
    x, (u, v) = torch.randn(64, 12), model[0].terms("default")
    assert is_sum_cheaper(x, u, v) and not is_sum_cheaper(x[:1], u, v)
    # Of a layer of 512, a hundred products: 256 vectors were once multiplied by the factors of each.
    assert is_sum_cheaper(torch.empty(256, 512, device="meta"), *torch.empty(2, 100, 16, 32, device="meta"))
    many, few = model(x), torch.cat([model(row[None]) for row in x])
    torch.testing.assert_close(few, many)
    gradients = []
    for y in (many, few):
        model.zero_grad()
        y.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)
