from __future__ import annotations

import json

import pytest
import torch
from transformers import LlamaConfig, MistralConfig

from domains.relation_extraction.inference.engine import ModelEngine
from domains.relation_extraction.model.bases import choose_dtype, estimate_memory, load_base
from domains.relation_extraction.model.calls import STEPS, Call
from domains.relation_extraction.model.encoding import chat_template
from domains.relation_extraction.model.paradigms import find as protocol
from suite import adapters
from suite.errors import InputError
from suite.generation.memory import cache_bytes
from tests.generation.small_model import PASSAGE, llama, tokenizer

CALLS = {
    "relation": Call("relation", PASSAGE),
    "subject": Call("subject", PASSAGE, relation="spouse"),
    "fact": Call("fact", PASSAGE, relation="spouse", head="Marie Curie"),
}


def with_adapters(*names):
    """The same base and, for each name, the same random adapter, whatever else is attached."""
    model = llama()
    for name in names:
        torch.manual_seed(STEPS.index(name))
        model = adapters.attach(model, "lora", r=4, lora_alpha=16, targets=["q_proj", "v_proj"], name=name)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3)
    return model


def engine(model, **options):
    return ModelEngine(model, tokenizer(), chat_template("suite"), protocol("D_R_H_F"), max_new_tokens=16, **options)


def test_three_adapters_on_one_base_answer_like_three_models():
    """AutoRE loads three whole models with merged adapters; switching on one base must give the same."""
    shared = with_adapters(*STEPS)
    switching = engine(shared, activate=lambda name: adapters.activate(shared, name))
    answers = []
    for step in (*STEPS, *reversed(STEPS)):
        alone = with_adapters(step)
        adapters.merge(alone)
        (expected,) = engine(alone).generate([CALLS[step]])
        (found,) = switching.generate([CALLS[step]])
        assert found.text == expected.text
        answers.append(found.text)
    assert len(set(answers)) == 3


def test_switching_changes_no_memory():
    model = with_adapters(*STEPS)
    size = sum(parameter.numel() for parameter in model.parameters())
    single = sum(parameter.numel() for parameter in with_adapters("fact").parameters())
    base = sum(parameter.numel() for parameter in llama().parameters())
    assert size - base == 3 * (single - base)
    adapters.activate(model, "relation")
    assert sum(parameter.numel() for parameter in model.parameters()) == size


def test_cache_of_the_published_bases():
    mistral = MistralConfig(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8)
    vicuna = LlamaConfig(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32)
    assert cache_bytes(mistral, torch.bfloat16) == 128 * 1024
    assert cache_bytes(vicuna, torch.float16) == 512 * 1024


def test_four_bit_needs_about_a_quarter():
    config = LlamaConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=4, num_attention_heads=8, vocab_size=1000
    )
    whole = estimate_memory(config, None, dtype=torch.bfloat16)
    packed = estimate_memory(config, None, dtype=torch.bfloat16, quantize=True)
    assert 0.25 < packed.base / whole.base < 0.32


def test_base_with_code_of_its_own_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "chatglm", "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"}})
    )
    (tmp_path / "configuration_chatglm.py").write_text("raise SystemExit('executed')")
    with pytest.raises(InputError, match="never run") as error:
        load_base(str(tmp_path))
    assert "\n" not in str(error.value)


def test_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="no model folder"):
        load_base(str(tmp_path))


def test_dtypes():
    assert choose_dtype("auto", "cpu") == torch.float32
    assert choose_dtype("auto", "cuda:0") == torch.bfloat16
    assert choose_dtype("nf4", "cpu") == torch.float32
    with pytest.raises(InputError, match="choose auto"):
        choose_dtype("fp8", "cpu")
