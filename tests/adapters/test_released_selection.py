"""Released files of LoReFT, NeuroAda and LoFiT as adapters of ours, and what is none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from suite import adapters
from suite.adapters import released_selection
from suite.adapters.methods.representation import loreft
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise, sample

pytestmark = pytest.mark.filterwarnings("ignore:.*cannot be checked")


def attached(method: str, **settings: Any) -> nn.Module:
    model = adapters.attach(fresh("llama"), method, **settings).eval()
    randomise(model, 0.3)
    return model


def same(model: nn.Module, folder: Path) -> None:
    loaded = adapters.load(fresh("llama"), folder).eval()
    torch.testing.assert_close(loaded(sample("llama")).logits, model(sample("llama")).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_interventions_of_pyreft(tied: bool, tmp_path: Path) -> None:
    model = attached("loreft", r=2, positions="f2+l2", tied=tied)
    files = loreft.official_files({n: layer for n, (_, layer) in enumerate(adapters.layers(model))})
    (tmp_path / "theirs").mkdir()
    for name, state in files.items():
        torch.save(state, tmp_path / "theirs" / name)
    released_selection.loreft(tmp_path / "theirs", tmp_path / "ours", positions="f2+l2")
    same(model, tmp_path / "ours")
    with pytest.raises(InputError, match="there are no interventions"):
        released_selection.loreft(tmp_path / "ours", tmp_path / "none")


def test_bypasses_of_neuroada(tmp_path: Path) -> None:
    model = attached("neuroada", targets=["q_proj", "up_proj"], k=2)
    state = {}
    for _, layer in adapters.layers(model):
        state[f"{layer.target}.weight_new"] = layer.trained("default").detach()
        state[f"{layer.target}.weight_position_new"] = layer.places("default").long()
    torch.save(state, tmp_path / "theirs.pt")
    released_selection.neuroada(tmp_path / "theirs.pt", tmp_path / "ours", k=2)
    same(model, tmp_path / "ours")
    with pytest.raises(InputError, match="which are not those of k=7"):
        released_selection.neuroada(tmp_path / "theirs.pt", tmp_path / "none", k=7)


def test_offsets_of_lofit(tmp_path: Path) -> None:
    heads = {"model.layers.0.self_attn.o_proj": [1, 3], "model.layers.1.self_attn.o_proj": [0]}
    model = attached("lofit", targets=[*heads], heads=heads)
    state = {f"model.layers.{block}.self_attn.attn_v.{head}": torch.zeros(8) for block in (0, 1) for head in range(4)}
    for _, layer in adapters.layers(model):
        for head, offset in zip(heads[layer.target], layer.tensor("offset", "default").detach(), strict=True):
            state[f"{layer.target.removesuffix('o_proj')}attn_v.{head}"] = offset
    torch.save(state, tmp_path / "theirs.pt")
    released_selection.lofit(tmp_path / "theirs.pt", tmp_path / "ours", num_heads=4)
    same(model, tmp_path / "ours")
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="no head has an offset"):
        released_selection.lofit(tmp_path / "other.pt", tmp_path / "none")
