"""TMoE beside plain sums over experts, which the released code is: forms, rewrites, merging, gates, beginnings."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from suite import adapters
from suite.adapters.methods.additive import tmoe
from suite.errors import InputError
from tests.adapters.cases import arguments, fresh

FORMS = ("default", "shared_expert", "route_compression")


def attached(size: int = 12, out: int = 18, name: str = "fc", **settings: Any) -> tuple[nn.Module, Any]:
    """A model of one layer with TMoE, away from where it starts, and the layer around it."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module(name, nn.Linear(size, out))
    model = adapters.attach(model, "tmoe", targets=[name], **{"r": 5, "alpha": 7.0, "num_experts": 3, **settings})
    [(_, layer)] = adapters.layers(model, "tmoe")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval(), layer


def literal(layer: Any, x: Tensor) -> Tensor:
    """W x + b and the sum over experts, one after another, part by part."""
    experts, scaling = layer.experts("default"), layer.scaling("default")
    parts = []
    for part in range(len(experts.up)):
        gates = functional.linear(x, experts.router[part]).softmax(-1)
        total = torch.zeros(())
        for number in range(experts.up.shape[2]):
            compress = experts.compress[part, number if experts.compress.shape[1] > 1 else 0]
            each = functional.linear(functional.linear(x, compress), experts.up[part, :, number])
            total = total + gates[..., number : number + 1] * each
        if experts.shared is not None:
            total = total + functional.linear(functional.linear(x, experts.compress[part, 0]), experts.shared[part])
        parts.append(scaling * total)
    return layer.get_base_layer()(x) + torch.cat(parts, -1)


@pytest.mark.parametrize("name", ["fc", "qkv"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tokens", [2, 40])
def test_every_way_of_computing_is_the_sum_over_experts(form: str, name: str, tokens: int) -> None:
    """40 tokens of 12 numbers are enough that the ungated part joins the weight, 2 are not."""
    _, layer = attached(name=name, form=form)
    x = torch.randn(tokens, 12)
    assert tmoe.folds(tokens, layer.experts("default")) == (tokens == 40 and form != "route_compression")
    wanted = literal(layer, x)
    torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=0)
    weight = layer.get_base_layer().weight.clone()
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=0)
    assert torch.equal(layer.get_base_layer().weight, weight)


@pytest.mark.parametrize("form", FORMS)
def test_kept_products_follow_the_weights_and_take_no_part_in_training(form: str) -> None:
    model, layer = attached(name="qkv", form=form)
    tmoe.keep_products(model)
    x = torch.randn(3, 12)
    with torch.inference_mode():
        for _ in range(2):
            torch.testing.assert_close(layer(x), literal(layer, x), atol=1e-5, rtol=0)
        [product] = layer._stored.products.values()
        assert layer._product(x, "default") is product
    layer(x).sum().backward()
    assert layer.tensor("router", "default").grad is not None
    with torch.no_grad():
        layer.tensor("up", "default").add_(0.1)
        layer.get_base_layer().weight.mul_(1.5)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), literal(layer, x), atol=1e-5, rtol=0)
        replaced = layer.tensor("router", "default")
        replaced.data = torch.randn_like(replaced)
        torch.testing.assert_close(layer(x), literal(layer, x), atol=1e-5, rtol=0)
    assert not copy.deepcopy(layer)._stored.products
    tmoe.keep_products(model, False)
    assert not layer._stored.products


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_sum(form: str) -> None:
    model, layer = attached(name="qkv", form=form)
    x, away = torch.randn(2, 7, 12), torch.randn(2, 7, 18)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ours = torch.autograd.grad((layer(x) * away).sum(), trained)
    plain = torch.autograd.grad((literal(layer, x) * away).sum(), trained)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_several_experts_do_not_merge_and_the_refusal_says_why() -> None:
    model, layer = attached()
    weight = layer.get_base_layer().weight.clone()
    with pytest.raises(InputError, match="gates of its 3 experts depend on the token"):
        adapters.merge(model)
    with pytest.raises(ValueError, match="gates of its 3 experts depend on the token"):
        layer.merge()
    assert torch.equal(layer.get_base_layer().weight, weight)


@pytest.mark.parametrize("form", FORMS)
def test_one_expert_merges_exactly(form: str) -> None:
    model, layer = attached(name="qkv", form=form, num_experts=1)
    x = torch.randn(4, 12)
    wanted = literal(layer, x)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x.repeat(10, 1))[:4], wanted, atol=1e-5, rtol=0)
    adapters.merge(model)
    torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=0)
    adapters.unmerge(model)
    torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=0)


def test_half_precision_stays_half_and_near() -> None:
    _, layer = attached(r=4, alpha=4.0)
    x = torch.randn(3, 40, 12)
    wanted = literal(layer, x)
    layer.get_base_layer().to(torch.bfloat16)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            found = layer(x.bfloat16())
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), wanted, atol=0.1, rtol=0.05)


