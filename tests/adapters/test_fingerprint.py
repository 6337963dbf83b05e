"""Which bases an adapter is put on: the same, with a word another set of weights, never another architecture."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from suite import adapters
from suite.errors import InputError
from tests.adapters.cases import fresh

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}


def silently(model: nn.Module, folder: Path, **options: Any) -> nn.Module:
    """Load without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return adapters.load(model, folder, **options)


@pytest.fixture
def hub_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LlamaForCausalLM]:
    """A maker of the model org/base of the hub, as it stands in the cache."""
    import huggingface_hub.constants
    import huggingface_hub.file_download

    commit, cache = "a" * 40, tmp_path / "hub"
    for module in (huggingface_hub.constants, huggingface_hub.file_download):
        monkeypatch.setattr(module.__dict__.get("constants", module), "HF_HUB_CACHE", str(cache))
    root = cache / "models--org--base"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=61, num_hidden_layers=1, **SIZES)).save_pretrained(
        root / "snapshots" / commit
    )

    def load(**changes: Any) -> LlamaForCausalLM:
        dtype = changes.pop("dtype", torch.float32)
        model = LlamaForCausalLM.from_pretrained("org/base", dtype=dtype, local_files_only=True, cache_dir=str(cache))
        for name, value in changes.items():
            setattr(model.config, name, value)
        return model

    return load


@pytest.mark.parametrize("changes", [{"dtype": torch.bfloat16}, {"use_cache": False}, {"pad_token_id": 0}])
def test_a_hub_model_in_another_dtype_or_with_other_settings_is_the_same_base(hub_model, tmp_path, changes):
    for trained, used in ((changes, {}), ({}, changes)):
        adapters.save(adapters.attach(hub_model(**trained), "lora", targets=["q_proj"]), tmp_path / "a")
        silently(hub_model(**used), tmp_path / "a", strict_base=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("subject", ["vit", "mlp"])
def test_a_model_without_files_in_another_dtype_is_the_same_base(subject, dtype, tmp_path):
    """timm's models and plain modules know no files."""
    for number, (trained, used) in enumerate(((torch.float32, dtype), (dtype, torch.float32), (dtype, dtype))):
        model = adapters.attach(fresh(subject).to(trained), "lora", targets=["fc1"])
        adapters.save(model, tmp_path / str(number))
        silently(fresh(subject).to(used), tmp_path / str(number), strict_base=True)


def test_a_model_in_memory_and_in_its_folder_is_the_same_base(llama, tmp_path):
    adapters.save(adapters.attach(llama(), "lora", targets=["q_proj"]), tmp_path / "a")
    llama().save_pretrained(tmp_path / "base")
    silently(LlamaForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "a", strict_base=True)


def test_other_weights_of_the_same_shapes_are_accepted_with_a_notice_or_refused_when_strict(llama, tokens, tmp_path):
    """A fine-tune of the base."""
    adapters.save(adapters.attach(llama(), "lora", targets=["q_proj"]), tmp_path / "a", base="tiny")
    tuned = llama()
    with torch.no_grad():
        tuned.lm_head.weight.add_(1e-2)
    with pytest.raises(InputError, match=r"was trained on tiny.*other weights") as caught:
        adapters.load(tuned, tmp_path / "a", strict_base=True)
    assert "\n" not in str(caught.value) and adapters.attached(tuned) == []
    with pytest.raises(InputError, match="the check is strict"), adapters.strict_bases():
        adapters.load(tuned, tmp_path / "a")
    with pytest.warns(UserWarning, match="was trained on tiny.*this base is LlamaForCausalLM.*results may differ"):
        model = adapters.load(tuned, tmp_path / "a")
    with pytest.raises(InputError, match="the check is strict"):
        adapters.swap(model, tmp_path / "a", strict_base=True)
    with pytest.warns(UserWarning, match="other weights"):
        adapters.swap(model, tmp_path / "a")


@pytest.mark.parametrize("recorded", ["now", "earlier"])
def test_another_architecture_is_refused_with_both_names(recorded, llama, tmp_path):
    adapters.save(adapters.attach(llama(), "lora", targets=["q_proj"]), tmp_path / "a", base="hf:org/llama")
    if recorded == "earlier":  # before shapes and values were kept
        manifest = json.loads((tmp_path / "a/suite.json").read_text())
        manifest["base"].pop("shapes"), manifest["base"].pop("values")
        (tmp_path / "a/suite.json").write_text(json.dumps(manifest))
    others: list[nn.Module] = [llama().model]
    if recorded == "now":  # a larger vocabulary: every tensor of the adapter would fit
        others.append(LlamaForCausalLM(LlamaConfig(vocab_size=64, num_hidden_layers=2, **SIZES)))
    for other in others:
        with pytest.raises(InputError, match=rf"hf:org/llama.*this base is {type(other).__name__}.*another archit"):
            adapters.load(other, tmp_path / "a")


def test_a_tied_base_on_the_meta_device_has_the_shapes_of_the_real_one():
    from suite.adapters.fingerprint import identify

    def base() -> nn.Module:
        return LlamaForCausalLM(LlamaConfig(vocab_size=61, num_hidden_layers=1, tie_word_embeddings=True, **SIZES))

    with torch.device("meta"):
        empty = base()
    assert identify(empty).shapes == identify(base()).shapes
    assert identify(empty).compared(identify(base()).record()) == "unknown"


def test_an_absent_fingerprint_is_accepted_with_a_notice(llama, tmp_path):
    adapters.save(adapters.attach(llama(), "lora", targets=["q_proj"]), tmp_path / "a")
    (tmp_path / "a/suite.json").unlink()
    with pytest.warns(UserWarning, match="cannot be checked"):
        adapters.load(llama(), tmp_path / "a", strict_base=True)


def test_the_shipped_adapters_are_of_the_shipped_bases():
    """They were saved before shapes and values were kept, and know the fingerprint of the files alone."""
    from suite.hub import paths

    tiny = paths.checkpoints() / "tiny"
    for domain, base in (("relation_extraction", ""), ("point_cloud", "")):
        record = json.loads((tiny / domain / "adapter" / "suite.json").read_text())["base"]
        assert adapters.fingerprint(tiny / domain / "base" / base) == record["fingerprint"]
