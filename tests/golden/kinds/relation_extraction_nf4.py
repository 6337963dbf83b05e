"""4-bit weights against bitsandbytes."""

from __future__ import annotations

import torch
from torch import nn

from suite.adapters.nf4 import LEVELS, NF4Linear, dequantize_nf4, quantize_nf4
from tests.golden.registry import Case, kind

TOLERANCE = dict(atol=1e-6, rtol=0.0)


@kind("relation_extraction/nf4_qlora")
def nf4_qlora(case: Case) -> None:
    tensors = case.tensors()
    weight, x = tensors["input/weight"], tensors["input/x"]
    torch.testing.assert_close(torch.tensor(LEVELS), tensors["output/nf4_code"], **TOLERANCE)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.load_state_dict({"weight": weight})
    for double, name in ((False, "single"), (True, "double")):
        expected = {key.rpartition("/")[2]: value for key, value in tensors.items() if f"/{name}/" in key}
        quantized = quantize_nf4(weight, double=double)
        assert torch.equal(quantized.packed, expected["packed"])
        if double:
            assert torch.equal(quantized.scales, expected["absmax_u8"])
            torch.testing.assert_close(quantized.nested_scales, expected["state2_absmax"], **TOLERANCE)
            torch.testing.assert_close(quantized.offset, expected["offset"], **TOLERANCE)
            torch.testing.assert_close(quantized.magnitudes(), expected["absmax_dequant"], **TOLERANCE)
        else:
            torch.testing.assert_close(quantized.scales, expected["absmax"], **TOLERANCE)
        torch.testing.assert_close(dequantize_nf4(quantized), expected["dequant"], **TOLERANCE)
        torch.testing.assert_close(NF4Linear(linear, double=double)(x), expected["linear"], atol=1e-5, rtol=0)
