"""The fused product gives what peft's own forward gives, wherever it acts, and leaves all else to peft."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners import lora
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from suite import adapters
from suite.adapters.fused import lora as fused
from suite.adapters.nf4 import quantize_model

SHAPES = {"vector": (16,), "rows": (5, 16), "batch": (2, 5, 16), "image": (2, 3, 5, 16), "empty": (0, 5, 16)}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which fused products ran: `whole` with the base's, `part` beside a base that multiplied by itself."""
    seen: list[str] = []
    for name, kind in (("lora_linear", "whole"), ("add_low_rank", "part")):
        original = getattr(fused, name)

        def count(*args: Any, original: Callable = original, kind: str = kind) -> Tensor:
            seen.append(kind)
            return original(*args)

        monkeypatch.setattr(fused, name, count)
    yield seen


def net(bias: bool = True) -> nn.Module:
    return nn.Sequential(nn.Linear(16, 24, bias=bias), nn.Tanh(), nn.Linear(24, 8, bias=bias))


def pair(base: nn.Module, *, methods: int = 1, targets: list[str] | None = None, **config: Any) -> list[nn.Module]:
    """The same adapters on two copies of a base, through the suite and through peft alone."""
    twin, names = copy.deepcopy(base), ["default", "other"][:methods]
    for name in names:
        settings = {"targets": targets or ["0", "2"], "r": 3, "lora_alpha": 5, "init_lora_weights": False, **config}
        base = adapters.attach(base, "lora", name=name, **settings)
        settings["target_modules"] = settings.pop("targets")
        twin = inject_adapter_in_model(LoraConfig(**settings), twin, name)
    adapters.activate(base, *names)
    for layer in twin.modules():
        if isinstance(layer, lora.LoraLayer):
            layer.set_adapter(names)
    values = dict(base.named_parameters())
    for name, parameter in twin.named_parameters():
        parameter.data = values[name].data.clone()
    return [base, twin]


def results(model: Callable, x: Tensor, *parameters: Tensor, **kwargs: Any) -> list[Tensor]:
    """The output, and the gradients to the input and to the parameters, of a loss that weighs every entry."""
    x = x.detach().requires_grad_()
    y = model(x, **kwargs)
    weights = torch.linspace(-1, 2, max(y.numel(), 1), dtype=y.dtype)[: y.numel()].reshape(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *parameters], materialize_grads=True)]


