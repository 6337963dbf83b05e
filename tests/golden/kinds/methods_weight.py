"""Weight-side methods against the authors' code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.methods.additive import bottleneck
from suite.adapters.methods.reparameterized import krona
from tests.golden.layers import TOLERANCE, fill, group, linear
from tests.golden.registry import Case, kind


@kind("methods_weight/krona_linear")
def krona_linear(case: Case) -> None:
    tensors = case.tensors()
    for name, sizes in case.config.items():
        weight = torch.zeros(sizes["out_features"], sizes["in_features"])
        model = linear(weight)
        adapters.attach(model, "krona", targets=["0"], a1=sizes["a1"], a2=sizes["a2"], layout="official")
        fill(model[0], krona.official_tensors(group(tensors, f"weights/{name}/")))
        x, y = tensors[f"input/{name}/x"], tensors[f"output/{name}/y"]
        torch.testing.assert_close(model(x), y, **TOLERANCE)
        torch.testing.assert_close(model(x[0]), y[0], **TOLERANCE)
        adapters.merge(model)
        torch.testing.assert_close(
            model[0].weight, tensors[f"output/{name}/effective_weight(out,in)"], check_stride=False, **TOLERANCE
        )


@kind("methods_weight/llm_adapters_bottleneck")
def llm_adapters_bottleneck(case: Case) -> None:
    tensors = case.tensors()
    for name, settings in case.config.items():
        weights = group(tensors, f"weights/{name}/")
        model = linear(weights["weight"], weights["bias"])
        method = "parallel_adapter" if name == "parallel_adapter" else "series_adapter"
        chosen = {key: settings[key] for key in ("bottleneck_size", "non_linearity", "scaling")}
        if method == "series_adapter":
            chosen["output_modules"] = ["0"] if name == "output_adapter" else []
        adapters.attach(model, method, targets=["0"], **chosen)
        fill(getattr(model[0], f"suite_{method}"), bottleneck.official_tensors(weights))
        torch.testing.assert_close(model(tensors[f"input/{name}/x"]), tensors[f"output/{name}/y"], **TOLERANCE)


@kind("methods_weight/paca_linear")
def paca_linear(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    model = linear(tensors["weights/base_layer.weight"], tensors["weights/base_layer.bias"])
    adapters.attach(model, "paca", targets=["0"], r=config["r"], alpha=config["paca_alpha"])
    layer = model[0].suite_paca
    layer.sync()
    with adapters.disabled(model):
        layer.tensor("indices", "default").copy_(tensors["weights/paca_indices"])
        fill(layer, {"w": tensors["weights/paca_w.init"]})
    x = tensors["input/x"].clone().requires_grad_(True)
    optimizer = torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad], config["lr"]
    )
    y = model(x)
    torch.testing.assert_close(y, tensors["output/y"], **TOLERANCE)
    loss = ((y - tensors["input/target"]) ** 2).mean()
    torch.testing.assert_close(loss.reshape(1), tensors["output/loss"], **TOLERANCE)
    loss.backward()
    torch.testing.assert_close(x.grad, tensors["output/grad_x"], **TOLERANCE)
    torch.testing.assert_close(layer.tensor("w", "default").grad, tensors["output/grad_paca_w"], **TOLERANCE)
    optimizer.step()
    torch.testing.assert_close(layer.tensor("w", "default"), tensors["weights/paca_w.after_step"], **TOLERANCE)
    torch.testing.assert_close(model(x), tensors["output/y_after_step"], **TOLERANCE)
    torch.testing.assert_close(model[0].weight, tensors["output/base_weight_after_step"], **TOLERANCE)
    adapters.merge(model)
    torch.testing.assert_close(model(x), tensors["output/y_merged"], **TOLERANCE)


@kind("methods_weight/ssf_block")
def ssf_block(case: Case) -> None:
    from timm.layers import PatchEmbed
    from timm.models.vision_transformer import Block

    tensors, config = case.tensors(), case.config
    # Where the authors keep the pair of each operation: the block's own scale its two norms.
    places = {
        "norm1": "ssf_{}_1",
        "norm2": "ssf_{}_2",
        "attn.qkv": "attn.ssf_{}_1",
        "attn.proj": "attn.ssf_{}_2",
        "mlp.fc1": "mlp.ssf_{}_1",
        "mlp.fc2": "mlp.ssf_{}_2",
    }
    block = Block(config["dim"], config["num_heads"], config["mlp_ratio"], qkv_bias=True, norm_layer=nn.LayerNorm)
    merged = _ssf(block, places, group(tensors, "weights/block/"), tensors["input/block_x"], tensors["output/block_y"])
    _same_weights(merged, group(tensors, "output/merged."), ("norm1", "attn.qkv"))
    embed = PatchEmbed(config["img_size"], config["patch_size"], 3, config["dim"])
    weights = group(tensors, "weights/patch_embed/")
    merged = _ssf(embed, {"proj": "ssf_{}_1"}, weights, tensors["input/image"], tensors["output/patch_embed_y"])
    _same_weights(merged, group(tensors, "output/merged.patch_embed."), ("proj",))


def _ssf(
    model: nn.Module, places: dict[str, str], weights: dict[str, Tensor], x: Tensor, expected: Tensor
) -> nn.Module:
    """Load base and scale/shift pairs, check the output before and after merging; gives the merged model."""
    model.eval().load_state_dict({key: value for key, value in weights.items() if "ssf_" not in key})
    adapters.attach(model, "ssf", targets=list(places))
    for name, pattern in places.items():
        fill(model.get_submodule(name), {part: weights[pattern.format(part)] for part in ("scale", "shift")})
    torch.testing.assert_close(model(x), expected, **TOLERANCE)
    adapters.merge(model)
    torch.testing.assert_close(model(x), expected, **TOLERANCE)
    return model


def _same_weights(model: nn.Module, expected: dict[str, Tensor], names: tuple[str, ...]) -> None:
    for name in names:
        layer = model.get_submodule(name)
        torch.testing.assert_close(layer.weight, expected[f"{name}.weight"], check_stride=False, **TOLERANCE)
        torch.testing.assert_close(layer.bias, expected[f"{name}.bias"], **TOLERANCE)
