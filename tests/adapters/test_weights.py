"""Changing weights: KronA's layouts and refusals, order of composition, exact unmerging, swapping in place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from suite import adapters
from suite.adapters.methods.reparameterized.krona import fit, kronecker_product
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise, sample


@pytest.mark.parametrize("sizes", [(4, 6, 2, 2), (8, 2, 3, 6), (2, 8, 6, 2), (1, 12, 8, 1)])
def test_krona_is_the_kronecker_product_either_order(sizes):
    a1, a2, b1, b2 = sizes
    a, b, x = torch.randn(a1, a2), torch.randn(b1, b2), torch.randn(3, 5, a2 * b2)
    torch.testing.assert_close(kronecker_product(x, a, b), x @ torch.kron(a, b).T, atol=1e-5, rtol=1e-5)
    found_a, found_b, captured = fit(torch.kron(a, b), a1, a2)
    assert captured == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(torch.kron(found_a, found_b), torch.kron(a, b), atol=1e-4, rtol=1e-4)


def test_krona_starts_from_either_spread_or_from_a_fitted_change():
    torch.manual_seed(0)
    for init, std in (("official", 1 / 8), ("gaussian", 16**-0.5)):
        model = adapters.attach(nn.Sequential(nn.Linear(256, 256)), "krona", targets=["0"], a1=8, a2=16, init=init)
        assert model[0].krona_a["default"].std().item() == pytest.approx(std, rel=0.2)
        assert not model[0].krona_b["default"].any()
    with torch.no_grad():
        change = torch.kron(torch.randn(8, 16), torch.randn(32, 16))
        a, b, _ = fit(change, 8, 16)
        model[0].krona_a["default"].copy_(a)
        model[0].krona_b["default"].copy_(b)
    torch.testing.assert_close(model[0].get_delta_weight("default"), change, atol=1e-3, rtol=1e-3)
    with pytest.raises(InputError, match="init 'zeros'"):
        adapters.attach(nn.Sequential(nn.Linear(8, 8)), "krona", targets=["0"], a1=2, a2=2, init="zeros")


def test_krona_refuses_what_does_not_divide():
    with pytest.raises(InputError, match=r"a1=5 does not divide 32 in fc1 .* use 4 or 8"):
        adapters.attach(fresh("mlp"), "krona", targets=["fc1"], a1=5, a2=4)
    model = adapters.attach(fresh("mlp"), "krona", targets=["fc1"], a1=5, a2=4, on_indivisible="nearest")
    assert model.fc1.krona_a["default"].shape == (4, 4)
    model = adapters.attach(fresh("mlp"), "krona", targets=["fc1", "fc2"], a1=4, a2=4, a_pattern={"fc2": [2, 8]})
    assert model.fc2.krona_a["default"].shape == (2, 8)
    assert adapters.count(model).trainable == 4 * 4 + 8 * 4 + 2 * 8 + 4 * 4


def test_attention_weights_read_without_their_layer_are_refused():
    model = nn.TransformerEncoderLayer(16, 2)
    with pytest.raises(InputError, match=r"out_proj.*cannot be adapted"):
        adapters.attach(model, "krona", targets=["self_attn.out_proj"], a1=2, a2=2)


def test_later_methods_act_on_earlier_results():
    """SSF after LoRA scales LoRA's change too; LoRA after SSF does not."""
    x = sample("mlp")
    scale = {"method": "ssf", "init": "identity"}
    low_rank = {"method": "lora", "r": 2}
    outputs = []
    for specs in ((low_rank, scale), (scale, low_rank)):
        model = adapters.attach(fresh("mlp"), *specs, targets=["fc1"])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.fill_(2.0 if "scale" in name else 0.0 if "shift" in name else 0.3)
        outputs.append(model.fc1(x))
    linear, delta = fresh("mlp").fc1(x), 0.3 * 0.3 * 2 * 4 * x.sum(1, keepdim=True)  # alpha 8 over r 2
    torch.testing.assert_close(outputs[0], 2 * (linear + delta), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs[1], 2 * linear + delta, atol=1e-4, rtol=1e-4)


