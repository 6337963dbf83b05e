"""How adapters act: at a strength, on rows of a batch, around a layer, on the whole model, between two hooks."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from peft import get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from suite import adapters
from suite.adapters.registry import peft_type_of
from suite.errors import InputError
from tests.adapters import toys  # noqa: F401 - registers its methods
from tests.adapters.cases import arguments, fresh, randomise, sample

BY_ROW = ["ssf", "krona", "svdiff", "paca", "series_adapter", "parallel_adapter", "lora", "toy_hut", "toy_hut_vector"]


def attached(*methods: str, model: nn.Module | None = None, name: str = "default", seed: int = 7) -> nn.Module:
    specs = [{"method": method, **arguments(method, "mlp"), "targets": ["fc1"]} for method in methods]
    model = adapters.attach(fresh("mlp") if model is None else model, *specs, name=name).eval()
    randomise(model, seed=seed)
    return model


@pytest.mark.parametrize("methods", [*((name,) for name in BY_ROW), ("paca", "toy_hut", "lora"), ("lora", "ssf")])
def test_rows_have_adapters_of_their_own(methods: tuple[str, ...]) -> None:
    x = sample("mlp")[:3]
    model = attached(*methods, name="a")
    first = model(x)
    model = attached(*methods, model=model, name="b", seed=9)
    second = model(x)
    with adapters.rows(model, ["a", "b", None]):
        mixed = model(x)
    for row, expected in enumerate((first, second, fresh("mlp")(x))):
        torch.testing.assert_close(mixed[row], expected[row], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model(x), second)
    with adapters.rows(model, ["a", "b"]), pytest.raises((InputError, ValueError), match=r"rows|adapter_names"):
        model(x)


def test_rows_train_their_own_adapters() -> None:
    for method in ("ssf", "paca", "parallel_adapter"):
        model = attached(method, name="a")
        model = attached(method, model=model, name="b")
        adapters.activate(model, "a", trainable=True)
        with adapters.rows(model, ["a", None]):
            model(sample("mlp")[:2]).sum().backward()
        grads = {name: p.grad for name, p in model.named_parameters() if name.endswith((".a", ".b"))}
        assert all((grad is not None) == name.endswith(".a") for name, grad in grads.items())


def test_rows_of_methods_that_act_on_all_alike_are_refused() -> None:
    model = adapters.attach(fresh("mlp"), train=["fc1"], name="a")
    with pytest.raises(InputError, match="acts on all rows"), adapters.rows(model, ["a", None]):
        pass
    with pytest.raises(InputError, match="no adapter 'c'"), adapters.rows(model, ["c"]):
        pass


@pytest.mark.parametrize(("method", "settings"), [("ssf", {}), ("krona", {"a1": 4, "a2": 8}), ("paca", {"r": 2})])
def test_pefts_own_call_for_rows_works(method: str, settings: dict) -> None:
    config = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type_of(method)]
    x = sample("mlp")[:2]
    model = get_peft_model(fresh("mlp"), config(target_modules=["fc1"], init_weights=False, **settings), "first")
    model.add_adapter("second", config(target_modules=["fc1"], init_weights=False, **settings))
    model.eval().set_adapter("second")
    wanted = model(x)[1]
    model.set_adapter("first")
    torch.testing.assert_close(model(x, adapter_names=["first", "second"])[1], wanted)
    torch.testing.assert_close(model(x, adapter_names=["__base__", "first"])[0], fresh("mlp")(x)[0])
    with pytest.raises(ValueError, match="no adapter 'third'"):
        model(x, adapter_names=["third", "first"])


def test_pefts_own_call_for_rows_is_refused_where_it_cannot_be() -> None:
    config = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type_of("bitfit")](target_modules=["fc1"])
    with pytest.raises(ValueError, match="acts on all rows"):
        get_peft_model(fresh("mlp"), config)(sample("mlp"), adapter_names=["default"] * len(sample("mlp")))


@pytest.mark.parametrize("method", ["toy_hut", "toy_hut_vector", "ssf", "lora", "parallel_adapter"])
def test_strengths_are_between_the_base_and_the_adapter(method: str) -> None:
    x, base = sample("mlp"), fresh("mlp").fc1(sample("mlp"))
    model = attached(method)
    whole = model.fc1(x)
    adapters.scale(model, 0.25)
    torch.testing.assert_close(model.fc1(x), base + 0.25 * (whole - base), atol=1e-6, rtol=1e-5)
    if adapters.methods()[method].mergeable:
        output = model(x)
        adapters.merge(model)
        torch.testing.assert_close(model(x), output, atol=1e-5, rtol=1e-5)
        with pytest.raises(InputError, match="merged"):
            adapters.scale(model, 1.0)
        adapters.unmerge(model)
    exact = 1e-6 if method == "lora" else 0.0  # peft unmerges by subtracting
    adapters.scale(model, 0.0)
    torch.testing.assert_close(model.fc1(x), base, atol=exact, rtol=0)
    adapters.scale(model, 1.0)
    torch.testing.assert_close(model.fc1(x), whole, atol=exact, rtol=0)


def test_a_strength_is_one_adapters_and_not_saved(tmp_path) -> None:
    x = sample("mlp")
    model = attached("krona", name="one")
    output = model(x)
    adapters.scale(model, 0.5)
    adapters.save(model, tmp_path / "a")
    assert torch.equal(adapters.load(fresh("mlp"), tmp_path / "a")(x), output)
    attached("krona", model=model, name="two")
    adapters.activate(model, "one", "two")
    adapters.scale(model, 0.0, "two")
    adapters.scale(model, 1.0, "one")
    assert torch.equal(model(x), output)
    with pytest.raises(InputError, match="no adapter called 'three'"):
        adapters.scale(model, 0.5, "three")


def test_what_acts_wholly_or_not_at_all_says_so() -> None:
    x = sample("mlp")
    for method in ("paca", "bitfit"):
        model = attached(method)
        output = model(x)
        with pytest.raises(InputError, match="wholly or not at all"):
            adapters.scale(model, 0.5)
        adapters.scale(model, 0.0)
        assert torch.equal(model(x), fresh("mlp")(x))
        adapters.scale(model, 1.0)
        assert torch.equal(model(x), output)
    with pytest.raises(InputError, match="oft acts wholly"):
        adapters.scale(attached("oft"), 0.5)


def test_a_method_may_change_what_goes_in() -> None:
    calls: list[Tensor] = []
    x = sample("mlp").double()
    lora = {"method": "lora", **arguments("lora", "mlp"), "targets": ["fc1"]}
    model = adapters.attach(fresh("mlp").double(), lora, {"method": "toy_hut_vector", "targets": ["fc1"]}).double()
    randomise(model)
    model.fc1.get_base_layer().register_forward_hook(lambda *_: calls.append(x))
    output = model.eval()(x)
    assert len(calls) == 1
    adapters.merge(model)
    torch.testing.assert_close(model(x), output)


def test_several_that_change_what_goes_in_act_one_after_the_other() -> None:
    x = sample("mlp")
    model = attached("toy_hut_vector", name="one")
    attached("toy_hut_vector", model=model, name="two", seed=9)
    adapters.activate(model, "one", "two")
    output = model(x)
    adapters.merge(model)
    torch.testing.assert_close(model(x), output, atol=1e-5, rtol=1e-4)


def test_adapters_go_to_the_device_of_hosts_without_a_weight() -> None:
    with torch.device("meta"):
        model = VisionTransformer(img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=4)
        act = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    for method in ("visual_prompt", "pcsa"):
        on_meta = adapters.attach(copy.deepcopy(model), method, targets=["blocks.0", "blocks.1"])
        assert {p.device.type for p in on_meta.parameters()} == {"meta"}
    assert {p.device.type for p in adapters.attach(act, "toy_echo", targets=["1"]).parameters()} == {"meta"}


def test_a_site_may_be_the_whole_model(tmp_path) -> None:
    x = sample("mlp")
    model = adapters.attach(fresh("mlp"), {"method": "toy_echo", "targets": ""}, train=["fc2"])
    randomise(model)
    gain = model.suite_toy_echo.tensor("g", "default-toy_echo")
    output = model(x)
    assert not torch.equal(output, fresh("mlp")(x))
    assert gain.requires_grad
    assert not model.fc1.weight.requires_grad
    adapters.save(model, tmp_path / "a")
    loaded = adapters.load(fresh("mlp"), tmp_path / "a")
    assert torch.equal(loaded(x), output)
    assert torch.equal(adapters.detach(loaded)(x), fresh("mlp")(x))
    both = adapters.attach(fresh("mlp"), "toy_echo", targets=["", "fc1"])
    assert {name for name, _ in adapters.layers(both, "toy_echo")} == {"suite_toy_echo", "fc1.suite_toy_echo"}
    spelled = adapters.attach(fresh("mlp"), "toy_echo", targets="^$")
    assert [name for name, _ in adapters.layers(spelled)] == ["suite_toy_echo"]
    with pytest.raises(InputError, match="only holds modules"):
        adapters.attach(nn.Sequential(nn.Linear(4, 4)), "toy_echo", targets="")


def test_what_one_hook_leaves_for_another_is_gone_after_the_forward() -> None:
    model = adapters.attach(fresh("vit"), "toy_apt", targets=["attn"], init_weights=False)
    x = sample("vit")
    output = model(x)
    assert not torch.equal(output, fresh("vit")(x))
    layer = model.blocks[0].attn.suite_toy_apt
    assert vars(layer.scratch) == {}
    layer.scratch.entered = output  # part of a graph, which cannot be copied
    twin = copy.deepcopy(model)
    assert vars(twin.blocks[0].attn.suite_toy_apt.scratch) == {}
    assert pickle.loads(pickle.dumps(layer.scratch)) == type(layer.scratch)()
    randomise(twin, seed=3)
    assert torch.equal(model(x), output)
    assert not torch.equal(twin(x), output)
    hooks = len(model.blocks[0].attn.proj._forward_pre_hooks)
    adapters.attach(model, "toy_apt", targets=["attn"], name="two")
    assert len(model.blocks[0].attn.proj._forward_pre_hooks) == hooks == 1
    bare = adapters.detach(model)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in bare.modules())
