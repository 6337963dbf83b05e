"""Personalized diffusion against the authors' code: the KronA layer."""

from __future__ import annotations

import torch
from torch import nn

from suite import adapters
from suite.adapters.methods.reparameterized.krona import kronecker_product, official_tensors
from tests.golden.registry import Case, kind

TOLERANCE = dict(atol=1e-5, rtol=0.0)


@kind("personalized_diffusion/krona_layer")
def krona_layer(case: Case) -> None:
    tensors = case.tensors()
    for number, sizes in enumerate(case.config["cases"]):
        name = f"case{number}"
        ours = official_tensors({key: tensors[f"weights/{name}.{key}"] for key in ("down.weight", "up.weight")})
        x = tensors[f"input/{name}.hidden_states"]
        eye = torch.eye(sizes["in_features"])
        for official, key in ((True, "delta_weight"), (False, "textbook_kron")):
            delta = kronecker_product(eye, ours["a"], ours["b"], official=official).T
            torch.testing.assert_close(delta, tensors[f"output/{name}.{key}"], check_stride=False, **TOLERANCE)
        layer = kronecker_product(x, ours["a"], ours["b"], official=True)
        torch.testing.assert_close(layer, tensors[f"output/{name}.layer"], **TOLERANCE)
        model = nn.Sequential(nn.Linear(sizes["in_features"], sizes["out_features"], bias=False))
        model.load_state_dict({"0.weight": tensors[f"weights/{name}.base.weight"]})
        settings = {"a1": sizes["a1"], "a2": sizes["a2"], "layout": "official", "scaling": 0.7}
        adapters.attach(model, "krona", targets=["0"], **settings)
        with torch.no_grad():
            for part, value in ours.items():
                model[0].tensor(part, "default").copy_(value)
        expected = tensors[f"output/{name}.merged_forward_scale0.7"]
        torch.testing.assert_close(model(x), expected, **TOLERANCE)
        adapters.merge(model)
        torch.testing.assert_close(model[0].weight, tensors[f"output/{name}.merged_weight_scale0.7"], **TOLERANCE)
        torch.testing.assert_close(model(x), expected, **TOLERANCE)
