"""KronA's products give the same numbers, keep the input only, and the cheapest is chosen."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from suite import adapters
from suite.adapters.methods.reparameterized import krona, kronecker
from suite.adapters.methods.reparameterized.kronecker import Sizes, cheapest, kronecker_linear, kronecker_product

# ms of forward and backward of one layer on an H100 in bfloat16, a = (4, 64): factored, and W + A kron B in one product
MEASURED = {
    (4096, 640): (0.60, 0.37),
    (1024, 1280): (0.99, 0.44),
    (4096, 1280): (1.38, 0.75),
    (16384, 640): (0.52, 0.45),
    (8192, 4096): (1.04, 1.35),
}
FACTORS = {"a first": (2, 6, 8, 4), "b first": (8, 2, 3, 12), "even": (4, 4, 4, 4)}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The choice of an accelerator on the CPU, and how often the whole product ran."""
    seen: list[str] = []

    def count(*args: Any, **kwargs: Any) -> Tensor:
        seen.append("whole")
        return kronecker_linear(*args, **kwargs)

    monkeypatch.setattr(krona, "cheapest", lambda *_: "whole")
    monkeypatch.setattr(krona, "kronecker_linear", count)
    return seen


def net(**config: Any) -> nn.Module:
    base = nn.Sequential(nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 8))
    settings = {"targets": ["0", "2"], "a1": 4, "a2": 4, "scaling": 0.7, "init_weights": False, **config}
    return adapters.attach(base.double(), "krona", **settings)


def results(model: Callable, x: Tensor, *parameters: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = model(x)
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *parameters], materialize_grads=True)]


