"""Every method keeps what it declares, on every kind of model that it declares to fit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from torch import Tensor, nn

from suite import adapters
from suite.adapters.carriers import SelectedTensors
from suite.adapters.nf4 import Backend
from suite.adapters.registry import peft_type_of
from suite.errors import InputError
from tests.adapters.cases import (
    SUBJECTS,
    UNEXERCISED,
    arguments,
    forward,
    fresh,
    home,
    ours,
    packed,
    packed_pairs,
    pairs,
    randomise,
    sample,
)

pytestmark = pytest.mark.usefixtures("quiet_and_seeded")

OURS = ours()
# peft leaves parts of these without a gradient: unused tokens, masks, low-rank halves that start switched off.
PARTLY_UNUSED = {"adalora", "cpt", "multitask_prompt_tuning", "shadow", "trainable_tokens", "unilora", "vblora"}


def attached(method: str, subject: str, name: str = "default", model: nn.Module | None = None) -> nn.Module:
    model = fresh(subject) if model is None else model
    try:
        return adapters.attach(model, method, name=name, **arguments(method, subject)).eval()
    except InputError as error:
        if "is required for" in str(error):
            pytest.skip(f"{method}: an optional package is not installed")
        raise


@pytest.mark.parametrize(("method", "subject"), pairs())
def test_contract(method: str, subject: str, tmp_path: Any) -> None:
    info = adapters.methods()[method]
    x, base_model = sample(subject), fresh(subject)
    base = SUBJECTS[subject].run(base_model, x)
    target = fresh(subject)
    model = attached(method, subject, model=target)
    assert (model is target) == info.in_place

    # Identity at the start, exactly as declared.
    start = forward(method, subject, model, x)
    same = start.shape == base.shape and torch.allclose(start, base, atol=1e-6)
    assert same == info.identity_at_start

    # Gradients only where something trains, and there always.
    randomise(model)
    output = forward(method, subject, model, x).detach()
    assert output.shape != base.shape or not torch.allclose(output, base, atol=1e-6)
    forward(method, subject, model, x).square().mean().backward()
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    moved = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    assert set(moved) <= set(trained)
    assert trained
    assert method in PARTLY_UNUSED or moved == trained

    # Saved and loaded: the same to the bit, and frozen. Plain keys.
    adapters.save(model, tmp_path / "a", base="tiny")
    loaded = adapters.load(fresh(subject), tmp_path / "a").eval()
    again = forward(method, subject, loaded, x)
    assert torch.equal(again, output) or (method == "cpt" and torch.allclose(again, output, atol=1e-6))
    assert adapters.count(loaded).trainable == 0

    # Disabled: the base to the bit; afterwards as before.
    with adapters.disabled(model):
        assert torch.equal(SUBJECTS[subject].run(model, x), base)
    torch.testing.assert_close(forward(method, subject, model, x), output, atol=1e-6, rtol=0)

    _merges(info, method, subject, loaded, x, output)
    _switches(info, method, subject, tmp_path / "a", x, output)

    # A deepcopy computes with its own tensors (peft's shadow keeps activations, which cannot be copied).
    if method != "shadow":
        twin = copy.deepcopy(model)
        randomise(twin, seed=8)
        assert not torch.equal(forward(method, subject, twin, x), output)
        torch.testing.assert_close(forward(method, subject, model, x), output, atol=1e-6, rtol=0)

    # Taken off: the base, under its own names.
    bare = adapters.detach(model)
    assert torch.equal(SUBJECTS[subject].run(bare, x), base)
    assert list(bare.state_dict()) == list(base_model.state_dict())


def _merges(info: adapters.MethodInfo, method: str, subject: str, model: nn.Module, x: Any, output: Tensor) -> None:
    """Merging keeps the output and unmerging the weights, or is refused with a reason."""
    if not info.mergeable:
        with pytest.raises(InputError):
            adapters.merge(model)
        return
    if method == "beft":
        return  # peft merges it into a bias, which the subject's layers lack
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapters.merge(model)
    torch.testing.assert_close(forward(method, subject, model, x), output, atol=1e-5, rtol=1e-5)
    adapters.unmerge(model)
    torch.testing.assert_close(forward(method, subject, model, x), output, atol=1e-5, rtol=1e-5)
    if info.source == "suite":
        assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def _switches(info: adapters.MethodInfo, method: str, subject: str, folder: Any, x: Any, output: Tensor) -> None:
    """Two adapters of the method on one model, switched both ways; or the second is refused."""
    model = adapters.load(fresh(subject), folder, name="one")
    if not info.multi_adapter:
        with pytest.raises(InputError, match="only one adapter"):
            attached(method, subject, "two", model)
        return
    model = attached(method, subject, "two", model)
    randomise(model, seed=9)
    second = forward(method, subject, model, x)
    assert not torch.equal(second, output)
    for name, expected in (("one", output), ("two", second), ("one", output)):
        adapters.activate(model, name)
        torch.testing.assert_close(forward(method, subject, model, x), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", sorted(UNEXERCISED))
def test_unexercised_methods_are_reachable(method: str) -> None:
    assert not adapters.methods()[method].in_place


@pytest.mark.parametrize("other", ["lora", "ia3"])
@pytest.mark.parametrize("method", [name for name in OURS if (name, "mlp") in pairs()])
def test_two_methods_at_once(method: str, other: str, tmp_path: Any) -> None:
    """In both orders: saved, loaded, and merged where both can be."""
    subject = "mlp"
    x = sample(subject)
    mine = {"method": method, **arguments(method, subject)}
    theirs = {"method": other, **arguments(other, subject)}
    for order, specs in enumerate(((mine, theirs), (theirs, mine))):
        model = adapters.attach(fresh(subject), *specs)
        randomise(model)
        output = SUBJECTS[subject].run(model, x)
        output.square().mean().backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        adapters.save(model, tmp_path / str(order))
        loaded = adapters.load(fresh(subject), tmp_path / str(order))
        assert torch.equal(SUBJECTS[subject].run(loaded, x), output)
        if adapters.methods()[method].mergeable:
            adapters.merge(loaded)
            torch.testing.assert_close(SUBJECTS[subject].run(loaded, x), output, atol=1e-5, rtol=1e-5)
            adapters.unmerge(loaded)
            torch.testing.assert_close(SUBJECTS[subject].run(loaded, x), output, atol=1e-5, rtol=1e-5)
        bare = adapters.detach(loaded)
        assert torch.allclose(SUBJECTS[subject].run(bare, x), SUBJECTS[subject].run(fresh(subject), x), atol=1e-5)


@pytest.mark.parametrize("method", OURS)
def test_half_precision_base(method: str) -> None:
    """A bf16 base gives bf16 outputs; what trains beside it stays float32, what trains inside it bf16."""
    subject = home(method)
    model = attached(method, subject, model=fresh(subject).to(torch.bfloat16))
    randomise(model)
    x = sample(subject)
    x = x.to(torch.bfloat16) if x.is_floating_point() else x
    output = SUBJECTS[subject].run(model, x)
    assert output.dtype == torch.bfloat16
    output.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    kind = PEFT_TYPE_TO_TUNER_MAPPING[peft_type_of(method)]
    inside = issubclass(getattr(kind, "tuner_layer_cls", kind), SelectedTensors)
    dtypes = {p.dtype for p in model.parameters() if p.requires_grad}
    assert dtypes == {torch.bfloat16 if inside else torch.float32}
    if adapters.methods()[method].mergeable:
        adapters.merge(model)
        torch.testing.assert_close(SUBJECTS[subject].run(model, x).float(), output.float(), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("method", OURS)
def test_checkpointing_gives_the_same_gradients(method: str) -> None:
    """Two forwards before one checkpointed backward."""
    subject = home(method)

    def gradients(checkpointed: bool) -> list[Tensor]:
        torch.manual_seed(3)
        model = attached(method, subject)
        randomise(model)
        model.train()
        if checkpointed:
            adapters.enable_checkpointing(model)
        x = sample(subject)
        loss = SUBJECTS[subject].run(model, x).square().mean() + SUBJECTS[subject].run(model, x.flip(0)).square().mean()
        loss.backward()
        return [p.grad for p in model.parameters() if p.requires_grad]

    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, plain, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("method", "subject"), packed_pairs())
def test_four_bit_bases(method: str, subject: str, tmp_path: Any) -> None:
    """Trains, saves, loads, merges and unmerges over 4-bit weights as declared; undeclared methods are refused."""
    check_four_bits(method, subject, "torch", tmp_path)


@pytest.mark.parametrize("subject", ["mlp_64", "llama_64"])
@pytest.mark.parametrize("method", ["lora", "krona", "ssf", "parallel_adapter", "paca"])
def test_four_bit_bases_of_bitsandbytes(method: str, subject: str, tmp_path: Any) -> None:
    """The same over bitsandbytes' own layers."""
    pytest.importorskip("bitsandbytes")
    assert adapters.count(packed(subject, "bitsandbytes")) == adapters.count(packed(subject))
    check_four_bits(method, subject, "bitsandbytes", tmp_path)


