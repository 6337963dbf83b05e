"""Methods inside transformers' attentions: what they compute, on which implementations, masks and caches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite import adapters
from suite.adapters.carriers.attention import widened
from suite.adapters.methods.prompt import llama_adapter
from suite.errors import InputError
from tests.adapters.cases import fresh, randomise


def bart(**changes: Any) -> nn.Module:
    from transformers import BartConfig, BartForConditionalGeneration

    sizes = dict(d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4)
    sizes |= dict(encoder_ffn_dim=24, decoder_ffn_dim=24, vocab_size=40, max_position_embeddings=32)
    torch.manual_seed(0)
    return BartForConditionalGeneration(BartConfig(**{**sizes, **changes})).eval()


ATTENTIONS = ["self_attn", "encoder_attn"]


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("method", "settings"), [("prefix_attention", {"tokens": 3}), ("llama_adapter", {"adapter_layers": 1})]
)
def test_a_llama_generates_with_its_cache_as_without(
    method: str, settings: dict[str, int], implementation: str
) -> None:
    model = fresh("llama")
    model.set_attn_implementation(implementation)
    model = adapters.attach(model, method, **settings, targets=["self_attn"])
    randomise(model, scale=0.5)
    ids = torch.randint(1, 61, (2, 5))
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    cached = model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0)
    plain = model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0, use_cache=False)
    assert torch.equal(cached, plain)
    adapted = model(ids, attention_mask=mask).logits
    with adapters.disabled(model):
        base = model(ids, attention_mask=mask).logits
    assert not torch.allclose(adapted, base, atol=1e-3)


def test_implementations_agree_and_padding_is_not_seen() -> None:
    outputs: dict[str, Tensor] = {}
    ids, mask = torch.randint(3, 40, (2, 5)), torch.ones(2, 5, dtype=torch.long)
    mask[0, 3:] = 0
    for implementation in ("sdpa", "eager"):
        model = bart()
        model.set_attn_implementation(implementation)
        torch.manual_seed(1)
        model = adapters.attach(model, "prefix_attention", targets=ATTENTIONS, tokens=2)
        randomise(model, scale=0.5)
        outputs[implementation] = model(ids, attention_mask=mask, decoder_input_ids=ids[:, :3]).logits
        other = torch.where(mask.bool(), ids, 7)
        hidden = model(other, attention_mask=mask, decoder_input_ids=ids[:, :3]).logits
        torch.testing.assert_close(hidden, outputs[implementation], atol=1e-6, rtol=0)
    torch.testing.assert_close(outputs["eager"], outputs["sdpa"], atol=1e-5, rtol=1e-5)


def test_a_prefix_is_one_more_key_and_value_that_all_see() -> None:
    model = fresh("llama")
    attention, x = model.model.layers[0].self_attn, torch.randn(2, 4, 32)
    adapters.attach(model, "prefix_attention", targets=["layers.0.self_attn"], tokens=2)
    randomise(model, scale=0.5)
    key, value = attention.suite_prefix_attention.states("default")
    cos, sin = model.model.rotary_emb(x, torch.arange(4)[None])
    y, _ = attention(x, position_embeddings=(cos, sin), attention_mask=None)

    def heads(states: Tensor) -> Tensor:
        return states.view(*states.shape[:-1], 4, 8).transpose(-2, -3)

    def turned(states: Tensor) -> Tensor:
        half = torch.cat([-states[..., 4:], states[..., :4]], -1)
        return states * cos[:, None] + half * sin[:, None]

    q, k, v = (heads(projection(x)) for projection in (attention.q_proj, attention.k_proj, attention.v_proj))
    keys = torch.cat([heads(key).expand(2, -1, -1, -1), turned(k)], 2)
    values = torch.cat([heads(value).expand(2, -1, -1, -1), v], 2)
    scores = turned(q) @ keys.mT / 8**0.5
    seen = torch.cat([torch.ones(4, 2, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool).tril()], 1)
    mixed = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values
    torch.testing.assert_close(y, attention.o_proj(mixed.transpose(1, 2).flatten(2)), atol=1e-5, rtol=1e-5)


def test_a_hidden_layer_makes_the_prefixes_of_all_attentions_of_a_kind(tmp_path: Path) -> None:
    model = adapters.attach(bart(), "prefix_attention", targets=ATTENTIONS, tokens=2, inner=5)
    kinds = {id(layer.tensor("embedding", "default")) for _, layer in adapters.layers(model)}
    assert len(kinds) == 3
    per_kind = 2 * 16 + 5 * 16 + 5
    assert adapters.count(model).trainable == 3 * per_kind + 6 * (32 * 5 + 32)
    randomise(model)
    ids = torch.randint(3, 40, (2, 5))
    output = model(ids, decoder_input_ids=ids).logits
    adapters.save(model, tmp_path / "a")
    loaded = adapters.load(bart(), tmp_path / "a")
    assert torch.equal(loaded(ids, decoder_input_ids=ids).logits, output)


def test_the_mam_adapter_is_of_the_published_size() -> None:
    with torch.device("meta"):
        sizes = dict(d_model=1024, encoder_layers=12, decoder_layers=12, encoder_ffn_dim=4096, decoder_ffn_dim=4096)
        model = bart(**sizes, encoder_attention_heads=16, decoder_attention_heads=16)
    prefix = {"method": "prefix_attention", "targets": ATTENTIONS, "tokens": 30}
    feed_forward = {"method": "unified_adapter", "targets": r".*layers\.\d+", "reads": "fc1", "adds_to": "fc2"}
    model = adapters.attach(model, prefix, {**feed_forward, "bottleneck_size": 512, "scaling": 4.0})
    assert adapters.count(model).trainable == 27_414_528


def test_gates_are_one_a_head_or_one_a_layer() -> None:
    sizes = {"adapter_len": 3, "adapter_layers": 2}
    per_head = adapters.count(adapters.attach(fresh("llama"), "llama_adapter", **sizes)).trainable
    scalar = adapters.count(adapters.attach(fresh("llama"), "llama_adapter", gate="scalar", **sizes)).trainable
    peft = adapters.attach(fresh("llama"), "adaption_prompt", task_type="CAUSAL_LM", **sizes)
    assert (per_head, scalar) == (2 * (3 * 32 + 4), 2 * (3 * 32 + 1))
    assert adapters.count(peft).trainable == scalar


def test_a_gate_a_layer_is_what_peft_computes() -> None:
    sizes = {"adapter_len": 3, "adapter_layers": 2}
    ours = adapters.attach(fresh("llama"), "llama_adapter", gate="scalar", **sizes)
    peft = adapters.attach(fresh("llama"), "adaption_prompt", task_type="CAUSAL_LM", **sizes)
    theirs = {name: parameter for name, parameter in peft.named_parameters() if parameter.requires_grad}
    randomise(peft, scale=0.5)
    with torch.no_grad():
        for number, (_, layer) in enumerate(adapters.layers(ours)):
            prompt, gate = (
                next(p for name, p in theirs.items() if f"layers.{number}." in name and name.endswith(end))
                for end in ("adaption_prompt", "adaption_gate")
            )
            layer.tensor("prompt", "default").copy_(prompt[0])
            layer.tensor("gate", "default").copy_(gate)
    ids = torch.randint(0, 61, (2, 6))
    torch.testing.assert_close(ours(ids).logits, peft(ids).logits, atol=1e-5, rtol=1e-4)


def test_a_released_file_says_what_it_lacks() -> None:
    state = {"adapter_query.weight": torch.randn(4, 8)} | {
        f"layers.{n}.attention.gate": torch.randn(1, 2, 1, 1) for n in range(3)
    }
    found = llama_adapter.official_tensors(state, 3, 2)
    assert sorted(found) == ["1.gate", "1.prompt", "2.gate", "2.prompt"]
    assert torch.equal(found["2.prompt"], state["adapter_query.weight"][2:])
    with pytest.raises(InputError, match=r"lacks layers\.3\.attention\.gate"):
        llama_adapter.official_tensors(state, 4, 2)
    with pytest.raises(InputError, match="4 prompts are not 3"):
        llama_adapter.official_tensors(state, 3, 3)
    with pytest.raises(InputError, match=r"no file of prompts and gates: norm\.weight"):
        llama_adapter.official_tensors({**state, "norm.weight": torch.ones(2)}, 3, 2)


def test_other_modules_are_refused() -> None:
    with pytest.raises(InputError, match="is no attention of transformers"):
        adapters.attach(fresh("llama"), "prefix_attention", targets=["mlp"])
    with pytest.raises(InputError, match="adapter_layers is 30, the model has 2 layers"):
        adapters.attach(fresh("llama"), "llama_adapter")


def test_a_row_of_several_texts_takes_prompts_but_no_prefixes() -> None:
    """On a GPU packed rows come with their boundaries instead of a mask."""
    ids, boundaries = torch.randint(0, 61, (1, 6)), torch.tensor([0, 2, 6], dtype=torch.int32)
    given = {"cu_seq_lens_q": boundaries, "cu_seq_lens_k": boundaries, "max_length_q": 4, "max_length_k": 4}
    prompts = adapters.attach(fresh("llama"), "llama_adapter", adapter_len=2, adapter_layers=1)
    assert prompts(ids, **given).logits.shape == (1, 6, 61)
    model = adapters.attach(fresh("llama"), "prefix_attention", targets=["self_attn"], tokens=2)
    with pytest.raises(InputError, match="this row is of several texts: train without packing"):
        model(ids, **given)
    with adapters.disabled(model):
        model(ids, **given)


def test_masks_of_every_kind_let_prefixes_be_seen() -> None:
    query = key = torch.zeros(1, 1, 3, 4)
    added = widened(torch.full((1, 1, 3, 3), -1.0), query, key, 2, causal=True)
    truth = widened(torch.zeros(1, 1, 3, 3, dtype=torch.bool), query, key, 2, causal=True)
    padding = widened(torch.tensor([[0, 1, 1]]), query, key, 2, causal=True)
    assert added is not None and truth is not None and padding is not None
    assert added[..., :2].eq(0).all() and truth[..., :2].all() and padding.tolist() == [[1, 1, 0, 1, 1]]
    assert widened(None, query, key, 2, causal=False) is None
    past = widened(None, query, key, 2, causal=True)
    assert past is not None and past[0, 0].tolist()[0] == [True, True, True, False, False]
    with pytest.raises(InputError, match="a dict takes no further keys"):
        widened({}, query, key, 2, causal=True)  # type: ignore[arg-type]
