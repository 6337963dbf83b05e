"""The commands that belong to no domain: `methods`, `doctor`, `adapters`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from suite import adapters
from suite.cli import doctor
from tests.cli.conftest import Command


def test_methods_lists_and_shows(suite: Command) -> None:
    listed = suite("methods", "--json").json()["methods"]
    assert {"lora", "krona"} <= {method["name"] for method in listed}
    assert "krona" in suite("methods").out
    shown = suite("methods", "lora", "--json").json()
    assert shown["source"] == "peft"
    assert shown["options"]["r"] == 8
    assert "r = 8" in suite("methods", "lora").out


def test_doctor_tells_what_there_is(suite: Command) -> None:
    facts = suite("doctor", "--json").json()
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert facts["devices"][0]["name"] == "cpu"
    assert {"relation_extraction", "point_cloud", "audiocraft"} <= set(facts["extras"])
    assert not {"all", "dev"} & set(facts["extras"])


def test_doctor_names_what_an_extra_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ['absent-package>=2; extra == "some-domain"', 'torch>=99; extra == "some-domain"', "torch>=2"]
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    lacks = doctor.lacking("some_domain")
    assert [line.partition(">")[0] for line in lacks] == ["absent-package", "torch"]
    assert doctor.lacking("other") == []


def test_adapters_without_a_verb_is_help(suite: Command) -> None:
    outcome = suite("adapters")
    assert outcome.code == 0
    verbs = ("list", "show", "pull", "push", "verify", "merge", "convert", "export", "swap")
    assert all(f"  {verb} " in outcome.out for verb in verbs)


def test_adapters_list(suite: Command) -> None:
    assert "entries" in suite("adapters", "list", "--json").json()
    assert suite("adapters", "list", "--domain", "relation_extraction").code == 0
    assert suite("adapters", "list", "--domain", "nowhere").code == 2


@pytest.fixture
def llama(tmp_path: Path) -> LlamaForCausalLM:
    """A tiny base in `base/`, with two LoRA adapters of different weights in `one/` and `two/`."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, num_hidden_layers=1, **sizes)).eval()
    model.save_pretrained(tmp_path / "base")
    for name in ("one", "two"):
        adapters.attach(model, "lora", targets=["q_proj", "v_proj"], r=2, name=name)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.normal_()
        adapters.save(model, tmp_path / name, name=name)
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(8)[None]).logits


def test_merge_and_swap(suite: Command, llama: LlamaForCausalLM, tmp_path: Path) -> None:
    merged = suite("adapters", "merge", "./one", "merged", "--base", "./base", "--json")
    assert merged.code == 0, merged.err
    adapters.activate(llama, "one")
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"))
    torch.testing.assert_close(found, logits(llama), atol=1e-5, rtol=0)

    assert suite("adapters", "swap", "merged", "./two").code == 0
    adapters.activate(llama, "two")
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"))
    torch.testing.assert_close(found, logits(llama), atol=1e-5, rtol=0)


def test_swap_refuses_a_model_that_was_not_merged(suite: Command, llama: LlamaForCausalLM) -> None:
    outcome = suite("adapters", "swap", "base", "./one")
    assert outcome.code == 2
    assert "only a model that suite adapters merge wrote" in outcome.err


def test_merge_needs_a_base(suite: Command, llama: LlamaForCausalLM, tmp_path: Path) -> None:
    manifest = tmp_path / "one" / "suite.json"
    assert json.loads(manifest.read_text())["base"]["reference"] is None
    outcome = suite("adapters", "merge", "./one", "merged")
    assert outcome.code == 2
    assert "--base" in outcome.err
    assert not Path("merged").exists()