def check_four_bits(method: str, subject: str, backend: Backend, tmp_path: Any) -> None:
    x = sample(subject)
    if not adapters.methods()[method].quantizable:
        with pytest.raises(InputError):
            attached(method, subject, model=packed(subject, backend))
        return
    model = attached(method, subject, model=packed(subject, backend))
    base = SUBJECTS[subject].run(packed(subject, backend), x)
    randomise(model)
    output = forward(method, subject, model, x)
    output.square().mean().backward()
    assert method in PARTLY_UNUSED or all(p.grad is not None for p in model.parameters() if p.requires_grad)
    adapters.save(model, tmp_path / "a")
    loaded = adapters.load(packed(subject, backend), tmp_path / "a").eval()
    again = forward(method, subject, loaded, x)
    assert torch.equal(again, output) or (method == "cpt" and torch.allclose(again, output, atol=1e-6))
    if adapters.methods()[method].mergeable:
        adapters.merge(loaded)
        torch.testing.assert_close(forward(method, subject, loaded, x), output, atol=0.2, rtol=0.2)  # 4 bits again
        with adapters.disabled(loaded):
            assert torch.equal(SUBJECTS[subject].run(loaded, x), base)
        adapters.unmerge(loaded)
        torch.testing.assert_close(forward(method, subject, loaded, x), output, atol=1e-6, rtol=0)
    assert torch.equal(SUBJECTS[subject].run(adapters.detach(loaded), x), base)


