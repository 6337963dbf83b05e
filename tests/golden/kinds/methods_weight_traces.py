"""Methods whose ranks change while they train, step by step as the authors' code."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.adalora.layer import RankAllocator
from torch import Tensor, nn

from suite import adapters
from suite.adapters.methods.reparameterized import increlora, triadaptlora
from suite.training.procedures import increlora as growth
from suite.training.procedures import triadaptlora as blocks
from tests.golden.layers import TOLERANCE, group
from tests.golden.registry import Case, kind

TRACE = dict(atol=1e-4, rtol=0.0)


class Net(nn.Module):
    """c(tanh(b(tanh(a(x)))))."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name in "abc":
            weight = weights[f"{name}.weight"]
            setattr(self, name, nn.Linear(weight.shape[1], weight.shape[0]))
            getattr(self, name).load_state_dict({key: weights[f"{name}.{key}"] for key in ("weight", "bias")})

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.tanh(self.b(torch.tanh(self.a(x)))))

    def layers(self) -> list[Any]:
        return [self.a, self.b, self.c]


def _same(threshold: float | None, expected: Tensor) -> None:
    assert (threshold is None) == bool(expected.isnan())
    if threshold is not None:
        torch.testing.assert_close(torch.tensor(threshold), expected, rtol=1e-3, atol=0.0)


@kind("methods_weight/increlora_trace")
def increlora_trace(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    model = Net(group(tensors, "weights/"))
    names = dict(
        r="target_rank", init_rank="lora_r", alpha="lora_alpha", add_r="incre_rank_num", top_h="top_h", beta1="beta1"
    )
    chosen = {ours: config[theirs] for ours, theirs in names.items()}
    same = ("init_warmup", "incre_interval", "beta2", "advance_learn", "orth_reg_weight")
    adapters.attach(model, "increlora", targets=list("abc"), **chosen, **{name: config[name] for name in same})
    for name, layer in zip("abc", model.layers(), strict=True):
        state = increlora.official_tensors(group(tensors, f"weights/{name}."))
        ranks = len(state["lora_A"])
        layer.put("default", 0, state["lora_A"], state["lora_B"])
        with torch.no_grad():
            layer.tensor("lora_E", "default")[:ranks] = state["lora_E"]
        layer.watch_score("default", True)
    x, target = tensors["input/x"], tensors["input/target"]
    torch.testing.assert_close(model(x), tensors["output/y_initial"], **TOLERANCE)
    term = adapters.penalties(model)["increlora/orthogonality"]
    torch.testing.assert_close(term.reshape(1), tensors["output/orth_reg_initial"], **TOLERANCE)

    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], config["lr"])
    recorded = {key.split(".", 2)[2]: value for key, value in tensors.items() if key.startswith("weights/reserve.")}
    for step in range(config["steps"]):
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean() + sum(adapters.penalties(model).values())
        loss.backward()
        torch.testing.assert_close(loss, tensors["output/total_loss_per_step"][step], **TRACE)
        scores = torch.stack([layer._watched["default"] for layer in model.layers()])
        torch.testing.assert_close(scores, tensors["output/score_per_step"][step], **TOLERANCE)

        def draw(layer: Any, number: int, step: int = step) -> tuple[Tensor, Tensor]:
            start = f"step{step}.{'abc'[number]}"
            return recorded[f"{start}.A"], recorded[f"{start}.B"]

        threshold = growth.allocate(model.layers(), "default", step, draw)
        _same(threshold, tensors["output/threshold_per_step"][step])
        importance = torch.stack([layer.tensor("scores", "default").prod() for layer in model.layers()])
        torch.testing.assert_close(importance, tensors["output/importance_per_step"][step], rtol=1e-3, atol=1e-12)
        ranks = [layer.counted("default")[0] for layer in model.layers()]
        assert ranks == tensors["output/ranknum_per_step"][step].tolist()
        optimizer.step()
    for name, layer in zip("abc", model.layers(), strict=True):
        state = group(tensors, f"output/final/{name}.")
        ranks, entries = layer.counted("default")
        assert ranks == int(state["ranknum"])
        everything = increlora.official_tensors({k: v for k, v in state.items() if k != "ranknum"})
        assert len(everything["lora_A"]) == entries
        torch.testing.assert_close(layer.tensor("lora_A", "default")[:entries], everything["lora_A"], **TRACE)
        torch.testing.assert_close(layer.tensor("lora_B", "default")[:, :entries], everything["lora_B"], **TRACE)
        torch.testing.assert_close(layer.tensor("lora_E", "default")[:entries], everything["lora_E"], **TRACE)
        kept, pattern = layer.trimmed("default")
        assert pattern == {"rank_pattern": ranks}
        assert torch.equal(kept["lora_A"], layer.tensor("lora_A", "default")[:ranks])


