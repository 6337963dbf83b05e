"""Lit-LLaMA's files become adapters of ours and back again."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from suite import adapters
from suite.cli.main import main

LAYERS, WIDTH, HEADS, RANK = 3, 32, 4, 2


def lora() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    start = "transformer.h.{}.attn.c_attn.lora_"
    made = {}
    for number in range(LAYERS):
        made[start.format(number) + "A"] = torch.randn(2 * RANK, WIDTH)
        made[start.format(number) + "B"] = torch.randn(2 * WIDTH, RANK)
    return made


def prefix() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    start = "transformer.h.{}.attn."
    made = {}
    for number in range(1, LAYERS):
        made[start.format(number) + "adapter_wte.weight"] = torch.randn(5, WIDTH)
        made[start.format(number) + "gating_factor"] = torch.randn(1, HEADS, 1, 1)
    return made


@pytest.mark.parametrize(
    ("make", "file"), [(lora, "lit-llama-lora-finetuned.pth"), (prefix, "lit-llama-adapter-finetuned.pth")]
)
def test_a_file_goes_both_ways_and_loads_on_a_llama(tmp_path, make, file):
    torch.save(make(), tmp_path / file)
    words = ["adapters", "convert", str(tmp_path / file), str(tmp_path / "ours"), "--domain", "code_review"]
    options = ["--option", "task=comment", "--option", f"heads={HEADS}", "--option", "alpha=5"]
    assert main([*words, *options]) == 0
    manifest = json.loads((tmp_path / "ours" / "suite.json").read_text())
    assert manifest["domain"]["task"] == "comment" and manifest["domain"]["template"]["name"] == "llama-reviewer-v1"
    base = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, vocab_size=96, intermediate_size=48
        )
    ).eval()
    ids = torch.arange(8)[None]
    before = base(ids).logits.detach()
    model = adapters.load(base, tmp_path / "ours")
    assert not torch.allclose(model(ids).logits, before)
    back = [
        "adapters",
        "export",
        f"{tmp_path / 'ours'}",
        str(tmp_path / "back"),
        "--domain",
        "code_review",
        "--official",
    ]
    assert main([*back, "--option", f"heads={HEADS}"]) == 0
    again = torch.load(tmp_path / "back" / file, weights_only=True)
    assert again.keys() == make().keys() and all(torch.equal(again[name], value) for name, value in make().items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda state: state.pop("transformer.h.1.attn.c_attn.lora_A"),
            "transformer.h.1.attn.c_attn.lora_A is missing",
        ),
        (lambda state: state.update(other=torch.ones(1)), "other: no tensor of a LoRA of Lit-LLaMA's"),
        (
            lambda state: state.update({"transformer.h.0.attn.c_attn.lora_A": torch.ones(3, WIDTH)}),
            "are no LoRA of queries and values: expected",
        ),
        (lambda state: state.clear(), "holds neither a LoRA nor a LLaMA-Adapter"),
    ],
)
def test_a_file_that_is_another_thing_is_refused_with_its_tensor(tmp_path, capsys, change, said):
    state = lora()
    change(state)
    torch.save(state or {"x.y": torch.ones(1)}, tmp_path / "a.pth")
    words = ["adapters", "convert", str(tmp_path / "a.pth"), str(tmp_path / "ours"), "--domain", "code_review"]
    assert main([*words, "--option", "task=comment", "--option", f"heads={HEADS}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and (said in err or not state)
    assert not (tmp_path / "ours").exists()
