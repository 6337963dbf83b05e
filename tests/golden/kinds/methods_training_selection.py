"""Methods that choose what trains against the authors' code."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from suite import adapters
from suite.adapters.methods.selective import light_peft, neuroada, sift
from suite.adapters.methods.selective.spt_allocation import COSTS, allocate, structured
from suite.training.procedures.id3 import Id3, unmasked_at
from tests.golden.registry import Case, kind

CLOSE = dict(atol=1e-5, rtol=0.0)


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


class Toy(nn.Module):
    """What the authors' cases run on: two layers, a norm and a head."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.q_proj, self.up_proj = _linear(weights, "q_proj"), _linear(weights, "up_proj")
        self.norm = nn.LayerNorm(len(weights["norm.weight"]))
        self.classifier = _linear(weights, "classifier")
        self.load_state_dict({name: tensor for name, tensor in weights.items() if not name.endswith("_new")})

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.norm(torch.tanh(self.up_proj(torch.tanh(self.q_proj(x))))))


def _linear(weights: dict[str, Tensor], name: str) -> nn.Linear:
    out, size = weights[f"{name}.weight"].shape
    return nn.Linear(size, out, bias=f"{name}.bias" in weights)


def weighted(y: Tensor) -> Tensor:
    return (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum()


@kind("methods_training/neuroada")
def neuroada_case(case: Case) -> None:
    tensors, targets, k = case.tensors(), case.config["target_modules"], case.config["k"]
    weights, x, given = below(tensors, "weights/"), tensors["input/x"], below(tensors, "input/select_grad/")
    torch.testing.assert_close(Toy(weights)(x), tensors["output/base"], **CLOSE)
    plain, gradient = adapters.attach(Toy(weights), "neuroada", targets=targets, k=k), Toy(weights)

    def loss(model: nn.Module, _batch: Tensor) -> Tensor:
        """One whose gradients are the given ones."""
        return sum((model.get_parameter(name) * value).sum() for name, value in given.items())

    adapters.attach(gradient, "neuroada", **adapters.plan("neuroada", gradient, [x], loss=loss, targets=targets, k=k))
    layers = dict(adapters.layers(plain))
    for name, layer in layers.items():
        own = f"{layer.target}.weight"
        flat, size = tensors[f"output/flat_index/{own}"], layer.host.weight.shape[1]
        assert torch.equal(layer.places("default").long(), flat)
        found = torch.stack((flat // size, flat % size), 1)
        assert torch.equal(found, tensors[f"output/selected_rowcol/{own}"])
        places = dict(adapters.layers(gradient))[name].places("default").long()
        expected = tensors[f"output/selected_rowcol_grad/{own}"]
        assert torch.equal(torch.stack((places // size, places % size), 1), expected)
        saved = {"weight_new": weights[f"{own}_new"], "weight_position_new": flat}
        layer.trained("default").data.copy_(neuroada.official_tensors(saved)["delta"])
    y = plain(x)
    torch.testing.assert_close(y, tensors["output/adapted"], **CLOSE)
    weighted(y).backward()
    for layer in layers.values():
        gradients = layer.trained("default").grad
        torch.testing.assert_close(gradients, tensors[f"output/grad/{layer.target}.weight_new"], **CLOSE)
    adapters.merge(plain)
    torch.testing.assert_close(plain(x), tensors["output/merged"], **CLOSE)
    for target in targets:
        weight = plain.get_submodule(target).weight
        torch.testing.assert_close(weight, tensors[f"output/merged_weight/{target}.weight"], **CLOSE)


@kind("methods_training/selective_masks")
def selective_masks(case: Case) -> None:
    """PaFI's and the paper's order of biases, SIFT's first choice, and ID3 step by step."""
    tensors = case.tensors()
    weights = below(tensors, "weights/")
    for method, select in (("pafi", "smallest"), ("bitfit", "vectors")):
        model = adapters.attach(Toy(weights), "pafi", budget=21, select=select)
        for name, mask in below(tensors, f"output/{method}_budget21/mask/").items():
            assert torch.equal(_pafi_mask(model, name), mask), name
    for name, settings in case.config["id3_schedules"].items():
        budget, steps = (int(part.partition("=")[2]) for part in name.split(","))
        found = [unmasked_at(step, budget, steps) for step in range(steps)]
        ends = {"first": found[:5], "last": found[-5:], "sum": sum(found)}
        assert settings == (ends if isinstance(settings, dict) else found)
    assert sum(unmasked_at(step, 3, 7) for step in range(7)) == 3  # the released code fails on so small a budget
    _id3(tensors, case.config["id3_sgd"], torch.optim.SGD, "id3_sgd")
    _id3(tensors, case.config["id3_adamw_wd0"], torch.optim.AdamW, "id3_adamw_wd0")
    _id3(tensors, case.config["id3_adamw_wd"], torch.optim.AdamW, "id3_adamw_wd")
    model = adapters.attach(Toy(weights), "sift", targets=["q_proj", "up_proj"], rate=0.1)
    for _, layer in adapters.layers(model):
        held, places = layer.holders(), {}
        for name in held:
            places[name] = sift.largest(tensors[f"input/sift_first_grad/{layer.target}.{name}"], 0.1)
            assert torch.equal(places[name], tensors[f"output/sift_index_flat/{layer.target}.{name}"].sort().values)
        assert layer.places("default").shape == sift.joined(places, held).shape


def _id3(tensors: dict[str, Tensor], settings: Any, optimizer: type[Optimizer], name: str) -> None:
    """The masks and gradients of each step and the final weights; with weight decay masked numbers must not move."""
    model = Toy(below(tensors, "weights/"))
    parameters, start = dict(model.named_parameters()), below(tensors, "weights/")
    procedure = Id3(settings["budget"], settings["exp"], settings["eps"])
    procedure.count, procedure.steps = settings["budget"], settings["steps"]
    procedure.masks = {own: torch.zeros_like(parameter, dtype=torch.bool) for own, parameter in parameters.items()}
    decay = settings["kw"].get("weight_decay", 0.0)
    procedure.decays = dict.fromkeys(parameters, decay)
    steps = optimizer(parameters.values(), **{**settings["kw"], **({"weight_decay": 0.0} if decay else {})})
    recipe: Any = SimpleNamespace(model=model)
    for step in range(settings["steps"]):
        steps.zero_grad()
        functional.cross_entropy(model(tensors["input/x"]), tensors["input/y"]).backward()
        for own, parameter in parameters.items() if name == "id3_sgd" else ():
            torch.testing.assert_close(parameter.grad, tensors[f"output/{name}/step{step}/grad/{own}"], **CLOSE)
        procedure.on_before_optimizer_step(None, recipe, steps)  # type: ignore[arg-type]
        for own in parameters if name == "id3_sgd" else ():
            assert torch.equal(procedure.masks[own], tensors[f"output/{name}/step{step}/mask/{own}"])
        steps.step()
    moved = sum(int((parameter != start[own]).sum()) for own, parameter in parameters.items())
    assert moved == settings["budget_used"] == sum(int(mask.sum()) for mask in procedure.masks.values())
    final = below(tensors, f"output/{name}/final/")
    if decay:  # the released code lets the optimiser's decay move every masked number
        assert all((final[own] != start[own]).all() for own in parameters if not own.endswith("bias"))
        return
    for own, parameter in parameters.items():
        torch.testing.assert_close(parameter.detach(), final[own], **CLOSE)


def _pafi_mask(model: nn.Module, name: str) -> Tensor:
    """Which entries of a parameter train."""
    module, _, own = name.rpartition(".")
    mask = torch.zeros_like(model.get_parameter(name), dtype=torch.bool)
    layer = dict(adapters.layers(model)).get(f"{module}.suite_pafi")
    for part, index, _ in layer.parts(layer.places("default")) if layer is not None else ():
        if part == own:
            mask[index] = True
    return mask


@kind("methods_training/telly_frozen_sets")
def telly_frozen_sets(case: Case) -> None:
    """Counts for every K, and the names that train, on a model without storage."""
    from transformers import RobertaConfig, RobertaModel

    found = case.json()
    settings = {key: value for key, value in found["encoder_config"].items() if key != "model_type"}
    with torch.device("meta"):
        model = RobertaModel(RobertaConfig(**settings))
    counts = {key: value for key, value in found["trainable_params"].items() if key != "base"}
    assert adapters.count(model).total == found["trainable_params"]["base"]
    for frozen, count in counts.items():
        adapters.attach(model, "telly", frozen=int(frozen))
        assert adapters.count(model).trainable == count
        names = found["examples"].get(f"Telly-{frozen}", {}).get("trainable")
        own = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        trained = [name for name, p in _standing(model) if id(p) in own]
        assert names is None or trained == names
        adapters.detach(model)


def _standing(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """What stands under the base's own names."""
    return [(name, p) for name, p in model.named_parameters(remove_duplicate=False) if ".suite_telly." not in name]


@kind("methods_training/spt_allocation")
def spt_allocation_case(case: Case) -> None:
    """Seven budgets with either module: matrices, vectors and single numbers."""
    tensors, config = case.tensors(), case.config
    given = below(tensors, "input/sensitivity/")
    order = [f"{part}.{own}" for part in ("norm1", *(f"attn.{op}" for op in "qkv"), "attn.proj") for own in OWN]
    order += [f"{part}.{own}" for part in ("norm2", "mlp.fc1", "mlp.fc2") for own in OWN]
    names = [f"blocks.{block}.{name}" for block in range(config["depth"]) for name in order]
    sensitivity = {name: given[name] for name in (*names, "norm.weight", "norm.bias")}
    unit, rank = config["budget_unit"], config["low_rank_dim"]
    for kind_of_module, method in (("lora", "lora"), ("adapter", "parallel_adapter")):
        made = allocate(
            sensitivity,
            [budget * unit for budget in config["budgets"]],
            lambda out, size, method=method: COSTS[method](out, size, rank),
            alpha=config["alpha"],
            beta=config["beta"],
            fixed=config["fixed_extra_params"],
            unit=unit,
        )
        for budget, found in zip(config["budgets"], made, strict=True):
            expected, start = config[kind_of_module][str(budget)], f"output/{kind_of_module}/{budget}/"
            assert (found.sparse, found.structured) == (expected["unstructured_params"], expected["structured_params"])
            assert [*found.vectors] == expected["tuned_vectors"]
            operations = [f"attn.{op}" for op in ("q", "k", "v", "proj")] + ["mlp.fc1", "mlp.fc2"]
            matrices = [
                [int(f"blocks.{block}.{op}.weight" in found.matrices) for op in operations]
                for block in range(config["depth"])
            ]
            assert torch.equal(tensors[f"{start}tuned_matrices"], torch.tensor(matrices))
            flat, offset = [], 0
            for name, places in found.loose.items():
                flat.append(places + offset)
                offset += sensitivity[name].numel()
            index = torch.cat(flat) if flat else torch.zeros(0)
            assert torch.equal(index.to(torch.int32), tensors[f"{start}unstructured_indexes"])


OWN = ("weight", "bias")


@kind("methods_training/spt_layers")
def spt_layers(case: Case) -> None:
    """The sparse layer with its gradients, and both structured modules."""
    tensors = case.tensors()
    x, weights = tensors["input/x"], below(tensors, "weights/sparse_linear.")
    linear = nn.Linear(8, 6)
    linear.load_state_dict({name: weights[name] for name in OWN})
    model = nn.Sequential(linear).eval()
    rows, columns = tensors["input/weight_index"].T
    places = torch.cat((rows * 8 + columns, 48 + tensors["input/bias_index"][:, 0]))
    sparse = adapters.attach(
        copy.deepcopy(model), "spt", targets=["0"], counts={"0": len(places)}, places={"0": places}
    )
    [(_, layer)] = adapters.layers(sparse)
    layer.trained("default").data.copy_(torch.cat((weights["sparse_weight"], weights["sparse_bias"])))
    given = x.clone().requires_grad_()
    y = sparse(given)
    torch.testing.assert_close(y, tensors["output/sparse_linear"], **CLOSE)
    weighted(y).backward()
    gradients = torch.cat((tensors["output/grad_sparse_weight"], tensors["output/grad_sparse_bias"]))
    torch.testing.assert_close(layer.trained("default").grad, gradients, **CLOSE)
    torch.testing.assert_close(given.grad, tensors["output/grad_x"], **CLOSE)
    for name, module in (("lora", "lora"), ("adapter", "parallel_adapter")):
        [spec] = structured(module, 3, ["0"])
        found = adapters.attach(copy.deepcopy(model), spec).eval()
        learned = below(tensors, f"weights/structured_{name}.learnable.")
        names = {"0.weight": "down", "0.bias": "down_bias", "2.weight": "up", "2.bias": "up_bias"}
        for key, value in learned.items():
            part = {"0.weight": "lora_A", "1.weight": "lora_B"}[key] if name == "lora" else f"adapter_{names[key]}"
            [parameter] = [p for own, p in found.named_parameters() if f"{part}." in own]
            parameter.data.copy_(value)
        torch.testing.assert_close(found(x) - model(x), tensors[f"output/structured_{name}"], **CLOSE)


@kind("methods_training/light_peft")
def light_peft_case(case: Case) -> None:
    tensors, config = case.tensors(), case.config
    for name, gone in config["pruned_units"].items():
        what, scope, ratio = name.split("/")
        ratio = {0.3333: 1 / 3}.get(float(ratio), float(ratio))
        masks = tensors[f"input/{what}_masks"][:, -1]  # (layers, heads or units), after the last step
        values = {str(number): mask for number, mask in enumerate(masks)}
        stay = light_peft.kept(values, ratio, "layer" if scope == "layerwise" else "global")
        assert [[n for n in range(masks.shape[1]) if n not in left] for left in stay.values()] == gone, name
    worth = {name: torch.tensor([value], dtype=torch.float64) for name, value in config["module_importance_in"].items()}
    left = [f"{name}.lora_A" for name, stay in light_peft.kept(worth, 0.75).items() if stay]
    assert left == config["modules_kept_at_0_75"]
    found = light_peft.module_importance(
        tensors["input/base_out"], tensors["input/lora_out"], tensors["input/attn_valid"]
    )
    torch.testing.assert_close(found, tensors["output/module_importance"], **CLOSE)
    given = (tensors[f"input/{name}"] for name in ("A", "A_grad", "B", "B_grad"))
    torch.testing.assert_close(light_peft.rank_importance(*given), tensors["output/rank_importance"], **CLOSE)
