"""Training in place: whole tensors, single columns, buffers; exchange is exact."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model, inject_adapter_in_model
from torch import nn

from suite import adapters
from suite.adapters.methods.selective.parameters import ParametersConfig
from suite.errors import InputError
from tests.adapters.cases import SUBJECTS, fresh, randomise, sample


def test_train_reaches_parameters_of_the_outermost_module(tmp_path):
    model = adapters.attach(fresh("vit"), "lora", targets=["attn.proj"], r=2, train=["cls_token", "head"])
    names = {name for name, p in model.named_parameters() if p.requires_grad and "lora" not in name}
    assert names == {"cls_token", "head.weight", "head.bias"}
    randomise(model)
    x = sample("vit")
    output = model.forward_head(model.forward_features(x))  # no hook of the model runs here
    assert torch.equal(output, model(x))
    adapters.save(model, tmp_path / "a", base="tiny")
    loaded = adapters.load(fresh("vit"), tmp_path / "a").eval()
    assert torch.equal(loaded(x), output)
    assert torch.equal(adapters.detach(loaded)(x), fresh("vit")(x))


def test_a_pattern_that_matches_nothing_is_an_error():
    for pattern in ({"train": ["cls_tokn"]}, {"train": ["head"], "buffers": ["bn9"]}):
        with pytest.raises(InputError, match="matches nothing"):
            adapters.attach(fresh("vit"), "lora", targets=["attn.proj"], **pattern)
    with pytest.raises(InputError, match="did you mean 'cls_token'"):
        adapters.attach(fresh("vit"), train=["cls_tokn"])


def test_batchnorm_statistics_belong_to_the_adapter(tmp_path):
    model = adapters.attach(fresh("conv"), train=["head"], buffers=["bn"])
    before = fresh("conv").bn.running_mean
    model.train()
    model(sample("conv"))
    model.eval()
    after = model.bn.running_mean.clone()
    assert not torch.equal(after, before)
    adapters.save(model, tmp_path / "a")
    with adapters.disabled(model):
        assert torch.equal(model.bn.running_mean, before)
    assert torch.equal(model.bn.running_mean, after)
    loaded = adapters.load(fresh("conv"), tmp_path / "a")
    assert torch.equal(loaded.bn.running_mean, after)
    assert loaded.bn.num_batches_tracked == model.bn.num_batches_tracked
    moved = model.double()
    moved.train()
    moved(sample("conv").double())
    assert torch.equal(moved.bn.running_mean, moved.bn.suite_parameters.parameters_running_mean["default"])


def test_an_optimizer_moves_what_the_forward_uses():
    for method, settings in (("paca", {"r": 4, "targets": ["fc1"]}), ("bitfit", {"targets": ["fc1"]})):
        model = adapters.attach(fresh("mlp"), method, **settings)
        x = sample("mlp")
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.1)
        losses = []
        for _ in range(5):
            loss = model(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses == sorted(losses, reverse=True)
        assert torch.equal(adapters.detach(model)(x), fresh("mlp")(x))


def test_paca_keeps_only_its_columns_for_the_backward():
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(256, 16)

        def forward(self, x):
            return self.fc(x)

    def saved_bytes(method, **settings):
        torch.manual_seed(0)
        model = adapters.attach(Wide(), method, targets=["fc"], **settings)
        weight = model.get_submodule("fc").weight
        sizes = []

        def pack(tensor):
            if tensor.untyped_storage().data_ptr() != weight.untyped_storage().data_ptr():
                sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        x = torch.randn(64, 256, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(x)
        return sum(sizes)

    assert saved_bytes("paca", r=8) <= 64 * 8 * 4 + 8 * 8
    assert saved_bytes("lora", r=8) >= 64 * 256 * 4


def test_paca_adapters_switch_exactly_and_refuse_overlap():
    model = adapters.attach(fresh("mlp"), "paca", targets=["fc1"], r=10, name="one")
    randomise(model)
    x = sample("mlp")
    one = model(x)
    adapters.attach(model, "paca", targets=["fc1"], r=10, name="two")
    randomise(model, seed=3)
    two = model(x)
    for name, expected in (("one", one), ("two", two), ("one", one)):
        adapters.activate(model, name)
        assert torch.equal(model(x), expected)
    with pytest.raises(InputError, match="select the same entries"):
        adapters.activate(model, "one", "two")
    adapters.activate(model)
    assert torch.equal(model(x), fresh("mlp")(x))


def test_plan_chooses_columns_from_gradients():
    model = fresh("mlp")
    x = sample("mlp").clone()
    x[:, 3:] = 0  # only three input columns ever see a gradient
    settings = adapters.plan("paca", model, [x], loss=lambda m, batch: m(batch).square().mean(), targets=["fc1"], r=3)
    assert sorted(settings["columns"]["fc1"]) == [0, 1, 2]
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    adapters.attach(model, "paca", **settings)
    assert sorted(model.fc1.suite_paca.paca_indices["default"].tolist()) == [0, 1, 2]
    with pytest.raises(InputError, match="no batches"):
        adapters.plan("paca", fresh("mlp"), [], loss=lambda m, batch: m(batch).sum(), targets=["fc1"])
    with pytest.raises(InputError, match="chooses nothing from data"):
        adapters.plan("lora", fresh("mlp"), [x], loss=lambda m, batch: m(batch).sum())


@pytest.mark.parametrize("subject", ["mlp", "vit"])
def test_bitfit_trains_every_bias(subject):
    model = fresh(subject)
    biases = {name for name, p in model.named_parameters() if name.endswith("bias")}
    adapters.attach(model, "bitfit")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == biases
    assert SUBJECTS[subject].run(model, sample(subject)).requires_grad


def test_a_state_dict_holds_what_the_optimizer_did_since_the_last_forward():
    model = adapters.attach(fresh("mlp"), "paca", targets=["fc1"], r=4)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    model(sample("mlp")).square().sum().backward()
    optimizer.step()
    saved = model.state_dict()["fc1.weight"].clone()
    model(sample("mlp"))
    assert torch.equal(saved, model.fc1.weight)
    assert not torch.equal(saved, fresh("mlp").fc1.weight)


def test_two_adapters_may_share_one_config_in_plain_peft():
    model = get_peft_model(fresh("mlp"), ParametersConfig(parameters=["fc2"]), adapter_name="one")
    model.add_adapter("two", model.peft_config["one"])
    assert {"one", "two"} == set(model.base_model.model.fc2.suite_parameters.settings)


def test_an_empty_adapter_takes_no_memory_until_it_is_loaded():
    model = inject_adapter_in_model(ParametersConfig(parameters=["fc2"]), fresh("mlp"), low_cpu_mem_usage=True)
    assert model.fc2.suite_parameters.tensor("weight", "default").is_meta
