"""Adapters as LoRAs of plain peft: exact where they are one, with the error said where they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn

from suite import adapters
from suite.errors import InputError
from tests.adapters.cases import arguments, fresh, randomise, sample

EXACT = {
    "sora": {},
    "increlora": {},
    "triadaptlora": {},
    "pego": {"fused": ["qkv"]},
    "tied_lora": {},
    "adalora": {"init_weights": True},
}


@pytest.mark.parametrize("method", EXACT)
def test_what_is_a_lora_gives_equal_outputs_in_plain_peft(method: str, tmp_path: Path) -> None:
    x = sample("llama")
    model = adapters.attach(fresh("llama"), method, **arguments(method, "llama"))
    randomise(model, scale=0.3)
    if method == "sora":
        with torch.no_grad():
            layers = [layer for _, layer in adapters.layers(model)]
            layers[0].tensor("gate", "default")[1:] = 0
            layers[1].tensor("gate", "default").zero_()
    if method == "adalora":
        with torch.no_grad():
            next(iter(adapters.layers(model)))[1].lora_E["default"][0] = 0
    expected = model(x).logits
    written = adapters.export_lora(model, tmp_path / "lora")
    assert set(written.errors.values()) == {0.0}
    loaded = PeftModel.from_pretrained(fresh("llama"), tmp_path / "lora").eval()
    torch.testing.assert_close(loaded(x).logits, expected, atol=1e-5, rtol=1e-5)
    if method == "sora":
        assert len(written.ranks) == 3 and min(written.ranks.values()) == 1


def test_a_group_on_a_fused_projection_leaves_the_keys(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = nn.ModuleDict({"qkv": nn.Linear(6, 18)})
    weight = base["qkv"].weight.detach().clone()
    model = adapters.attach(base, "pego", targets=["qkv"], r=2, members=2, init_weights=False)
    written = adapters.export_lora(model, tmp_path / "lora")
    assert written.ranks == {"qkv": 2 * 2 * 2}
    fused = nn.ModuleDict({"qkv": nn.Linear(6, 18)})
    fused["qkv"].weight.data = weight.clone()
    merged = PeftModel.from_pretrained(fused, tmp_path / "lora").merge_and_unload()["qkv"].weight
    assert torch.equal(merged[6:12], weight[6:12])
    adapters.merge(model)
    torch.testing.assert_close(merged, model["qkv"].get_base_layer().weight)


@pytest.mark.parametrize(
    ("method", "rank", "exact"), [("svfit", 4, True), ("loldu", 4, True), ("krona", 3, False), ("hut", 2, False)]
)
def test_the_best_lora_of_any_change_says_its_error(method: str, rank: int, exact: bool, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**arguments(method, "mlp"), "targets": ["fc1"]}
    model, x = adapters.attach(fresh("mlp"), method, **settings), sample("mlp")
    randomise(model, scale=0.3)
    with pytest.raises(InputError, match="is no LoRA as it is: give the rank"):
        adapters.export_lora(model, tmp_path / "none")
    written = adapters.export_lora(model, tmp_path / "lora", rank=rank)
    delta = model.fc1.get_delta_weight("default").detach()
    loaded = PeftModel.from_pretrained(fresh("mlp"), tmp_path / "lora").eval()
    found = loaded.base_model.model.fc1.get_delta_weight("default").detach()
    error = float(torch.linalg.norm(found - delta) / torch.linalg.norm(delta))
    assert written.errors["fc1"] == pytest.approx(error, abs=1e-4)
    assert (error < 1e-4) == exact
    if exact:
        torch.testing.assert_close(loaded(x), model(x), atol=1e-5, rtol=1e-4)


def test_what_no_lora_can_be_is_refused(tmp_path: Path) -> None:
    for method, said in (("ssf", "changes the bias"), ("parallel_adapter", "is no change of a weight")):
        model = adapters.attach(fresh("mlp"), method, **{**arguments(method, "mlp"), "targets": ["fc1"]})
        randomise(model)
        with pytest.raises(InputError, match=said):
            adapters.export_lora(model, tmp_path / method, rank=2)
    both = adapters.attach(fresh("mlp"), {"method": "lora", "targets": ["fc1"]}, {"method": "hut", "targets": ["fc2"]})
    with pytest.raises(InputError, match="a bundle of 2"):
        adapters.export_lora(both, tmp_path / "both")
    assert not (tmp_path / "ssf").exists()
