"""(IA)^3 of T-Few, alone and with LoRA, and its losses."""

from __future__ import annotations

import torch
from torch import Tensor

from suite import adapters
from suite.training.multiple_choice import choice_losses
from tests.golden.layers import TOLERANCE, fill, group, linear
from tests.golden.registry import Case, kind


@kind("methods_weight/ia3_and_tfew_losses")
def ia3_and_tfew_losses(case: Case) -> None:
    tensors = case.tensors()
    for name, config in case.config.items():
        if name == "tfew":
            _losses(group(tensors, "input/tfew/"), group(tensors, "output/tfew/"), config)
            continue
        y = _scaled(group(tensors, f"weights/{name}/"), config, tensors[f"input/{name}/x"])
        torch.testing.assert_close(y, tensors[f"output/{name}/y"], **TOLERANCE)


def _scaled(weights: dict[str, Tensor], config: dict[str, int], x: Tensor) -> Tensor:
    """What scales outputs, or inputs and outputs, of one layer, with a LoRA around it where there is one.

    Their class has two paths: without a LoRA it scales what comes out, bias and all, as peft's (IA)^3 does; with one it
    scales the weight, as `hut` by vectors does, which here scales inputs for both.
    """
    model = linear(weights["weight"], weights["bias"])
    vectors = {"method": "hut", "targets": ["0"], "factors": "vector"}
    scaled = {"method": "ia3", "targets": ["0"], "feedforward_modules": []}
    lora = {"method": "lora", "targets": ["0"], "r": config["rank"], "lora_alpha": 1}
    outer = lora if config["rank"] else scaled
    methods = [vectors, outer] if config["multi_lora_a_trainable"] else [outer]
    model = adapters.attach(model, *methods).eval()
    with torch.no_grad():
        if config["multi_lora_a_trainable"]:
            inside, ones = model[0].base_layer, torch.ones(len(weights["bias"]))
            [name] = inside.settings
            factors = weights["multi_lora_b"][:, 0] if config["rank"] else ones
            fill(inside, {"a": weights["multi_lora_a"][0], "b": factors}, name)
        if not config["rank"]:
            [vector] = model[0].ia3_l.values()
            vector.copy_(weights["multi_lora_b"])
        for part in ("lora_A", "lora_B") if config["rank"] else ():
            [layer] = getattr(model[0], part).values()
            layer.weight.copy_(weights[part.lower()])
    return model(x)


def _losses(given: dict[str, Tensor], expected: dict[str, Tensor], config: dict[str, float]) -> None:
    found = choice_losses(
        given["choices_logits"],
        given["choices_ids"],
        given["labels"],
        pad_token_id=int(config["pad_token_id"]),
        length_norm=config["length_norm"],
    )
    torch.testing.assert_close(found.scores, expected["choices_scores"], **TOLERANCE)
    names = {"language_model": "lm_loss", "multiple_choice": "mc_loss", "unlikelihood": "unlikely_loss"}
    for ours, theirs in names.items():
        torch.testing.assert_close(getattr(found, ours).reshape(1), expected[theirs], **TOLERANCE)
    total = found.language_model + config["mc_loss"] * found.multiple_choice
    total = total + config["unlikely_loss"] * found.unlikelihood
    torch.testing.assert_close(total.reshape(1), expected["total"], **TOLERANCE)
