"""Methods of blocks and attention: what they refuse, and what their settings mean."""

from __future__ import annotations

import pytest
import torch

from suite import adapters
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise, sample


def test_attnscale_multiplies_scores_or_weights_for_all_heads_or_each() -> None:
    x, base = sample("vit"), fresh("vit").eval()(sample("vit"))
    outputs = []
    for place in ("scores", "weights"):
        model = adapters.attach(fresh("vit"), "attnscale", place=place).eval()
        torch.testing.assert_close(model(x), base, atol=1e-6, rtol=0)
        randomise(model)
        outputs.append(model(x))
    assert not torch.allclose(*outputs)
    assert adapters.count(adapters.attach(fresh("vit"), "attnscale", per_head=True)).trainable == 2 * 4 * 25
    with pytest.raises(InputError, match="5 tokens arrive, and attnscale has factors for 9"):
        adapters.attach(fresh("vit"), "attnscale", tokens=9)(x)
    with pytest.raises(InputError, match=r"attnscale: fc1: Linear is no attention of timm's kind"):
        adapters.attach(fresh("mlp"), "attnscale", targets=["fc1"], tokens=5)


def test_telly_freezes_the_blocks_below_and_makes_no_graph_of_them() -> None:
    model = adapters.attach(fresh("vit"), "telly", frozen=1, train=["head"])
    below = model.blocks[0](torch.randn(1, 5, 32))
    assert not below.requires_grad and model.blocks[1](below).requires_grad
    for frozen in (-1, 2):
        with pytest.raises(InputError, match=f"telly: frozen={frozen} must be 0 to 1: the model has 2 blocks"):
            adapters.attach(fresh("vit"), "telly", frozen=frozen)


def test_methods_of_blocks_say_what_they_miss() -> None:
    with pytest.raises(InputError, match=r"forecast_peft: .*LlamaDecoderLayer has no norm1, attn, norm2, mlp"):
        adapters.attach(fresh("llama"), "forecast_peft", targets=["layers.0"])
    with pytest.raises(InputError, match=r"dra: no layer's name is that of a branch's end; name them as targets"):
        adapters.attach(fresh("conv"), "dra")
    with pytest.raises(InputError, match=r"difffit: .*fc1 has no bias and is no branch's end"):
        model = fresh("mlp")
        model.fc1.bias = None
        adapters.attach(model, "difffit", targets=["fc1"])