@kind("methods_weight/triadaptlora_trace")
def triadaptlora_trace(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    model = Net(group(tensors, "weights/"))
    same = ("init_rank", "init_warmup", "incre_interval", "rank_growth_model", "total_step")
    chosen = {"r": config["reference_rank"], "add_r": config["incre_rank_num"], "alpha": config["lora_alpha"]}
    adapters.attach(
        model,
        "triadaptlora",
        targets=list("abc"),
        orth_reg_weight=0.0,
        **chosen,
        **{name: config[name] for name in same},
    )
    for name, layer in zip("abc", model.layers(), strict=True):
        _blocks(layer, group(tensors, f"weights/{name}."))
    x, target = tensors["input/x"], tensors["input/target"]
    torch.testing.assert_close(model(x), tensors["output/y_initial"], **TOLERANCE)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], config["lr"])
    recorded = group(tensors, "weights/new_block.")
    blocks.begin(model.layers(), "default")
    norms = torch.cat([layer.tensor("scores", "default") for layer in model.layers()])
    torch.testing.assert_close(norms, tensors["output/score_per_step"][0], **TOLERANCE)
    for step in range(config["total_step"]):
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        torch.testing.assert_close(loss, tensors["output/loss_per_step"][step], **TRACE)
        loss.backward()
        optimizer.step()

        def draw(layer: Any, number: int, step: int = step) -> tuple[Tensor, Tensor]:
            start = f"step{step}.{'abc'[number]}"
            return recorded[f"{start}.A"], recorded[f"{start}.B"]

        before = torch.cat([layer.tensor("scores", "default") for layer in model.layers()])
        threshold = blocks.allocate(model.layers(), "default", step, config["total_step"], draw)
        _same(threshold, tensors["output/threshold_per_step"][step])
        if threshold is not None:
            after = torch.cat([layer.tensor("scores", "default") for layer in model.layers()])
            torch.testing.assert_close(after - before, tensors["output/score_per_step"][step], **TOLERANCE)
        ranks = [layer.counted("default")[0] for layer in model.layers()]
        assert ranks == tensors["output/ranknum_per_step"][step].tolist()
    for name, layer in zip("abc", model.layers(), strict=True):
        _blocks(layer, group(tensors, f"weights/final_random/{name}."))
    torch.testing.assert_close(model(x), tensors["output/final_random/y"], **TOLERANCE)
    delta = model.a.get_delta_weight("default")
    torch.testing.assert_close(delta, tensors["output/final_random/a.delta_weight"], **TOLERANCE)
    norm = model.a.norm("default").reshape(1)
    torch.testing.assert_close(norm, tensors["output/final_random/a.normalized_norm"], **TOLERANCE)


def _blocks(layer: Any, state: dict[str, Tensor]) -> None:
    """Put the authors' lists of blocks in place."""
    ours = triadaptlora.official_tensors(state)
    ranks = len(ours["lora_A"])
    layer.put("default", 0, ours["lora_A"], ours["lora_B"])
    with torch.no_grad():
        for name in ("lora_C_row", "lora_C_col"):
            layer.tensor(name, "default")[:ranks, :ranks] = ours[name]
    layer.count("default", ranks, ranks)


@kind("methods_weight/adalora_trace")
def adalora_trace(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    model = Net(group(tensors, "weights/"))
    names = dict(
        init_r="lora_r", target_r="target_rank", tinit="init_warmup", tfinal="final_warmup", deltaT="mask_interval"
    )
    same = ("beta1", "beta2", "total_step", "lora_alpha", "orth_reg_weight")
    chosen = {ours: config[theirs] for ours, theirs in names.items()} | {name: config[name] for name in same}
    adapters.attach(model, "adalora", targets=list("abc"), **chosen)
    for name, layer in zip("abc", model.layers(), strict=True):
        for part in ("lora_A", "lora_B", "lora_E", "ranknum"):
            getattr(layer, part)["default"].data.copy_(
                tensors[f"weights/{name}.{part}"].reshape_as(getattr(layer, part)["default"])
            )
    x, target = tensors["input/x"], tensors["input/target"]
    torch.testing.assert_close(model(x), tensors["output/y_initial"], **TOLERANCE)
    allocator = RankAllocator(model, model.peft_config["default"], "default")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], config["lr"])
    for step in range(config["total_step"]):
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean() + sum(adapters.penalties(model).values())
        loss.backward()
        optimizer.step()
        budget, pattern = allocator.update_and_allocate(model, step)
        assert budget == int(tensors["output/budget_per_step"][step])
        assert bool(pattern) == (not bool(tensors["output/threshold_per_step"][step].isnan()))
        values = torch.stack([layer.lora_E["default"].flatten() for layer in model.layers()])
        torch.testing.assert_close(values, tensors["output/lora_E_per_step"][step], **TRACE)
    for name, layer in zip("abc", model.layers(), strict=True):
        for part in ("lora_A", "lora_B", "lora_E"):
            torch.testing.assert_close(getattr(layer, part)["default"], tensors[f"output/final/{name}.{part}"], **TRACE)
