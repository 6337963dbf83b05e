"""`suite adapters merge`: the written model gives the adapter's output, or one line says why it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from suite import adapters
from suite.cli import merging
from suite.errors import InputError
from tests.adapters.cases import randomise


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def base(**changes: Any) -> LlamaForCausalLM:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=31, **sizes, **changes)).save_pretrained("base")
    return LlamaForCausalLM.from_pretrained("./base")


def merged_by(model: torch.nn.Module) -> torch.Tensor:
    """The adapter's output, and the merged folder `out`."""
    randomise(model, scale=0.1)
    adapters.save(model, "a")
    merging.merge("./a", Path("out"), name=None, domain=None, base="./base")
    return model(torch.arange(6)[None]).logits


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "lora", "modules_to_save": ["lm_head"]},
        {"method": "lora", "trainable_token_indices": [1, 2]},
        {"method": "vera"},
        {"method": "krona", "a1": 4, "a2": 4},
    ],
    ids=["modules", "tokens", "vera", "krona"],
)
def test_the_written_model_gives_the_adapters_output(folder: Path, settings: dict[str, Any]) -> None:
    output = merged_by(adapters.attach(base(), settings, targets=["q_proj", "down_proj"]))
    found = LlamaForCausalLM.from_pretrained("./out")(torch.arange(6)[None]).logits
    torch.testing.assert_close(found, output, atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", [{"method": "ssf"}, {"method": "bitfit", "add_missing": True}])
def test_biases_that_the_base_has_no_place_for_are_refused(folder: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"has no place for model\.layers\.0\.self_attn\.q_proj\.bias and 1 more"):
        merged_by(adapters.attach(base(), settings, targets=["q_proj", "down_proj"]))
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "how", [{"targets": ["lm_head"]}, {"targets": ["embed_tokens"]}, {"train": ["lm_head.weight"]}]
)
def test_a_tied_weight_is_refused(folder: Path, how: dict[str, Any]) -> None:
    model = base(tie_word_embeddings=True)
    with pytest.raises(InputError, match=r"is tied to|is one with another weight|tied"):
        merged_by(adapters.attach(model, *([] if "train" in how else ["lora"]), **how))
    assert not Path("out").exists()
