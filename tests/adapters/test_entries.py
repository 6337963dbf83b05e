"""Training single entries of a weight: whoever writes them, reads the weight, or sits on the same layer."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from suite import adapters
from suite.errors import InputError
from tests.adapters import toys  # noqa: F401 - registers its methods
from tests.adapters.cases import arguments, fresh, randomise, sample

PACA = {"method": "paca", "targets": ["fc1"], "r": 2}


def trained(model: nn.Module, ending: str) -> nn.Parameter:
    [found] = [p for name, p in model.named_parameters() if f".{ending}." in name]
    return found


def gradient_error(model: nn.Module, values: nn.Parameter, x: Tensor) -> float:
    """How far autograd's gradient of one entry is from the numeric one; models in float64."""
    first = (0,) * values.dim()

    def loss(step: float) -> Tensor:
        with torch.no_grad():
            values[first] += step
        return model(x).square().mean()

    loss(0.0).backward()
    numeric = (loss(1e-5) - loss(-2e-5)).item() / 2e-5
    assert values.grad is not None
    assert abs(numeric) > 1e-6
    return abs(values.grad[first].item() - numeric) / abs(numeric)


def test_values_written_past_autograds_counter_take_part() -> None:
    torch.manual_seed(0)
    model = adapters.attach(fresh("mlp"), "paca", targets=["fc1"], r=4)
    values, x = trained(model, "paca_w"), sample("mlp")
    before = model(x)
    values.data[0] += 0.5  # of one unit: the norm behind takes away what all have in common
    assert not torch.allclose(model(x), before)
    values.data[0] -= 0.5
    assert torch.allclose(model(x), before, atol=1e-6)
    values.data[0] += 0.5
    adapters.refresh(model)
    weight, places = model.fc1.weight, model.fc1.suite_paca.places("default")
    assert torch.equal(weight[:, places], model.fc1.suite_paca.values("default"))