@pytest.mark.parametrize("order", [("lora", "krona"), ("krona", "lora")])
def test_merging_over_four_bits_is_rounding_the_merged_weight(order: tuple[str, str]) -> None:
    from suite.adapters.nf4 import NF4Linear, dequantize_nf4, quantize_nf4

    model = adapters.attach(packed("mlp"), order[0], **{**arguments(order[0], "mlp"), "targets": ["fc1"]})
    randomise(model, scale=0.1)
    layer = model.fc1.get_base_layer()
    assert isinstance(layer, NF4Linear)
    expected = dequantize_nf4(quantize_nf4(layer.dequantize() + model.fc1.get_delta_weight("default")))
    adapters.merge(model)
    assert torch.equal(layer.dequantize(), expected)
    adapters.unmerge(model)
    adapters.detach(model)
    model = adapters.attach(model, *[{"method": method, **arguments(method, "mlp")} for method in order])
    randomise(model, scale=0.1)
    output = model(sample("mlp"))
    adapters.merge(model)
    adapters.unmerge(model)
    assert torch.equal(model(sample("mlp")), output)
    assert torch.equal(adapters.detach(model)(sample("mlp")), packed("mlp")(sample("mlp")))


def test_a_method_that_edits_weights_refuses_a_four_bit_base() -> None:
    with pytest.raises(InputError, match="unquantized"):
        adapters.attach(packed("mlp"), "paca", targets=["fc1"])


