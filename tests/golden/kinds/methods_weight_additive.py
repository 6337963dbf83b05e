"""Methods that add a branch beside or behind a layer, against the authors' code."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import LlamaConfig

from suite import adapters
from suite.adapters.methods.additive import compacter, convnet_adapter, convpass, unified_adapter
from suite.adapters.methods.prompt import prefix_attention
from tests.golden.layers import TOLERANCE, fill, group, linear
from tests.golden.registry import Case, kind


def _zero(width: int) -> nn.Sequential:
    """A layer, called `0`, that gives nothing: what comes out is the adapter's."""
    return linear(torch.zeros(width, width))


@kind("methods_weight/compacter_adapters")
def compacter_adapters(case: Case) -> None:
    tensors = case.tensors()
    for name, config in case.config.items():
        weights, x = group(tensors, f"weights/{name}/"), tensors[f"input/{name}/x"]
        model = linear(torch.eye(config["input_dim"]))
        common = {"targets": ["0"], "reduction": config["reduction_factor"]}
        if name == "low_rank":
            adapters.attach(model, "low_rank_adapter", rank=config["rank"], **common)
            layer = model[0].suite_low_rank_adapter
        else:
            chosen = {"n": config["phm_dim"], "rank": config["phm_rank"], "non_linearity": config["non_linearity"]}
            chosen |= {"factorized": config["factorized_phm"], "shared_rule": config["shared_phm_rule"]}
            adapters.attach(model, "compacter", **chosen, **common)
            layer = model[0].suite_compacter
        official = compacter.official_tensors(weights)
        if config.get("shared_phm_rule"):
            assert torch.equal(official["rule"], official.pop("rule_up"))
        fill(layer, official)
        torch.testing.assert_close(model(x) - x, tensors[f"output/{name}/y"], **TOLERANCE)
        if name != "low_rank":
            unit = torch.eye(config["input_dim"])
            rule = layer.tensor("rule", "default")
            dense = layer._product(unit, "down", rule, "default") - layer.tensor("down_b", "default")
            torch.testing.assert_close(dense, tensors[f"output/{name}/down_dense_matrix(in,out)"], **TOLERANCE)


@kind("methods_weight/conv_adapters")
def conv_adapters(case: Case) -> None:
    tensors = case.tensors()
    for name, config in case.config["conv_adapter"].items():
        sizes = {"kernel_size": config["kernel_size"], "stride": config["stride"]}
        padding = config["kernel_size"] // 2
        model = nn.Sequential(nn.Conv2d(config["inplanes"], config["outplanes"], **sizes, padding=padding, bias=False))
        nn.init.zeros_(model[0].weight)
        adapters.attach(model, "convnet_adapter", targets=["0"], adapt_size=config["inplanes"] // config["width"])
        weights = group(tensors, f"weights/conv_adapter/{name}/")
        fill(model[0].suite_convnet_adapter, convnet_adapter.official_tensors(weights))
        x, y = (tensors[f"{part}/conv_adapter/{name}/{end}"] for part, end in (("input", "x"), ("output", "y")))
        torch.testing.assert_close(model(x), y, **TOLERANCE)
    config = case.config["convpass"]
    for grid in (None, [config["grid"]] * 2):
        model = _zero(config["width"]).eval()
        adapters.attach(model, "convpass", targets=["0"], width=config["dim"], scaling=1.0, grid=grid)
        fill(model[0].suite_convpass, convpass.official_tensors(group(tensors, "weights/convpass/")))
        torch.testing.assert_close(model(tensors["input/convpass/x"]), tensors["output/convpass/y"], **TOLERANCE)


@kind("methods_weight/mam_adapter_and_prefix")
def mam_adapter_and_prefix(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    for name, options in config.items():
        if name == "prefix":
            _prefix(options, tensors)
        else:
            _unified(name, options, tensors)


def _unified(name: str, options: dict[str, object], tensors: dict[str, Tensor]) -> None:
    weights, x = group(tensors, f"weights/{name}/"), tensors[f"input/{name}/x"]
    scalar = str(options["adapter_scalar"])
    model = linear(torch.eye(x.shape[-1])) if options["add_residual"] else _zero(x.shape[-1])
    adapters.attach(
        model,
        "unified_adapter",
        targets=["0"],
        bottleneck_size=len(weights["down_proj.weight"]),
        scaling="learned" if scalar == "learnable_scalar" else float(scalar),
        layernorm=options["adapter_layernorm_option"],
        init=options["init_option"],
        insertion="sequential" if options["add_residual"] else "parallel",
    )
    layer = model[0].suite_unified_adapter
    fill(layer, unified_adapter.official_tensors(weights))
    if norm := group(weights, "adapter_layer_norm_before."):
        layer.tensor("norm", "default").load_state_dict(norm)
    torch.testing.assert_close(model(x), tensors[f"output/{name}/y"], **TOLERANCE)


TABLES = {"encoder": ("wte_enc", "control_trans_enc"), "self": ("wte", "control_trans")}
TABLES["encoder_decoder"] = ("wte2", "control_trans2")


class _Host(nn.Module):
    """As much of an attention of transformers as says how wide its keys are."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.k_proj, self.head_dim = nn.Linear(width, width), width // heads
        self.config = LlamaConfig()


def _prefix(options: dict[str, int], tensors: dict[str, Tensor]) -> None:
    """The keys and values that every layer of every kind of attention puts first."""
    width, heads = options["d_model"], options["heads"]
    model = nn.ModuleDict(
        {place: nn.ModuleList(_Host(width, heads) for _ in range(options["layers"])) for place in TABLES}
    )
    targets = [f"{place}.{number}" for place in TABLES for number in range(options["layers"])]
    adapters.attach(model, "prefix_attention", targets=targets, tokens=options["attn_bn"], inner=options["mid_dim"])
    for place, (embedding, layers) in TABLES.items():
        weights = group(tensors, "weights/prefix/")
        for number, host in enumerate(model[place]):
            official = prefix_attention.official_tensors(weights, embedding, layers, number, width)
            fill(host.suite_prefix_attention, official)
        for number, host in enumerate(model[place]):
            for state, name in zip(
                host.suite_prefix_attention.states("default"), ("prev_key", "prev_value"), strict=True
            ):
                # Theirs have the heads in the batch, which repeats them.
                mine = state.view(-1, heads, width // heads).transpose(0, 1).repeat(options["bsz"], 1, 1)
                torch.testing.assert_close(mine, tensors[f"output/prefix/layer{number}/{place}/{name}"], **TOLERANCE)