def test_an_eight_bit_optimizer_moves_what_the_forward_uses() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model = adapters.attach(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 4)), "paca", targets=["0"], r=32)
    optimizer = bitsandbytes.optim.SGD8bit([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    losses = []
    for _ in range(3):
        loss = model(torch.ones(4, 64)).square().sum()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert len(set(losses)) == 3


def test_writing_again_leaves_a_waiting_graph_valid() -> None:
    model = adapters.attach(fresh("mlp"), "paca", targets=["fc1"], r=4)
    x = sample("mlp")
    (model(x).sum() + model(2 * x).sum()).backward()
    assert trained(model, "paca_w").grad is not None


@pytest.mark.parametrize("inside", [PACA, {"method": "toy_neuroada", "targets": ["fc1"]}])
@pytest.mark.parametrize("outside", ["toy_hut", "svdiff", "krona", "lora"])
def test_what_changes_the_weight_around_them_passes_gradients(inside: dict, outside: str) -> None:
    around = {"method": outside, **arguments(outside, "mlp"), "targets": ["fc1"]}
    for specs in ((inside, around), (around, inside)):
        torch.manual_seed(0)
        model = adapters.attach(fresh("mlp").double(), *specs).double().eval()
        randomise(model)
        x = sample("mlp").double()
        ending = "paca_w" if inside is PACA else "toy_neuroada_delta"
        assert gradient_error(model, trained(model, ending), x) < 1e-5
        output = model(x)
        adapters.merge(model)
        torch.testing.assert_close(model(x), output)


def test_what_trains_whole_passes_gradients_through_a_changed_weight() -> None:
    model = adapters.attach(
        fresh("mlp").double(), {"method": "bitfit", "targets": ["fc1"]}, {"method": "toy_hut", "targets": ["fc1"]}
    ).double()
    randomise(model)
    bias = next(p for name, p in model.named_parameters() if name.endswith("fc1.base_layer.bias"))
    assert gradient_error(model, bias, sample("mlp").double()) < 1e-5


def test_methods_that_take_the_weight_past_them_are_refused() -> None:
    for method, info in adapters.methods().items():
        if not info.reads_weight:
            continue
        reader = {"method": method, **arguments(method, "mlp"), "targets": ["fc1"]}
        for trains in (PACA, {"method": "parameters", "parameters": ["fc1.weight"]}):
            model = fresh("mlp")
            with pytest.raises(InputError, match="different layers"):
                adapters.attach(model, reader, trains)
            assert list(model.state_dict()) == list(fresh("mlp").state_dict())
        adapters.attach(fresh("mlp"), reader, {**PACA, "targets": ["fc2"]})


@pytest.mark.parametrize(
    "inside", [{"method": "hra"}, {"method": "ia3"}, {"method": "oft"}, {"method": "lora", "use_dora": True}]
)
def test_a_changed_weight_is_that_of_the_methods_inside(inside: dict) -> None:
    settings = {**arguments(inside["method"], "mlp"), **inside, "targets": ["fc1"]}
    model = adapters.attach(fresh("mlp"), settings, {"method": "toy_hut", "targets": ["fc1"]}).eval()
    randomise(model, scale=0.1)
    output = model(sample("mlp"))
    output.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    adapters.merge(model)
    torch.testing.assert_close(model(sample("mlp")), output, atol=1e-5, rtol=1e-4)


def test_a_changed_weight_passes_no_site_by() -> None:
    site = {"method": "parallel_adapter", "bottleneck_size": 2, "targets": ["fc1"]}
    for specs in ((site, {"method": "toy_hut", "targets": ["fc1"]}), ({"method": "toy_hut", "targets": ["fc1"]}, site)):
        with pytest.raises(InputError, match="different layers"):
            adapters.attach(fresh("mlp"), *specs)
    adapters.attach(fresh("mlp"), site, {"method": "krona", "a1": 4, "a2": 8, "targets": ["fc1"]})


@pytest.mark.parametrize(
    ("build", "x"),
    [
        (lambda: nn.Sequential(nn.Linear(8, 6)), torch.randn(3, 8)),
        (lambda: nn.Sequential(nn.Embedding(8, 6)), torch.arange(5)),
    ],
)
def test_the_default_product_holds_for_every_host(build: Callable[[], nn.Module], x: Tensor, tmp_path) -> None:
    torch.manual_seed(0)
    base = build()
    output = base(x)
    model = adapters.attach(copy.deepcopy(base), "toy_neuroada", targets=["0"])
    assert torch.equal(model(x), output)
    randomise(model)
    changed = model(x)
    assert not torch.equal(changed, output)
    changed.square().sum().backward()
    dense = copy.deepcopy(base)
    with torch.no_grad():
        dense[0].weight.copy_(model[0].weight)
    dense(x).square().sum().backward()
    layer = model[0].suite_toy_neuroada
    torch.testing.assert_close(layer.trained("default").grad, dense[0].weight.grad[layer.at(layer.places("default"))])
    adapters.save(model, tmp_path / "a")
    assert torch.equal(adapters.load(copy.deepcopy(base), tmp_path / "a")(x), changed)
    assert torch.equal(adapters.detach(model)(x), output)


def test_a_hosts_further_arguments_reach_it() -> None:
    class Scaled(nn.Linear):
        def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
            return scale * super().forward(x)

    model = nn.ModuleDict({"fc": Scaled(4, 4)})
    adapters.attach(model, "toy_neuroada", targets=["fc"])
    x = torch.randn(2, 4)
    assert torch.equal(model["fc"](x, scale=2.0), 2 * model["fc"](x))


def test_reselected_entries_keep_what_stays_and_give_back_what_leaves() -> None:
    model = adapters.attach(fresh("mlp"), "paca", targets=["fc1"], r=3, columns={"fc1": [1, 4, 7]})
    randomise(model)
    base, layer = fresh("mlp").fc1.weight, model.fc1.suite_paca
    before = layer.values("default").detach().clone()
    new = layer.reselect("default", torch.tensor([7, 2, 1]))
    assert new.tolist() == [False, True, False]
    assert torch.equal(model.fc1.weight[:, [7, 1]], before[:, [2, 0]])
    rest = [column for column in range(16) if column not in (1, 7)]
    torch.testing.assert_close(model.fc1.weight[:, rest], base[:, rest])
    with pytest.raises(InputError, match="trains 3 entries, not 2"):
        layer.reselect("default", torch.tensor([1, 2]))
    assert torch.equal(adapters.detach(model).fc1.weight, base)


def test_entries_of_a_tied_weight_are_refused(llama) -> None:
    tied = llama()
    tied.lm_head.weight = tied.model.embed_tokens.weight
    with pytest.raises(InputError, match=r"lm_head\.weight is model\.embed_tokens\.weight as well"):
        adapters.attach(tied, "paca", targets=["lm_head"], r=4)
    assert adapters.attached(tied) == []


def test_tied_weights_train_as_one_or_not_at_all(llama, tokens, tmp_path) -> None:
    def tied() -> nn.Module:
        model = llama()
        model.lm_head.weight = model.model.embed_tokens.weight
        return model

    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        with pytest.raises(InputError, match="name both"):
            adapters.attach(tied(), train=[name])
    model = adapters.attach(tied(), train=["lm_head.weight", "model.embed_tokens.weight"])
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert adapters.count(model).trainable == model.lm_head.weight.numel()
    randomise(model)
    output = model(tokens).logits
    adapters.save(model, tmp_path / "a")
    loaded = adapters.load(tied(), tmp_path / "a", trainable=True)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert torch.equal(loaded(tokens).logits, output)
    bare = adapters.detach(model)
    assert bare.lm_head.weight is bare.model.embed_tokens.weight


@pytest.mark.parametrize("order", [("lora", "bitfit"), ("bitfit", "lora")])
def test_every_bias_trains_under_other_adapters(order: tuple[str, str], tmp_path) -> None:
    specs = [{"method": name, **({"targets": ["fc1"]} if name == "lora" else {})} for name in order]
    model = adapters.attach(fresh("mlp"), *specs)
    biases = [p for name, p in fresh("mlp").named_parameters() if name.endswith("bias")]
    assert sum(name.endswith("bias") for name, p in model.named_parameters() if p.requires_grad) == len(biases)
    randomise(model)
    adapters.save(model, tmp_path / "a")
    assert torch.equal(adapters.load(fresh("mlp"), tmp_path / "a")(sample("mlp")), model(sample("mlp")))


def test_names_under_other_adapters_are_the_bases_own(tmp_path) -> None:
    model = adapters.attach(fresh("mlp"), "lora", targets=["fc1"], name="one")
    model = adapters.attach(model, train=["fc1.bias"], name="two")
    with torch.no_grad():
        model.fc1.base_layer.bias.add_(1.0)
    adapters.save(model, tmp_path / "two")
    alone = adapters.load(fresh("mlp"), tmp_path / "two")
    assert torch.equal(alone.fc1.bias, fresh("mlp").fc1.bias + 1)
    with pytest.raises(InputError, match="matches nothing"):
        adapters.attach(fresh("mlp"), "lora", targets=["fc1"], train=["fc1.base_layer.bias"])
