"""Our tuners inside peft: registration, and peft's and transformers' own API on them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType

from suite import adapters
from suite.adapters import registry
from suite.adapters.carriers import TunerConfig
from suite.adapters.methods.reparameterized.krona import KronaConfig
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise, sample


def test_every_method_of_the_installed_peft_is_there():
    known = {PeftType(name).value.lower(): config for name, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    assert set(adapters.methods()) <= set(known)
    assert {name for name, config in known.items() if config.__module__.startswith("peft.")} <= set(adapters.methods())
    assert {"krona", "ssf", "bitfit", "paca", "series_adapter", "parallel_adapter", "visual_prompt"} <= set(known)


def test_registering_twice_is_fine_and_a_foreign_clash_is_not():
    info = adapters.methods()["krona"]
    tuner = PEFT_TYPE_TO_TUNER_MAPPING[PeftType.KRONA]
    adapters.register_tuner(KronaConfig, tuner, info)

    @dataclass
    class Foreign(TunerConfig):
        pass

    with pytest.raises(ValueError, match="already has a method 'krona'"):
        adapters.register_tuner(Foreign, tuner, info)


def test_a_peft_that_refuses_new_members_gets_plain_names(monkeypatch):
    def refuse(*_):
        raise TypeError("no more members")

    info = registry.MethodInfo("trial_method", "additive", "", "suite")
    tuner = type("Trial", (PEFT_TYPE_TO_TUNER_MAPPING[PeftType.KRONA],), {"prefix": "trial_method_"})
    monkeypatch.setattr(registry, "_new_member", refuse)
    try:
        with pytest.warns(RuntimeWarning, match="cannot be extended"):
            adapters.register_tuner(KronaConfig, tuner, info)
        assert PEFT_TYPE_TO_TUNER_MAPPING["TRIAL_METHOD"] is tuner
        assert registry.peft_type_of("trial_method") == "TRIAL_METHOD"
        assert "TRIAL_METHOD" not in PeftType.__members__
    finally:
        for table in (PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING):
            table.pop("TRIAL_METHOD", None)
        registry._METHODS.pop("trial_method", None)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("krona", {"a1": 4, "a2": 8}),
        ("ssf", {}),
        ("bitfit", {"add_missing": True}),
        ("paca", {"r": 4}),
        ("series_adapter", {"bottleneck_size": 4}),
    ],
)
def test_peft_and_transformers_know_our_methods(name, settings, tmp_path):
    x = sample("llama")
    config = registry.build_config(name, settings, ["q_proj", "v_proj"])
    model = get_peft_model(fresh("llama"), config).eval()
    randomise(model)
    output = model(x).logits
    assert model.get_model_status().peft_types == {"default": name.upper()}
    with model.disable_adapter():
        assert torch.equal(model(x).logits, fresh("llama")(x).logits)
    model.save_pretrained(tmp_path / "peft")
    assert PeftConfig.from_pretrained(str(tmp_path / "peft")).peft_type == name.upper()
    assert torch.equal(PeftModel.from_pretrained(fresh("llama"), str(tmp_path / "peft"))(x).logits, output)
    plain = fresh("llama")
    plain.load_adapter(str(tmp_path / "peft"))
    assert torch.equal(plain(x).logits, output)
    if adapters.methods()[name].mergeable:
        torch.testing.assert_close(model.merge_and_unload()(x).logits, output, atol=1e-5, rtol=0)
    else:
        with pytest.raises(ValueError, match="cannot be merged"):
            model.merge_and_unload()
        assert torch.equal(model.unload()(x).logits, fresh("llama")(x).logits)


def test_a_lora_of_ours_needs_nothing_of_ours(tmp_path):
    """Acceptance: the same logits in a process that imports only peft and transformers."""
    model = adapters.attach(fresh("llama"), "lora", r=4, targets=["q_proj", "v_proj"])
    randomise(model)
    x = sample("llama")
    base = fresh("llama")
    base.save_pretrained(tmp_path / "base")
    adapters.save(model, tmp_path / "adapter", base="tiny")
    torch.save({"x": x, "logits": model(x).logits.detach()}, tmp_path / "expected.pt")
    program = (
        "import sys, torch\n"
        "from transformers import AutoModelForCausalLM\nfrom peft import PeftModel\n"
        f"folder = {str(tmp_path)!r}\n"
        "expected = torch.load(folder + '/expected.pt', weights_only=True)\n"
        "base = AutoModelForCausalLM.from_pretrained(folder + '/base')\n"
        "model = PeftModel.from_pretrained(base, folder + '/adapter').eval()\n"
        "assert not any(name.split('.')[0] == 'suite' for name in sys.modules)\n"
        "torch.testing.assert_close(model(expected['x']).logits, expected['logits'], atol=1e-6, rtol=0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_unknown_method_says_what_to_import(tmp_path):
    model = adapters.attach(fresh("mlp"), "krona", targets=["fc1"], a1=4, a2=4)
    adapters.save(model, tmp_path / "a")
    assert "import suite.adapters" in (tmp_path / "a/README.md").read_text()
    config = json.loads((tmp_path / "a/adapter_config.json").read_text())
    (tmp_path / "a/adapter_config.json").write_text(json.dumps({**config, "peft_type": "KRONOS"}))
    with pytest.raises(InputError, match="import the package that registers it"):
        adapters.load(fresh("mlp"), tmp_path / "a")