def trained(model: nn.Module) -> list[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def agree(models: list[nn.Module], x: Tensor, tolerance: float = 1e-10) -> None:
    ours, theirs = [results(model, x, *trained(model)) for model in models]
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.dtype == reference.dtype
        torch.testing.assert_close(mine, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_outputs_and_gradients_are_those_of_peft(shape: str, dtype: torch.dtype, products: list[str]) -> None:
    agree(pair(net(bias=shape != "rows").to(dtype)), torch.randn(SHAPES[shape], dtype=dtype), TOLERANCE[dtype])
    assert products == ["whole", "whole"]


def test_an_input_that_is_not_contiguous() -> None:
    agree(pair(net().double()), torch.randn(2, 16, 5).double().transpose(1, 2))


def test_predictions_on_the_cpu_are_those_of_peft_to_the_bit(products: list[str]) -> None:
    models, x = [model.eval() for model in pair(net())], torch.randn(4, 16)
    assert torch.equal(*[model(x) for model in models])
    assert not products


def test_several_active_adapters_are_one_product(products: list[str]) -> None:
    agree(pair(net().double(), methods=2), torch.randn(4, 16).double())
    assert products == ["whole", "whole"]


def _change_scale(models: list[nn.Module]) -> None:
    for model in models:
        model[0].scale_layer(0.3)
        model[2].set_scale("default", 7.0)


def _merge(models: list[nn.Module]) -> None:
    for model in models:
        model[0].merge()


def _disable(models: list[nn.Module]) -> None:
    for model in models:
        model[2].enable_adapters(False)


def _thaw(models: list[nn.Module]) -> None:
    for model in models:
        model[0].base_layer.weight.requires_grad_()
        model[2].base_layer.bias.requires_grad_()


def _freeze_adapter(models: list[nn.Module]) -> None:
    for model in models:
        model[0].requires_grad_(False)


def _freeze_half(models: list[nn.Module]) -> None:
    for model in models:
        model[0].lora_A.requires_grad_(False)
        model[2].lora_B.requires_grad_(False)


CHANGES = {
    "scaling changed": (_change_scale, ["whole", "whole"]),
    "one layer merged": (_merge, ["whole"]),
    "one layer disabled": (_disable, ["whole"]),
    "base trains": (_thaw, ["part", "part"]),
    "adapter frozen": (_freeze_adapter, ["whole", "whole"]),
    "half frozen": (_freeze_half, ["whole", "whole"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_states_of_a_layer(change: str, products: list[str]) -> None:
    models = pair(net().double())
    act, expected = CHANGES[change]
    act(models)
    agree(models, torch.randn(4, 16).double())
    assert products == expected


CONFIGS: dict[str, dict[str, Any]] = {
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"2": 5}, "alpha_pattern": {"0": 1}},
    "modules_to_save": {"targets": ["0"], "modules_to_save": ["2"]},
    "biases of the base": {"bias": "lora_only"},
    "dropout": {"lora_dropout": 0.5},
    "dora": {"use_dora": True},
    "bias of its own": {"lora_bias": True},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations(name: str, products: list[str]) -> None:
    models = pair(net().double(), **CONFIGS[name])
    for model in models:
        model[0].lora_dropout.eval()
        model[2].lora_dropout.eval() if name == "dropout" else None
    agree(models, torch.randn(4, 16).double())
    assert bool(products) == (name not in ("dora", "bias of its own"))


def test_dropout_in_training_is_peft_s(products: list[str]) -> None:
    models = [model.train() for model in pair(net().double(), lora_dropout=0.5)]
    x, outputs = torch.randn(4, 16).double(), []
    for model in models:
        torch.manual_seed(3)
        outputs.append(model(x))
    assert torch.equal(*outputs)
    assert not products


def test_mixed_batches_are_peft_s() -> None:
    models = [model.eval() for model in pair(nn.ModuleList([nn.Linear(16, 8)]), methods=2, targets=["0"])]
    names = ["default", "__base__", "other", "default"]
    x = torch.randn(4, 16)
    assert torch.equal(*[model[0](x, adapter_names=names) for model in models])


@pytest.mark.parametrize("adapter_dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_within_one_rounding(adapter_dtype: torch.dtype, products: list[str]) -> None:
    base = nn.Sequential(nn.Linear(64, 48)).bfloat16()
    models = pair(base, targets=["0"], r=4)
    for model in models:
        for parameter in trained(model):
            parameter.data = parameter.data.to(adapter_dtype)
    x = torch.randn(32, 64).bfloat16()
    ours, theirs = [results(model, x, *trained(model)) for model in models]
    exact = copy.deepcopy(models[1]).double()
    truth = results(exact, x.double(), *trained(exact))
    assert products == ["whole"]
    for mine, reference, value in zip(ours, theirs, truth, strict=True):
        assert mine.dtype == reference.dtype
        off, allowed = (mine.double() - value).abs(), (reference.double() - value).abs()
        # bfloat16 has 8 bits: one rounding is 2^-9 of what is rounded, sums included.
        assert (off <= allowed + 2**-8 * value.abs() + 2**-9 * value.abs().max()).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype: torch.dtype, products: list[str]) -> None:
    models, x = pair(net()), torch.randn(6, 16)
    outputs = []
    for model in models:
        with torch.autocast("cpu", dtype):
            outputs.append(results(model, x, *trained(model)))  # the backward runs inside as well
    assert products == ["whole", "whole"]
    for mine, reference in zip(*outputs, strict=True):
        assert mine.dtype == reference.dtype
        torch.testing.assert_close(mine, reference, rtol=3e-2, atol=3e-2 * float(reference.abs().max()))


def test_a_backward_inside_autocast_keeps_the_forward_s_dtype() -> None:
    model = pair(net())[0]
    x = torch.randn(6, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        y = model(x)
    expected = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
    with torch.autocast("cpu", torch.bfloat16):
        inside = torch.autograd.grad(y.sum(), x)[0]
    assert torch.allclose(inside, expected, atol=1e-2)


def test_other_mixtures_of_dtypes_are_peft_s(products: list[str]) -> None:
    models = pair(net().half())
    for model in models:
        for parameter in trained(model):
            parameter.data = parameter.data.float()
    x = torch.randn(4, 16).half()
    assert torch.equal(*[model(x) for model in models])
    assert not products


def test_adapters_given_in_the_compute_dtype(products: list[str]) -> None:
    """A trainer that casts the adapters once a step hands their copies in through `functional_call`."""
    model = pair(net().bfloat16())[0].float()
    for name, parameter in model.named_parameters():
        if "lora" not in name:
            parameter.data = parameter.data.bfloat16()
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    masters = dict(model.named_parameters())
    copies = {name: masters[name].bfloat16() for name in names}
    x = torch.randn(4, 16).bfloat16()
    torch.func.functional_call(model, copies, x).float().square().sum().backward()
    cast = [masters[name].grad for name in names]
    model.zero_grad()
    model(x).float().square().sum().backward()
    assert products == ["whole"] * 4
    for mine, name in zip(cast, names, strict=True):
        torch.testing.assert_close(mine, masters[name].grad, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant: bool, products: list[str]) -> None:
    models, x = pair(net().double()), torch.randn(4, 16).double()

    def run(model: nn.Module) -> Tensor:
        given = x.clone().requires_grad_()
        checkpoint(model, given, use_reentrant=reentrant).square().sum().backward()
        return torch.cat([given.grad.flatten(), *[parameter.grad.flatten() for parameter in trained(model)]])

    torch.testing.assert_close(*[run(model) for model in models], rtol=1e-10, atol=1e-10)
    assert products == ["whole"] * 4


@pytest.mark.parametrize("backend", ["torch", "bitsandbytes"])
def test_four_bit_bases(backend: Any, products: list[str]) -> None:
    pytest.importorskip("bitsandbytes") if backend == "bitsandbytes" else None
    base = quantize_model(nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)), backend=backend)
    models = pair(base)
    agree(models, torch.randn(6, 64), 1e-5)
    assert products == ["part", "part"]
    assert isinstance(models[0][0], type(models[1][0]))


@pytest.mark.parametrize("order", [("krona", "lora"), ("lora", "krona"), ("lora", "bitfit"), ("lora", "paca")])
def test_beside_other_methods(order: tuple[str, str]) -> None:
    settings = {"krona": {"a1": 4, "a2": 4, "init_weights": False}, "lora": {"init_lora_weights": False}}
    specs = [{"method": method, "targets": ["0", "2"], **settings.get(method, {})} for method in order]
    model = adapters.attach(net(), *specs)
    twin = copy.deepcopy(model)
    for layer in twin.modules():
        if isinstance(layer, fused.FusedForward):
            layer.__class__ = lora.Linear
    agree([model, twin], torch.randn(4, 16), 1e-5)


def test_torch_compile_takes_it_whole() -> None:
    torch._dynamo.reset()
    models = pair(net().double())
    compiled = torch.compile(models[0], fullgraph=True, backend="aot_eager")
    x = torch.randn(4, 16).double()
    ours, theirs = results(compiled, x, *trained(models[0])), results(models[1], x, *trained(models[1]))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_a_second_derivative() -> None:
    def penalty(model: nn.Module, x: Tensor) -> list[Tensor]:
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        return list(torch.autograd.grad(slope.square().sum(), [x, *trained(model)]))

    models, x = pair(net().double()), torch.randn(4, 16).double()
    torch.testing.assert_close(*[penalty(model, x) for model in models], rtol=1e-10, atol=1e-10)


def test_function_transforms() -> None:
    models, x = pair(net().double()), torch.randn(4, 16).double()

    def gradients(model: nn.Module) -> list[Tensor]:
        values = {name: value.detach() for name, value in model.named_parameters()}

        def loss(values: dict[str, Tensor], row: Tensor) -> Tensor:
            return torch.func.functional_call(model, values, row).square().sum()

        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(values, x)
        _, tangent = torch.func.jvp(model, (x,), (torch.ones_like(x),))
        return [*each.values(), tangent]

    torch.testing.assert_close(*[gradients(model) for model in models], rtol=1e-10, atol=1e-10)


def test_forward_mode_and_tracing() -> None:
    models, x = pair(net().double()), torch.randn(4, 16).double()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        tangents = [torch.autograd.forward_ad.unpack_dual(model(dual)).tangent for model in models]
    torch.testing.assert_close(*tangents, rtol=1e-10, atol=1e-10)
    traced = torch.jit.trace(models[0], x)
    torch.testing.assert_close(traced(2 * x), models[1](2 * x), rtol=1e-10, atol=1e-10)
    assert "PythonOp" not in str(traced.inlined_graph)


@pytest.mark.parametrize("part", ["base_layer", "lora_A", "lora_B", "lora_dropout"])
def test_hooks_on_a_layer_s_parts_see_what_they_see_in_peft(part: str) -> None:
    models, x, seen = pair(net()), torch.randn(4, 16), []
    for model in models:
        module = getattr(model[0], part)
        module = module if part == "base_layer" else module["default"]
        module.register_forward_hook(lambda _module, _args, output: seen.append(output.detach().clone()))
        agree([model, model], x, 1e-5)
    assert len(seen) == 4
    torch.testing.assert_close(seen[0], seen[2])


def test_a_base_s_output_is_not_written_to() -> None:
    model, kept = pair(net())[0], []
    model[0].base_layer.register_forward_hook(lambda _module, _args, output: kept.append(output))
    x = torch.randn(4, 16)
    with torch.no_grad():
        model(x)
        assert torch.equal(kept[0], functional.linear(x, model[0].base_layer.weight, model[0].base_layer.bias))


def test_copies_and_pickles_compute_with_their_own_weights(products: list[str]) -> None:
    model, x = pair(net())[0], torch.randn(4, 16)
    twins = [copy.deepcopy(model), nn.Sequential(*pickle.loads(pickle.dumps([*model])))]
    expected = model(x).detach()
    with torch.no_grad():
        for parameter in trained(model):
            parameter.zero_()
    for twin in twins:
        assert torch.equal(twin(x), expected)
    assert products == ["whole"] * 6


def test_what_others_see_is_peft_s() -> None:
    ours, theirs = pair(net())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert str(ours) == str(theirs)
    for mine, reference in zip(ours.modules(), theirs.modules(), strict=True):
        assert isinstance(mine, type(reference))
        assert type(mine).__name__ == type(reference).__name__


def test_keeps_the_input_and_the_low_rank_product_only() -> None:
    model, x = pair(nn.Sequential(nn.Linear(16, 24)), targets=["0"])[0], torch.randn(7, 16)
    own = {parameter.data_ptr() for parameter in model.parameters()} | {x.data_ptr()}
    kept: list[torch.Size] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x)
    assert kept == [(7, 3)]


@pytest.mark.parametrize("grad", [True, False])
def test_a_wrong_width_is_refused_by_torch(grad: bool) -> None:
    model = pair(net())[0]
    with nullcontext() if grad else torch.no_grad(), pytest.raises(RuntimeError, match="shape"):
        model(torch.randn(4, 8))


def test_loaded_adapters_are_fused_too(tmp_path: Any, products: list[str]) -> None:
    model, x = pair(net())[0], torch.randn(4, 16)
    adapters.save(adapters.detach(model, "other") if "other" in adapters.attached(model) else model, tmp_path / "a")
    base = copy.deepcopy(net())
    base.load_state_dict(
        {name.replace("base_layer.", ""): value for name, value in model.state_dict().items() if "lora" not in name}
    )
    loaded = adapters.load(base, tmp_path / "a")
    expected = model(x)
    products.clear()
    assert torch.equal(loaded(x), expected)
    assert products == ["whole", "whole"]