def test_dropout_is_on_the_compression_and_not_on_the_router() -> None:
    _, layer = attached(dropout=0.9, num_experts=2)
    with torch.no_grad():
        layer.tensor("up", "default").zero_()
    x = torch.randn(5, 12)
    base = layer.get_base_layer()(x)
    torch.testing.assert_close(layer.train()(x), base)  # nothing of x is lost but through the branch
    experts = layer.experts("default")
    with torch.no_grad():
        layer.tensor("up", "default").fill_(0.5)
        assert not torch.equal(layer(x), layer(x))  # also where a step needs no backward
    assert torch.equal(experts.read(x, 0.9)[1], experts.read(x)[1])
    assert not torch.equal(experts.read(x, 0.9)[0], experts.read(x)[0])


def test_a_seed_gives_the_same_numbers_and_each_beginning_is_its_own() -> None:
    def drawn(init: str) -> dict[str, Tensor]:
        torch.manual_seed(3)
        model = adapters.attach(nn.Sequential(nn.Linear(64, 96)), "tmoe", targets=["0"], r=16, init=init)
        return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}

    for init in ("bert", "lora", "gaussian"):
        one, other = drawn(init), drawn(init)
        assert all(torch.equal(one[name], other[name]) for name in one)
        up = next(value for name, value in one.items() if "tmoe_up" in name)
        assert bool(up.any()) == (init == "bert")
    compress = next(value for name, value in drawn("bert").items() if "compress" in name)
    assert abs(float(compress.std()) - tmoe.STD) < 0.002
    compress = next(value for name, value in drawn("gaussian").items() if "compress" in name)
    assert abs(float(compress.std()) - 1 / 16) < 0.006
    router = next(value for name, value in drawn("bert").items() if "router" in name)
    assert float(router.abs().max()) <= 64**-0.5


def test_gates_of_every_layer_are_recorded_and_summed_up() -> None:
    model, layer = attached(name="qkv")
    x = torch.randn(2, 9, 12)
    with tmoe.recorded_gates(model) as found:
        model(x)
        model(2 * x)
    assert len(layer._forward_pre_hooks) == 0
    gates = tmoe.summarised(found["qkv"])
    assert gates.mean.shape == (3, 3)
    assert gates.last.shape == (2, 9, 3, 3)
    torch.testing.assert_close(gates.mean.sum(-1), torch.ones(3))
    both = torch.cat([layer.gates(x, "default"), layer.gates(2 * x, "default")])
    torch.testing.assert_close(gates.mean, both.mean((0, 1)))
    assert gates.entropy == pytest.approx((both * both.log()).sum(-1).mean().item() * -1, abs=1e-5)
    with torch.no_grad():
        layer.tensor("router", "default").zero_()
    with tmoe.recorded_gates(model) as found:
        model(x)
    assert tmoe.summarised(found["qkv"]).entropy == pytest.approx(torch.log(torch.tensor(3.0)).item(), abs=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_authors_tensors_there_and_back(form: str) -> None:
    _, layer = attached(form=form)
    ours = {
        name: layer.tensor(name, "default")
        for name in layer.parameter_names
        if "default" in getattr(layer, f"tmoe_{name}")
    }
    official = tmoe.to_official(ours)
    assert ("shared_expert" in official, "compress_expert.2" in official) == (form == FORMS[1], form == FORMS[2])
    back = tmoe.from_official(official)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)


def test_settings_that_do_not_fit_are_named() -> None:
    model = nn.Sequential()
    model.add_module("qkv", nn.Linear(4, 10))
    with pytest.raises(InputError, match="10 outputs are no 3 equal parts"):
        adapters.attach(model, "tmoe", targets=["qkv"])
    with pytest.raises(InputError, match="num_experts 0"):
        adapters.attach(nn.Sequential(nn.Linear(4, 4)), "tmoe", targets=["0"], num_experts=0)
    with pytest.raises(InputError, match="form"):
        adapters.attach(nn.Sequential(nn.Linear(4, 4)), "tmoe", targets=["0"], form="both")


@pytest.mark.parametrize("method", ["tmoe", "ssf", "krona", "paca"])
def test_a_graph_of_a_model_with_an_adapter_takes_batches_of_any_size(method: str) -> None:
    """What asks a batch for its length fixes it in the graph."""
    model = attach_small(method)
    x = torch.randn(3, 7, 16)
    dynamic = ({0: torch.export.Dim("batch")},)
    with torch.no_grad():
        graph = torch.export.export(model, (x,), dynamic_shapes=dynamic, strict=False).module()
        traced = torch.jit.trace(model, (x,), check_trace=False)
        other = torch.randn(5, 7, 16)
        torch.testing.assert_close(graph(other), model(other), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(traced(other), model(other), atol=1e-5, rtol=1e-5)


def attach_small(method: str) -> nn.Module:
    model = fresh("mlp")
    return adapters.attach(model, method, **arguments(method, "mlp")).eval()
