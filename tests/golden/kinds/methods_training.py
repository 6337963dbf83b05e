"""Training procedures against the authors' code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.training.procedures.mezo import ForwardOnly
from tests.golden.registry import Case, kind


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


@kind("methods_training/mezo_trace")
def mezo_trace(case: Case) -> None:
    """The first step on the recorded losses: seed, z, restored and updated weights. Then the seeds of all steps."""
    tensors, config = case.tensors(), case.config
    order = [nn.Parameter(tensors[f"weights/{name}"].clone()) for name in config["trainable_order"]]
    decays = [
        not any(part in name for part in ("bias", "layer_norm", "layernorm")) for name in config["trainable_order"]
    ]
    groups = [
        {"params": [p for p, own in zip(order, decays, strict=True) if own is decay], "weight_decay": rate}
        for decay, rate in ((True, config["weight_decay"]), (False, 0.0))
    ]
    optimizer = ForwardOnly(
        [{**group, "lr": config["lr"]} for group in groups], order, config["eps"], config["numpy_seed"]
    )
    above, slope = tensors["output/loss_plus"][0], tensors["output/projected_grad"][0]
    losses = iter([above, above - 2 * config["eps"] * slope])
    places: list[list[Tensor]] = []

    def closure() -> Tensor:
        places.append([parameter.detach().clone() for parameter in order])
        return next(losses)

    optimizer.step(closure)
    directions = [tensors[f"output/step0/z/{name}"] for name in config["trainable_order"]]
    updated = _below(tensors, "output/step0/updated/")
    for position, name in enumerate(config["trainable_order"]):
        start, far = tensors[f"weights/{name}"], config["eps"] * directions[position]
        torch.testing.assert_close(places[0][position], start + far, atol=1e-6, rtol=0)
        torch.testing.assert_close(places[1][position], start - far, atol=1e-6, rtol=0)
        torch.testing.assert_close(order[position].detach(), updated[name], atol=1e-6, rtol=0)
    seeds = [int(seed) for seed in tensors["output/seeds"]]
    again = ForwardOnly([{"params": order, "lr": 0.0}], order, config["eps"], config["numpy_seed"])
    assert [again._next_seed() for _ in seeds] == seeds
