"""Mustango's UNet with the published adapters against the authors' code."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from domains.music.model.mustango import Condition, MustangoUNet
from domains.music.official import mustango
from suite import adapters
from tests.golden.registry import Case, kind

TOLERANCE = dict(atol=1e-4, rtol=0.0)


@kind("music/mustango_unet_adapters")
def unet_with_adapters(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    unet = MustangoUNet(
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        block_out_channels=config["block_out_channels"],
        attention=["CrossAttn" in kind for kind in config["down_block_types"]],
        attention_head_dim=config["attention_head_dim"],
        layers_per_block=config["layers_per_block"],
        cross_attention_dim=config["cross_attention_dim"],
        norm_num_groups=config["norm_num_groups"],
        use_linear_projection=config["use_linear_projection"],
        upcast_attention=config["upcast_attention"],
    ).eval()
    weights = {key.removeprefix("weights/"): v for key, v in tensors.items() if key.startswith("weights/")}
    own, published = mustango.split(weights)
    unet.load_state_dict(own)
    unet.requires_grad_(False)
    model = mustango.attach(unet, published).eval()
    assert adapters.count(model).trainable == config["trainable_params"]

    calls: dict[str, tuple[Tensor, Tensor]] = {}
    seen: Counter[str] = Counter()

    def record(name: str, layer: nn.Module) -> None:
        branch = layer.tensor("branch", next(iter(layer.settings)))

        def hook(_module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
            calls[f"{name}.{seen[name]}"] = args[0], output
            seen[name] += 1

        branch.register_forward_hook(hook)

    for _, layer in adapters.layers(model, "linear_adapter"):
        record(layer.target.removesuffix(mustango.POINT) + "adapter", layer)
    given = {key.removeprefix("input/"): v for key, v in tensors.items() if key.startswith("input/")}
    with torch.no_grad():
        output = model(
            given["sample"],
            given["timestep"],
            Condition(given["encoder_hidden_states"], given["encoder_attention_mask"]),
            Condition(given["beat_features"], given["beat_attention_mask"]),
            Condition(given["chord_features"], given["chord_attention_mask"]),
        )
    assert dict(seen) == config["adapter_calls"]
    torch.testing.assert_close(output, tensors["output/sample"], **TOLERANCE)
    for name, (states, new) in calls.items():
        for part, found in (("in", states), ("out", new)):
            expected = tensors[f"output/adapter_{part}/{name}"]
            torch.testing.assert_close(found.mT.reshape(expected.shape), expected, **TOLERANCE)