def test_unmerging_survives_a_zero_scale():
    model = adapters.attach(fresh("mlp"), "ssf", targets=["fc1", "norm"])
    with torch.no_grad():
        model.fc1.ssf_scale["default"].zero_()
    adapters.merge(model)
    adapters.unmerge(model)
    assert torch.equal(adapters.detach(model)(sample("mlp")), fresh("mlp")(sample("mlp")))


def test_safe_merge_refuses_what_is_not_finite():
    model = adapters.attach(fresh("mlp"), "krona", targets=["fc1", "fc2"], a1=4, a2=4)
    randomise(model)
    output = model(sample("mlp"))
    with torch.no_grad():
        model.fc1.krona_b["default"][0, 0] = float("nan")
    with pytest.raises(InputError, match=r"fc1: .*NaN"):
        adapters.merge(model)
    assert not model.fc2.merged
    with pytest.raises(InputError, match="NaN or Inf"):
        adapters.save(model, "nowhere")
    assert output.isfinite().all()


def test_merging_creates_a_missing_bias_and_takes_it_away_again():
    model = adapters.attach(fresh("llama"), "ssf", targets=["q_proj"])
    output = model(sample("llama")).logits
    adapters.merge(model)
    torch.testing.assert_close(model(sample("llama")).logits, output, atol=1e-5, rtol=0)
    adapters.unmerge(model)
    assert list(adapters.detach(model).state_dict()) == list(fresh("llama").state_dict())


@pytest.mark.parametrize("method", ["lora", "krona", "paca"])
def test_swap_is_in_place(method, tmp_path):
    settings = {"lora": {"r": 4}, "krona": {"a1": 4, "a2": 4}, "paca": {"r": 4}}[method]
    x = sample("mlp")
    outputs = {}
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = adapters.attach(fresh("mlp"), method, targets=["fc1"], **settings)
        randomise(model, seed=seed)
        outputs[seed] = model(x)
        adapters.save(model, tmp_path / str(seed))
    tensors = {name: p.data_ptr() for name, p in model.named_parameters()}
    adapters.swap(model, tmp_path / "1")
    assert torch.equal(model(x), outputs[1])
    assert tensors == {name: p.data_ptr() for name, p in model.named_parameters()}
    other = {"lora": {"r": 2}, "krona": {"a1": 2, "a2": 4}, "paca": {"r": 2}}[method]
    adapters.save(adapters.attach(fresh("mlp"), method, targets=["fc1"], **other), tmp_path / "other")
    with pytest.raises(InputError, match="the attached adapter's is"):
        adapters.swap(model, tmp_path / "other")
    assert torch.equal(model(x), outputs[1])


def test_swap_takes_lora_scaling_along(tmp_path):
    x = sample("mlp")
    model = adapters.attach(fresh("mlp"), "lora", targets=["fc1"], r=4, lora_alpha=32)
    randomise(model)
    adapters.save(model, tmp_path / "a")
    other = adapters.attach(fresh("mlp"), "lora", targets=["fc1"], r=4, lora_alpha=8)
    adapters.swap(other, tmp_path / "a")
    assert torch.equal(other(x), model(x))


def test_a_four_bit_base_merges_and_unmerges_exactly():
    from suite.adapters.nf4 import NF4Linear, quantize_model

    x = sample("mlp")
    model = quantize_model(fresh("mlp"), skip=lambda name, _: False)
    before = model(x)
    assert adapters.count(model).total == adapters.count(fresh("mlp")).total
    adapters.attach(model, "krona", targets=["fc1"], a1=4, a2=4)
    randomise(model, scale=0.02)
    output = model(x)
    adapters.merge(model)
    assert (model(x) - output).abs().mean() < 0.05  # the merged weight is rounded to 4 bits again
    adapters.unmerge(model)
    assert torch.equal(model(x), output)
    adapters.detach(model)
    assert isinstance(model.fc1, NF4Linear)
    assert torch.equal(model(x), before)