def trained(model: nn.Module) -> list[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("size", MEASURED)
def test_the_faster_product_is_chosen(size: tuple[int, int]) -> None:
    tokens, width = size
    way = cheapest(tokens, Sizes(4, 64, width // 4, width // 64), "cuda")
    factored, one = MEASURED[size]
    assert (one if way == "whole" else factored) <= 1.05 * min(factored, one)


@pytest.mark.parametrize("factors", [(8, 2, 8, 32), (8, 2, 10, 40), (4, 64, 320, 20), (64, 8, 20, 160)])
@pytest.mark.parametrize("tokens", [1, 77, 1024, 16384])
def test_on_the_cpu_the_order_of_fewer_multiplications(factors: tuple[int, ...], tokens: int) -> None:
    sizes = Sizes(*factors)
    costs = sizes.multiplications()
    assert costs[cheapest(tokens, sizes, "cpu", 4)] == min(costs.values())


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0, 3)])
def test_all_products_agree(name: str, official: bool, shape: tuple[int, ...]) -> None:
    a1, a2, b1, b2 = FACTORS[name]
    a, b = torch.randn(a1, a2, requires_grad=True).double(), torch.randn(b1, b2, requires_grad=True).double()
    weight, bias = torch.randn(a1 * b1, a2 * b2).double(), torch.randn(a1 * b1).double()
    x = torch.randn(*shape, a2 * b2).double()
    product = torch.kron(a, b).reshape(a1, b1, -1)
    product = (product.transpose(0, 1) if official else product).reshape(weight.shape)
    plain = results(lambda x: functional.linear(x, weight + 0.7 * product, bias), x, a, b)
    one = results(lambda x: kronecker_linear(x, weight, bias, a, b, 0.7, official=official), x, a, b)
    two = results(
        lambda x: functional.linear(x, weight, bias) + 0.7 * kronecker_product(x, a, b, official=official), x, a, b
    )
    torch.testing.assert_close(one, plain, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(two, plain, rtol=1e-10, atol=1e-10)


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an accelerator would do."""
    monkeypatch.setattr(kronecker, "makes_again", lambda x: True)


@pytest.mark.usefixtures("again")
@pytest.mark.parametrize("factors", [(8, 2, 8, 32), (8, 2, 10, 40), (4, 64, 20, 20)])
def test_making_it_again_in_the_backward_changes_no_bit(factors: tuple[int, ...]) -> None:
    a1, a2, b1, b2 = factors
    a, b, x = (torch.randn(*size, requires_grad=True) for size in ((a1, a2), (b1, b2), (50, a2 * b2)))

    def kept(x: Tensor) -> Tensor:
        blocks, repeated = x.reshape(-1, a2, b2), a.expand(x.shape[0], a1, a2)
        if Sizes(*factors).order() == "a first":
            return functional.linear(torch.bmm(repeated, blocks), b).reshape(x.shape[0], -1)
        return torch.bmm(repeated, functional.linear(blocks, b)).reshape(x.shape[0], -1)

    ours, theirs = results(lambda x: kronecker_product(x, a, b), x, a, b), results(kept, x, a, b)
    assert all(torch.equal(mine, reference) for mine, reference in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("layout", ["kron", "official"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_takes_the_whole_product(layout: str, bias: bool, whole: list[str], monkeypatch: Any) -> None:
    model, x = net(layout=layout), torch.randn(3, 5, 24).double()
    if not bias:
        model[0].base_layer.bias = None
    ours = results(model, x, *trained(model))
    assert whole == ["whole", "whole"]
    monkeypatch.undo()
    torch.testing.assert_close(ours, results(model, x, *trained(model)), rtol=1e-10, atol=1e-10)


def test_what_cannot_be_made_whole_is_factored(whole: list[str]) -> None:
    dropped, x = net(dropout=0.5), torch.randn(3, 24).double()
    dropped(x)
    thawed = net()
    thawed[0].base_layer.weight.requires_grad_()
    thawed[2].base_layer.register_forward_hook(lambda *_: None)
    thawed(x)
    two = adapters.attach(net(), "krona", name="other", targets=["0", "2"], a1=2, a2=2)
    adapters.activate(two, "default", "other")
    two(x)
    with adapters.disabled(two):
        two(x)
    adapters.merge(two)
    two(x)
    assert not whole
    dropped.eval()(x)
    assert whole == ["whole", "whole"]


def test_the_whole_product_knows_strengths_and_rows(whole: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = net(), torch.randn(4, 24).double()
    adapters.attach(model, "krona", name="other", targets=["0", "2"], a1=2, a2=2, init_weights=False)
    adapters.activate(model, "default")
    model[0].set_strength("default", 0.3)

    def outputs() -> list[Tensor]:
        with adapters.rows(model, ["default", "other", None, "other"]):
            return [model(x), *results(model, x, *trained(model))]

    ours = outputs()
    assert whole
    monkeypatch.undo()
    torch.testing.assert_close(ours, outputs(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant: bool, whole: list[str]) -> None:
    model, x = net(), torch.randn(4, 24).double()
    expected = results(model, x, *trained(model))
    given = x.clone().requires_grad_()
    y = checkpoint(model, given, use_reentrant=reentrant)
    (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)).sum().backward()
    torch.testing.assert_close([given.grad, *[p.grad for p in trained(model)]], expected[1:], rtol=1e-10, atol=1e-10)


def test_compiled_and_differentiated_twice(whole: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    model, x = net(), torch.randn(4, 24).double()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(results(compiled, x, *trained(model)), results(model, x, *trained(model)))

    def penalty() -> list[Tensor]:
        given = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(given).square().sum(), given, create_graph=True)
        return list(torch.autograd.grad(slope.square().sum(), trained(model)))

    ours = penalty()
    monkeypatch.undo()
    torch.testing.assert_close(ours, penalty(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("base", [torch.bfloat16, torch.float32])
def test_bfloat16_is_near_the_exact_product(base: torch.dtype, whole: list[str]) -> None:
    model, x = net().to(base), torch.randn(32, 24)
    for parameter in trained(model):
        parameter.data = parameter.data.float()
    exact = results(copy.deepcopy(model).double(), x.to(base).double())[0]
    with torch.autocast("cpu", torch.bfloat16, enabled=base is torch.float32):
        found = results(model, x.to(base), *trained(model))
    assert found[0].dtype is torch.bfloat16
    assert {gradient.dtype for gradient in found[2:]} == {torch.float32}
    torch.testing.assert_close(found[0].double(), exact, rtol=2**-6, atol=2**-6 * float(exact.abs().max()))


def test_a_change_below_the_rounding_of_the_weight(whole: list[str]) -> None:
    """B gets its gradient, and the output is within one rounding of its scale, as `changed_weight` says."""
    model, x = net(a1=4, a2=8).bfloat16(), torch.randn(256, 24).bfloat16()
    model[2] = nn.Identity()
    for parameter in trained(model):
        parameter.data = 1e-3 * torch.randn(parameter.shape)
    exact = copy.deepcopy(model).double()
    for parameter, reference in zip(trained(model), trained(exact), strict=True):
        reference.data = parameter.data.double()
    found = results(model, x, *trained(model))
    assert len(whole) == 1
    wanted = results(exact, x.double(), *trained(exact))
    assert len(whole) == 2
    assert (found[0].double() - wanted[0]).abs().max() <= 2**-8 * wanted[0].abs().max()
    for gradient, reference in zip(found[2:], wanted[2:], strict=True):
        assert gradient.any() and (gradient.double() - reference).norm() <= 2**-6 * reference.norm()


def test_training_from_zero_does_not_stall_in_bfloat16(request: pytest.FixtureRequest) -> None:
    """A rate at which the first steps change no entry of the weight: the loss falls as with the factored product."""
    base = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64)).bfloat16()
    taught = copy.deepcopy(base).float()
    for layer in (taught[0], taught[2]):
        layer.weight.data += 0.3 * layer.weight.std() * torch.randn(64, 64)
    batches = [torch.randn(256, 64) for _ in range(50)]
    fallen = {}
    for way in ("factored", "whole"):
        if way == "whole":
            runs = request.getfixturevalue("whole")
        torch.manual_seed(1)
        model = adapters.attach(copy.deepcopy(base), "krona", targets=["0", "2"], a1=4, a2=16)
        for parameter in trained(model):
            parameter.data = parameter.data.float()
        optimizer = torch.optim.AdamW(trained(model), lr=1e-4, weight_decay=0.0)
        losses = []
        for x in batches:
            loss = functional.mse_loss(model(x.bfloat16()).float(), taught(x).detach())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            untrained = functional.mse_loss(base(x.bfloat16()).float(), taught(x))
            losses.append((loss - untrained).item())
        fallen[way] = sum(losses[-5:]) / 5
    assert len(runs) == 2 * len(batches)
    assert fallen["factored"] < 0 and abs(fallen["whole"] / fallen["factored"] - 1) < 0.05


def kept_bytes(model: nn.Module, x: Tensor) -> int:
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x)
    return sum(kept.values())


@pytest.mark.usefixtures("again")
@pytest.mark.parametrize("factors", [(4, 64), (16, 64), (64, 8), (8, 2)])
@pytest.mark.parametrize("way", ["whole", "factored"])
def test_it_keeps_no_more_than_lora(way: str, factors: tuple[int, int], request: pytest.FixtureRequest) -> None:
    if way == "whole":
        request.getfixturevalue("whole")
    base, x = nn.Sequential(nn.Linear(128, 128)), torch.randn(50, 128)
    lora = adapters.attach(copy.deepcopy(base), "lora", targets=["0"], r=4)
    model = adapters.attach(base, "krona", targets=["0"], a1=factors[0], a2=factors[1])
    assert kept_bytes(model, x) == x.nbytes < kept_bytes(lora, x)


class Peak(TorchDispatchMode):
    """How many bytes live at once of what operations make, and the most that one of them makes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = self.largest = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.known |= {storage._cdata for storage in self._storages((args, kwargs))}
        out = function(*args, **(kwargs or {}))
        for storage in self._storages(out):
            if storage._cdata not in self.known:
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                self.most, self.largest = max(self.most, self.now), max(self.largest, storage.nbytes())
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return out

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size

    @staticmethod
    def _storages(tree: Any) -> list[Any]:
        return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("layout", ["kron", "official"])
def test_a_step_of_the_whole_product_needs_no_more_than_lora_s(layout: str, whole: list[str]) -> None:
    """Ten layers tell: what the whole product needs for a moment, in one layer, LoRA keeps in each."""
    base, x = nn.Sequential(*(nn.Linear(128, 128) for _ in range(10))).bfloat16(), torch.randn(50, 128).bfloat16()
    found = {}
    for method, settings in {"lora": {"r": 4}, "krona": {"a1": 4, "a2": 8, "layout": layout}}.items():
        model = adapters.attach(copy.deepcopy(base), method, targets=[str(n) for n in range(10)], **settings)
        for parameter in trained(model):
            parameter.data = parameter.data.float()
        with Peak() as peak:
            model(x).square().mean().backward()
        found[method] = peak.most + sum(parameter.nbytes for parameter in trained(model))
    assert whole and found["krona"] <= found["lora"]
    assert peak.largest == base[0].weight.nbytes


@pytest.mark.parametrize(("method", "product"), [("krona", "_WholeBackward"), ("lora", "LoraProductBackward")])
def test_an_accelerator_gets_its_product(method: str, product: str) -> None:
    """Fake tensors: no numbers, but devices, dtypes and shapes as they would be."""
    settings = {"a1": 4, "a2": 64} if method == "krona" else {}
    model = adapters.attach(nn.Sequential(nn.Linear(640, 640, dtype=torch.bfloat16)), method, targets=["0"], **settings)
    with FakeTensorMode(), torch.device("cuda"):
        values = {
            name: torch.empty(tuple(value.shape), dtype=value.dtype, requires_grad=value.requires_grad)
            for name, value in model.named_parameters()
        }
        x = torch.randn(2, 1024, 640, dtype=torch.bfloat16, requires_grad=True)
        y = torch.func.functional_call(model, values, x)
        assert (y.device.type, y.dtype, y.shape) == ("cuda", torch.bfloat16, x.shape)
        node = y.grad_fn.next_functions[0][0]
        assert node.name() == product
        with torch.no_grad():  # torch's engine itself needs the device
            gradients = node._forward_cls.backward(node, torch.empty(2048, 640, dtype=torch.bfloat16))
        assert {gradient.device.type for gradient in gradients if gradient is not None} == {"cuda"}
        assert sum(gradient is not None for gradient in gradients) == 3
