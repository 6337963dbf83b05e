"""Methods that edit hidden states against the authors' code."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.methods.additive import forecast_peft
from suite.adapters.methods.representation import lofit, loreft
from tests.golden.kinds.methods_training_selection import CLOSE, below, weighted
from tests.golden.registry import Case, kind

LOGITS = dict(atol=1e-4, rtol=0.0)
REFT = ("loreft", "noreft", "consreft", "lobireft", "direft", "nodireft")


def official_reft(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors of one intervention under our names."""
    names = {
        "rotate_layer": "rotate",
        "learned_source.weight": "weight",
        "learned_source.bias": "bias",
        "weight": "weight",
        "bias": "bias",
        "proj_layer.weight": "project",
        "proj_layer.bias": "project_bias",
        "learned_source": "learned",
    }
    return {names[key]: value[None] for key, value in state.items()}


def fill(layer: Any, tensors: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name in layer.parameter_names:
            layer.tensor(name, "default").copy_(tensors[name])


@kind("methods_training/loreft_interventions")
def loreft_interventions(case: Case) -> None:
    """Every edit on all tokens, and the gradient of what goes in."""
    tensors, config = case.tensors(), case.config
    for method in REFT:
        model = nn.Sequential(nn.Identity())
        settings = {"r": config["low_rank_dimension"], "positions": "all", "width": config["embed_dim"]}
        adapters.attach(model, method, targets=["0"], **settings)
        [(_, layer)] = adapters.layers(model)
        fill(layer, official_reft(below(tensors, f"weights/{method}/")))
        hidden = tensors["input/hidden"].clone().requires_grad_()
        y = model(hidden)
        torch.testing.assert_close(y, tensors[f"output/{method}"], **CLOSE)
        weighted(y).backward()
        torch.testing.assert_close(hidden.grad, tensors[f"output/{method}_grad_hidden"], **CLOSE)


def llama(settings: dict[str, Any], weights: dict[str, Tensor]) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    theta = settings.pop("rope_theta", 10000.0)
    kept = {key: value for key, value in settings.items() if key not in ("transformers_version", "rope_scaling")}
    config = LlamaConfig(**kept, rope_parameters={"rope_type": "default", "rope_theta": theta})
    model = LlamaForCausalLM(config).eval()
    model.load_state_dict(weights)
    return model


@kind("methods_training/loreft_llama_tiny")
def loreft_llama_tiny(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    ids = tensors["input/input_ids"]
    model = llama(config["llama"], below(tensors, "weights/base."))
    torch.testing.assert_close(model(ids).logits, tensors["output/logits_base"], **LOGITS)
    targets = [f"layers.{number}" for number in config["layers"]]
    adapters.attach(model, "loreft", targets=targets, r=config["low_rank_dimension"], positions="f2+l2")
    assert loreft.official_locations("f2+l2", ids.shape[1], 2, tied=True) == tensors["input/locations"][0].tolist()
    files = {
        f"intkey_layer_{n}_comp_block_output_unit_pos_nunit_1#{place}.bin": below(
            tensors, f"weights/intervention.layer{n}."
        )
        for place, n in enumerate(config["layers"])
    }
    blocks = loreft.official_blocks(files)
    layers = {int(layer.target.rpartition(".")[2]): layer for _, layer in adapters.layers(model)}
    for number, layer in layers.items():
        fill(layer, blocks[number])
    torch.testing.assert_close(model(ids).logits, tensors["output/logits"], **LOGITS)
    written = loreft.official_files(layers)
    assert written.keys() == files.keys()
    for name, state in written.items():
        for key, value in state.items():
            torch.testing.assert_close(value, files[name][key], **CLOSE)


@kind("methods_training/loreft_positions")
def loreft_positions(case: Case) -> None:
    for found in case.json()["cases"]:
        length, tied = found["last_position"], found["share_weights"]
        pad = -1 if found["pad_mode"] == "first" else length
        made = loreft.official_locations(found["positions"], length, found["num_interventions"], tied, pad)
        assert made == found["locations"], found


@kind("methods_training/lofit_llama_tiny")
def lofit_llama_tiny(case: Case) -> None:
    """Both steps with live and with merged edits, and the ranking of heads."""
    tensors, config = case.tensors(), case.config
    ids, weights = tensors["input/input_ids"], below(tensors, "weights/")
    a, v = weights.pop("lofit.A"), weights.pop("lofit.v")
    base = llama(config["llama"], weights)
    torch.testing.assert_close(base(ids).logits, tensors["output/logits_base"], **LOGITS)
    adapters.attach(base, "lofit", stage="scale", std=0.0, name="scale")
    torch.testing.assert_close(base(ids).logits, tensors["output/logits_zero_init"], **LOGITS)
    keys = {
        f"model.layers.{n}.self_attn.attn_A.{head}": a[n, head] for n in range(len(a)) for head in range(a.shape[1])
    }
    for number, (_, layer) in enumerate(adapters.layers(base)):
        layer.tensor("scale", "scale").data.copy_(lofit.official_tensors(keys, number, "scale"))
    _check(base, ids, tensors["output/logits_A"])
    found = lofit.best_heads(base, 3, "scale")
    order = [(int(name.split(".")[2]), head) for name, heads in found["heads"].items() for head in heads]
    assert {*order} == {*map(tuple, tensors["output/top3_heads"].tolist())}
    best = adapters.attach(llama(config["llama"], weights), "lofit", std=0.0, **found)
    for _, layer in adapters.layers(best):
        heads = found["heads"][layer.target]
        layer.tensor("offset", "default").data.copy_(v[int(layer.target.split(".")[2])][heads])
    _check(best, ids, tensors["output/logits_v_top3"])
    stages = [{"method": "lofit", "name": stage, "stage": stage, "std": 0.0} for stage in ("offset", "scale")]
    both = adapters.attach(llama(config["llama"], weights), *stages)  # the latest one meets the input first
    for _, layer in adapters.layers(both):
        number = int(layer.target.split(".")[2])
        for stage, values in (("offset", v), ("scale", a)):
            layer.tensor(stage, f"default-{stage}").data.copy_(values[number])
    _check(both, ids, tensors["output/logits_A_and_v_all"])


def _check(model: nn.Module, ids: Tensor, logits: Tensor) -> None:
    torch.testing.assert_close(model(ids).logits, logits, **LOGITS)
    adapters.merge(model)
    torch.testing.assert_close(model(ids).logits, logits, **LOGITS)
    adapters.unmerge(model)


class Block(nn.Module):
    """The authors' block without its adapters."""

    def __init__(self, dim: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(dim, int(dim * ratio)), act=nn.GELU(), fc2=nn.Linear(int(dim * ratio), dim))
        )

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        h = self.norm1(x)
        x = x + self.attn(h, h, h, key_padding_mask=key_padding_mask)[0]
        return x + self.mlp(self.norm2(x))


@kind("methods_training/forecast_peft_block")
def forecast_peft_block(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    weights = below(tensors, "weights/")
    block = Block(config["dim"], config["heads"], config["mlp_ratio"])
    block.load_state_dict({key: value for key, value in weights.items() if "prompt_adapter" not in key})
    model = adapters.attach(nn.Sequential(block), "forecast_peft", targets=["0"], r=config["adapter_rank"]).eval()
    [(_, layer)] = adapters.layers(model)
    x, mask = tensors["input/x"], tensors["input/key_padding_mask"]
    torch.testing.assert_close(block(x, mask), adapters.detach(copy.deepcopy(model))[0](x, mask), **CLOSE)
    fill(layer, forecast_peft.official_tensors(weights))
    torch.testing.assert_close(block(x, mask), tensors["output/block"], **CLOSE)
