"""4-bit layers: ours in plain torch beside bitsandbytes', on whatever processor runs the tests."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from suite import adapters
from suite.adapters import nf4
from suite.adapters.carriers.weights import read_weight
from suite.adapters.nf4 import NF4Linear, dequantize_nf4, is_packed, quantize_model, quantize_nf4
from suite.errors import InputError
from tests.adapters.cases import fresh, packed, sample

bitsandbytes = pytest.importorskip("bitsandbytes")


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer whose rows differ by orders of magnitude, so that a scale read from the wrong block shows."""
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.mul_(10 ** torch.linspace(-2, 2, outputs)[:, None])
    return layer


def theirs(inputs: int, outputs: int) -> Any:
    return quantize_model(nn.Sequential(linear(inputs, outputs)), backend="bitsandbytes")[0]


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 32), (64, 8), (128, 48), (192, 100)])
def test_codes_are_those_of_bitsandbytes(inputs: int, outputs: int) -> None:
    ours, layer = NF4Linear(linear(inputs, outputs)), theirs(inputs, outputs)
    assert isinstance(layer, bitsandbytes.nn.Linear4bit)
    assert torch.equal(layer.weight.data.reshape(-1), ours.weight.reshape(-1))
    # Both round a scale, less the mean of all, to the nearest of 256 levels, so each is off by half a gap at most and
    # they differ by one at most; the widest gap is 0.9 / 64 of the largest such difference (`_dynamic_map`).
    state = layer.weight.quant_state
    scales = bitsandbytes.functional.dequantize_blockwise(state.absmax, state.state2) + state.offset
    nested = ours.quantized().nested_scales
    assert nested is not None
    gap = 0.9 / 64 * nested.repeat_interleave(256)[: scales.numel()]
    assert ((scales - ours.quantized().magnitudes()).abs() <= gap * (1 + 1e-5)).all()


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_of_bitsandbytes_computes_with_the_weight_that_is_read(training: bool) -> None:
    """In fp32 whatever the processor; a forward in eval leaves the layer as it was, to be merged into or saved."""
    layer, x = theirs(64, 32).train(training), torch.randn(5, 64)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    y = layer(x)
    weight, bias = read_weight(layer)
    # A sum of n products in fp32 is off by at most n u sum |x w|, u = 2^-24; two orders of summation by twice that.
    bound = 2 * 64 * 2**-24 * functional.linear(x.abs(), weight.abs(), None if bias is None else bias.abs())
    assert ((y - functional.linear(x, weight, bias)).abs() <= bound).all()
    assert (weight - linear(64, 32).weight).norm() < 0.11 * weight.norm()  # NF4 loses 0.09 of a normal weight's norm
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 32), (48, 96), (96, 8)])
def test_rows_that_are_no_whole_blocks_are_ours(inputs: int, outputs: int) -> None:
    """bitsandbytes' kernels for the CPU read such rows with the scales of other blocks."""
    layer = theirs(inputs, outputs)
    assert isinstance(layer, NF4Linear)
    assert torch.equal(layer.dequantize(), NF4Linear(linear(inputs, outputs)).dequantize())


def test_both_kinds_of_layer_in_one_model() -> None:
    model = nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 32))
    model = quantize_model(model, backend="bitsandbytes").eval()
    assert [type(layer).__name__ for layer in model] == ["NF4Linear", "Linear4bit"]
    x = torch.randn(3, 16)
    base = model(x)
    model = adapters.attach(model, "lora", targets=["0", "1"], init_lora_weights=False).eval()
    output = model(x)
    assert not torch.allclose(output, base)
    adapters.merge(model)
    torch.testing.assert_close(model(x), output, atol=0.2, rtol=0.2)  # 4 bits again
    adapters.unmerge(model)
    torch.testing.assert_close(model(x), output, atol=1e-6, rtol=0)
    assert torch.equal(adapters.detach(model)(x), base)
    assert all(is_packed(layer) for layer in model)


def as_loaded_elsewhere(inputs: int, outputs: int) -> nn.Sequential:
    """What transformers makes of `load_in_4bit`: bitsandbytes' layer as it is."""
    layer = bitsandbytes.nn.Linear4bit(inputs, outputs, quant_type="nf4", compute_dtype=torch.float32)
    model = nn.Sequential(layer.to("cpu")).eval()
    model.is_loaded_in_4bit = True
    return model


def test_a_foreign_model_with_rows_that_the_cpu_misreads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = as_loaded_elsewhere(48, 96)[0]
    layer.weight = bitsandbytes.nn.Params4bit(linear(48, 96).weight.data, quant_type="nf4").to("cpu")
    ours = dequantize_nf4(quantize_nf4(linear(48, 96).weight))
    misread = (read_weight(layer)[0] - ours).norm() > 0.01 * ours.norm()
    assert nf4._cpu_misreads_part_blocks() == misread
    monkeypatch.setattr(nf4, "_cpu_misreads_part_blocks", lambda: True)
    with pytest.raises(InputError, match=r"'0'.*48 values.*64.*quantize_model"):
        adapters.attach(as_loaded_elsewhere(48, 96), "lora", targets=["0"])
    monkeypatch.setattr(nf4, "_cpu_misreads_part_blocks", lambda: False)
    adapters.attach(as_loaded_elsewhere(48, 96), "lora", targets=["0"])


def test_a_foreign_model_is_not_repacked_under_an_adapter() -> None:
    model = as_loaded_elsewhere(64, 32)
    weight, _ = read_weight(model[0])
    model = adapters.attach(model, "lora", targets=["0"], init_lora_weights=False).eval()
    output = model(torch.ones(2, 64))
    assert torch.equal(read_weight(model[0].get_base_layer())[0], weight)
    adapters.merge(model)
    torch.testing.assert_close(model(torch.ones(2, 64)), output, atol=0.2, rtol=0.2)


def test_a_foreign_model_that_was_repacked_is_refused() -> None:
    model = as_loaded_elsewhere(64, 32)
    model[0].weight.quant_state.packing_format_for_cpu = True  # what a forward in eval does where the CPU has bf16
    with pytest.raises(InputError, match=r"'0'.*repacked.*load"):
        adapters.attach(model, "lora", targets=["0"])


def test_model_of_small_layers_needs_nothing_of_bitsandbytes() -> None:
    model = packed("mlp", "bitsandbytes")
    assert not getattr(model, "is_loaded_in_4bit", False)
    assert torch.equal(model(sample("mlp")), packed("mlp")(sample("mlp")))
    assert not torch.equal(model(sample("mlp")), fresh("mlp")(sample("mlp")))