ONCE = [pair for number, pair in enumerate(pairs()) if pair[0] not in {name for name, _ in pairs()[:number]}]


@pytest.mark.parametrize(("method", "subject"), [pair for pair in ONCE if adapters.methods()[pair[0]].in_place])
def test_strengths_and_rows_are_as_declared(method: str, subject: str) -> None:
    info, x = adapters.methods()[method], sample(subject)
    base = SUBJECTS[subject].run(fresh(subject), x)
    model = attached(method, subject)
    randomise(model)
    output = forward(method, subject, model, x)

    if info.scalable:
        adapters.scale(model, 0.0)
        torch.testing.assert_close(forward(method, subject, model, x), base, atol=1e-6, rtol=0)
        adapters.scale(model, 0.5)
        half = forward(method, subject, model, x)
        assert not torch.allclose(half, base, atol=1e-7)
        assert not torch.allclose(half, output, atol=1e-7)
        adapters.scale(model, 1.0)
        torch.testing.assert_close(forward(method, subject, model, x), output, atol=1e-6, rtol=0)
    else:
        with pytest.raises(InputError, match="wholly or not at all"):
            adapters.scale(model, 0.5)

    names = ["default", *[None] * (len(x) - 1)]
    if info.by_row:
        with adapters.rows(model, names):
            mixed = forward(method, subject, model, x)
        torch.testing.assert_close(mixed[0], output[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mixed[1:], base[1:], atol=1e-5, rtol=1e-4)
    else:
        with pytest.raises(InputError, match="all rows of a batch alike"), adapters.rows(model, names):
            pass


ON_LINEAR = [
    name
    for name, info in adapters.methods().items()
    if info.source == "peft" and info.in_place and "Linear" in info.layers and name not in UNEXERCISED
]


@pytest.mark.parametrize("method", ON_LINEAR)
def test_what_is_said_of_a_layers_weight_holds(method: str) -> None:
    """`additive`: merging adds `get_delta_weight`. Not `reads_weight`: what trains inside the weight gets gradients."""
    info, x = adapters.methods()[method], sample("mlp").double()
    settings = {**arguments(method, "mlp"), "targets": ["fc1"]}
    if info.additive:
        model = adapters.attach(fresh("mlp"), method, **settings).eval()
        randomise(model)
        weight = model.fc1.get_base_layer().weight
        before, delta = weight.detach().clone(), model.fc1.get_delta_weight("default").detach()
        adapters.merge(model)
        torch.testing.assert_close(model.fc1.get_base_layer().weight.detach() - before, delta, atol=1e-5, rtol=1e-4)
    both = ({"method": method, **settings}, {"method": "paca", "targets": ["fc1"], "r": 2})
    if info.reads_weight:
        with pytest.raises(InputError, match="different layers"):
            adapters.attach(fresh("mlp"), *both)
        return
    try:
        model = adapters.attach(fresh("mlp").double(), *both).double().eval()
    except (InputError, TypeError) as error:
        pytest.skip(f"{method}: {error}")  # an optional package, or no float64
    randomise(model)
    [values] = [p for name, p in model.named_parameters() if "paca_w" in name]
    model(x).square().mean().backward()
    steps = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            values[0, 0] += step
        steps.append(model(x).square().mean().item())
    assert values.grad is not None
    torch.testing.assert_close(values.grad[0, 0].item(), (steps[0] - steps[1]) / 2e-5, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", OURS)
def test_tensors_are_on_the_model_s_device(method: str) -> None:
    model = attached(method, home(method), model=fresh(home(method)).to("meta"))
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"meta"}
