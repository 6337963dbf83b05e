"""Low-rank and spectral methods against the authors' code, or the formula where there is none."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from suite import adapters
from suite.adapters.methods.reparameterized import kasa, loldu, mtlora, pego, sltrain, soka, sora, svfit
from suite.adapters.methods.reparameterized.sparse_low_rank import replace_linears
from tests.golden.layers import TOLERANCE, fill, group, linear
from tests.golden.registry import Case, kind


@kind("methods_weight/kasa_linear")
def kasa_linear(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    model = linear(tensors["weights/base_layer.weight.original"], tensors["weights/base_layer.bias"])
    chosen = {"r": config["r"], "alpha": config["lora_alpha"], "beta": config["beta"], "gamma": config["gamma"]}
    adapters.attach(model, "kasa", targets=["0"], loss="official", components="official", **chosen)
    layer, original = model[0], tensors["weights/base_layer.weight.original"]
    fill(layer, {"lora_B": torch.zeros_like(layer.tensor("lora_B", "default"))})
    torch.testing.assert_close(
        original + layer.get_delta_weight("default"), tensors["output/base_weight_truncated"], **TOLERANCE
    )
    fill(layer, kasa.official_tensors(group(tensors, "weights/")))
    change = original + layer.get_delta_weight("default") - tensors["output/base_weight_truncated"]
    torch.testing.assert_close(change, tensors["output/delta_weight"], **TOLERANCE)
    y, term = model(tensors["input/x"]), sum(adapters.penalties(model).values())
    torch.testing.assert_close(y, tensors["output/y"], **TOLERANCE)
    torch.testing.assert_close(term.reshape(1), tensors["output/aux_loss"], **TOLERANCE)
    (y.square().mean() + term).backward()
    for name in ("lora_A", "lora_B", "lora_diag"):
        torch.testing.assert_close(layer.tensor(name, "default").grad, tensors[f"output/grad_{name}"], **TOLERANCE)
    adapters.merge(model)
    torch.testing.assert_close(model(tensors["input/x"]), tensors["output/y_merged"], **TOLERANCE)


@kind("methods_weight/loldu_linear")
def loldu_linear(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    original = tensors["weights/base.weight.original"]
    model = linear(original, tensors["weights/base.bias"])
    adapters.attach(
        model, "loldu", targets=["0"], r=config["rank"], alpha=config["lora_alpha"], init=config["init_method"]
    )
    layer, rank = model[0], config["rank"]
    official = tensors["weights/P"] @ tensors["weights/lora_B(L)"]
    torch.testing.assert_close(layer.lower[:, :rank], official, **TOLERANCE)
    torch.testing.assert_close(layer.upper[:rank], tensors["weights/lora_A(U)"], **TOLERANCE)
    torch.testing.assert_close(layer.tensor("vector_z", "default"), tensors["weights/vector_z.init"], **TOLERANCE)
    torch.testing.assert_close(model(tensors["input/x"]), tensors["output/y_at_init"], **TOLERANCE)
    # Theirs keeps the residual and adds all of P L_r diag(z) U_r; the sum is W at the start.
    scale = tensors["weights/scaling_factor"]
    part = scale * (official * tensors["weights/vector_z.init"]) @ tensors["weights/lora_A(U)"]
    torch.testing.assert_close(tensors["weights/parametrizations.weight.original(residual)"] + part, original)
    fill(layer, {"vector_z": tensors["weights/vector_z.tuned"]})
    torch.testing.assert_close(model(tensors["input/x"]), tensors["output/y_tuned"], **TOLERANCE)
    adapters.merge(model)
    torch.testing.assert_close(model[0].weight, tensors["output/merged_weight"], **TOLERANCE)
    named = {key: None for key in config["state_dict_keys_saved"]}
    assert loldu.official_tensors(named) == {"vector_z": None}


@kind("methods_weight/sora_linear_and_prox")
def sora_linear_and_prox(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    model = linear(tensors["weights/base.weight"], tensors["weights/base.bias"])
    adapters.attach(model, "sora", targets=["0"], r=config["r"], alpha=config["lora_alpha"])
    official = {**group(tensors, "weights/"), "gate": tensors["weights/gate.initial"]}
    fill(model[0], sora.official_tensors(official))
    x, gate = tensors["input/x"], model[0].tensor("gate", "default")
    torch.testing.assert_close(model(x), tensors["output/y_initial"], **TOLERANCE)
    moments = torch.zeros(2, *gate.shape)
    trace = zip(tensors["output/gate_grads"], tensors["output/gate_trajectory"], strict=True)
    for step, (gradient, expected) in enumerate(trace, start=1):
        gate.grad = None
        (model(x) - tensors["input/target"]).square().mean().backward()
        torch.testing.assert_close(gate.grad, gradient[0], **TOLERANCE)
        with torch.no_grad():
            # transformers' Adam of old: epsilon is added before the bias is corrected, not after.
            for moment, beta, value in zip(moments, config["betas"], (gate.grad, gate.grad.square()), strict=True):
                moment.lerp_(value, 1 - beta)
            first, second = (1 - beta**step for beta in config["betas"])
            rate = config["sparse_lr"] * second**0.5 / first
            gate.sub_(rate * moments[0] / (moments[1].sqrt() + config["eps"]))
            gate.copy_(sora.shrunk(gate, config["sparse_lambda_2"]))
        torch.testing.assert_close(gate, expected[0], **TOLERANCE)
    torch.testing.assert_close(model(x), tensors["output/y_final"], **TOLERANCE)
    cut, pattern = model[0].trimmed("default")
    kept = tensors["output/kept_ranks"].bool()
    assert torch.equal(gate.ne(0), kept)
    assert pattern == {"rank_pattern": int(kept.sum())}
    assert torch.equal(cut["lora_A"], tensors["weights/lora_A"][kept])
    schedule = sora.lambda_schedule(
        config["lambda_schedule"], config["sparse_lambda_2"], config["max_lambda"], config["lambda_num"]
    )
    torch.testing.assert_close(torch.tensor(schedule), tensors["output/lambda_schedule"], **TOLERANCE)


@kind("methods_weight/pego_group_lora")
def pego_group_lora(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    names = [f"block{number}" for number in range(config["blocks"])]
    model = nn.ModuleDict({name: nn.ModuleDict({"qkv": nn.Linear(config["dim"], 3 * config["dim"])}) for name in names})
    for name in names:
        model[name]["qkv"].load_state_dict(group(tensors, f"weights/{name}/qkv."))
    chosen = {"r": config["r"], "alpha": config["r"] * config["scaling"], "members": config["lora_nums"]}
    adapters.attach(model, "pego", targets=["qkv"], orthogonality=1.0, **chosen)
    for name in names:
        layer = model[name]["qkv"]
        fill(layer, pego.official_tensors(group(tensors, f"weights/{name}/")))
        torch.testing.assert_close(layer(tensors["input/x"]), tensors[f"output/{name}/qkv"], **TOLERANCE)
    term = adapters.penalties(model)["pego/orthogonality"]
    torch.testing.assert_close(
        term.reshape(1), tensors["output/orth_loss_sum_over_blocks(unweighted)"], rtol=1e-5, atol=0
    )
    term.backward()
    layer, members = model["block0"]["qkv"], config["lora_nums"]
    torch.testing.assert_close(
        layer.tensor("a", "default").grad[0], tensors["output/grad.block0.linear_a_q.0"], rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        layer.tensor("b", "default").grad[members + 1], tensors["output/grad.block0.linear_b_v.1"], rtol=1e-5, atol=1e-5
    )


@kind("methods_weight/formula_svfit_kpsvd")
def formula_svfit_kpsvd(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    settings, weight = config["svfit_formula"], tensors["weights/svfit_formula/base.weight"]
    model = linear(weight)
    adapters.attach(model, "svfit", targets=["0"], r=settings["r"])
    s = model[0].tensor("s", "default")
    torch.testing.assert_close(s, tensors["weights/svfit_formula/singular_values.init"], **TOLERANCE)
    fill(model[0], {"s": torch.zeros_like(s)})
    residual = weight + model[0].get_delta_weight("default")
    torch.testing.assert_close(residual, tensors["output/svfit_formula/residual_weight"], **TOLERANCE)
    fill(model[0], {"s": tensors["weights/svfit_formula/singular_values.tuned"]})
    torch.testing.assert_close(
        model(tensors["input/svfit_formula/x"]), tensors["output/svfit_formula/y_tuned"], **TOLERANCE
    )
    adapters.merge(model)
    torch.testing.assert_close(model[0].weight, tensors["output/svfit_formula/merged_weight"], **TOLERANCE)
    share = float(tensors["output/svfit_formula/energy_of_top_r"])
    ranks = [svfit.rank_of_energy(model[0].sigma, value) for value in (share - 1e-6, share + 1e-6)]
    assert ranks == [settings["r"], settings["r"] + 1]
    _kpsvd(tensors, config["kpsvd_formula"])


def _kpsvd(tensors: dict[str, torch.Tensor], sizes: dict[str, int]) -> None:
    weight = tensors["weights/kpsvd_formula/base.weight"]
    model = linear(weight)
    adapters.attach(model, "soka", targets=["0"], r=sizes["r"], m1=sizes["m1"], n1=sizes["n1"])
    layer, expected = model[0], group(tensors, "output/kpsvd_formula/")
    torch.testing.assert_close(layer.base_sigma, expected["singular_values"], **TOLERANCE)
    assert svfit.rank_of_energy(layer.base_sigma, sizes["energy"]) == int(expected["rank_energy_0.9"])
    assert soka.rank_of_elbow(layer.base_sigma) == int(expected["rank_elbow_chord"])
    shares = layer.base_sigma.square().cumsum(0) / layer.base_sigma.square().sum()
    torch.testing.assert_close(shares, expected["cumulative_energy"], **TOLERANCE)
    x = tensors["input/kpsvd_formula/x"]
    fill(layer, {name: torch.zeros_like(layer.tensor(name, "default")) for name in "uv"})
    torch.testing.assert_close(weight + layer.get_delta_weight("default"), expected["residual"], **TOLERANCE)
    torch.testing.assert_close(x @ weight.T - model(x), expected["y_adapter_part"], **TOLERANCE)
    torch.testing.assert_close(-layer.get_delta_weight("default"), expected["rank_r_approximation"], **TOLERANCE)


@kind("methods_weight/sltrain_linear")
def sltrain_linear(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    official, x = group(tensors, "weights/"), tensors["input/x"]
    chosen = {"r": config["r"], "alpha": config["lora_alpha"], "sp_ratio": config["sp_ratio"]}
    model = linear(torch.zeros(config["out_features"], config["in_features"]))
    adapters.attach(model, "sltrain", targets=["0"], **chosen)
    fill(model[0], sltrain.official_tensors(official))
    alone = nn.Sequential(nn.Linear(config["in_features"], config["out_features"], bias=config["bias"]))
    replace_linears(alone, ["0"], **chosen)
    assert alone[0].load_state_dict(official) is not None
    for layer, named in ((model, lambda name: model[0].tensor(name, "default")), (alone, alone[0].get_parameter)):
        given = x.clone().requires_grad_(True)
        y = layer(given)
        torch.testing.assert_close(y, tensors["output/y"], **TOLERANCE)
        y.square().mean().backward()
        torch.testing.assert_close(given.grad, tensors["output/grad_x"], **TOLERANCE)
        for name in ("lora_A", "lora_B", "sparse_value"):
            torch.testing.assert_close(named(name).grad, tensors[f"output/grad_{name}"], **TOLERANCE)
    adapters.merge(model)
    torch.testing.assert_close(model(x), tensors["output/y"], **TOLERANCE)


@kind("methods_weight/mtlora_linear")
def mtlora_linear(case: Case) -> None:
    tensors = case.tensors()
    for mode, config in case.config.items():
        weights = group(tensors, f"weights/{mode}/")
        model = linear(weights["linear.weight"], weights["linear.bias"])
        tasks = {task: rank for task, rank in config["r"].items() if task != "shared"}
        chosen = {"scale": config["lora_shared_scale"], "task_scale": config["lora_task_scale"]}
        adapters.attach(
            model, "mtlora", targets=["0"], r=config["r"]["shared"], tasks=tasks, shared_mode=mode, **chosen,
            dropout=config["lora_dropout"],
        )  # fmt: skip
        _fill_tasks(model[0], mtlora.official_tensors(weights))
        x, inputs = tensors[f"input/{mode}/x"], group(tensors, f"input/{mode}/x_tasks.")
        for name, own in (("shared_input", None), ("task_input", inputs)):
            expected = group(tensors, f"output/{mode}/{name}/")
            y, branches = model[0].branches(x, own)
            torch.testing.assert_close(y, expected["y"], **TOLERANCE)
            for task, value in branches.items():
                torch.testing.assert_close(value, expected[f"y_tasks.{task}"], **TOLERANCE)
        expected = group(tensors, f"output/{mode}/shared_input/")
        torch.testing.assert_close(model(x), expected["y"], **TOLERANCE)
        for task in tasks:
            with adapters.context(model, task=task):
                torch.testing.assert_close(model(x), expected[f"y_tasks.{task}"], **TOLERANCE)
    weights = group(tensors, "weights/ta_only/")
    model = linear(weights["linear.weight"], weights["linear.bias"])
    adapters.attach(model, "mtlora", targets=["0"], r=len(weights["lora_shared_A"]), dropout=0.0)
    _fill_tasks(model[0], mtlora.official_tensors(weights))
    torch.testing.assert_close(model(tensors["input/ta_only/x"]), tensors["output/ta_only/y"], **TOLERANCE)


def _fill_tasks(layer: nn.Module, tensors: dict[str, Any]) -> None:
    fill(layer, {name: value for name, value in tensors.items() if not isinstance(value, dict)})
    for name, inside in tensors.items():
        if isinstance(inside, dict):
            layer.tensor(name, "default").load_state_dict(inside)
