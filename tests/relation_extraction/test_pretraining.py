"""Pretraining: one row for all calls of a document is the same as separate samples; the copying start copies."""

import random

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from domains.relation_extraction.model.encoding import chat_template
from domains.relation_extraction.model.paradigms import find as protocol
from domains.relation_extraction.tiny import pretraining
from domains.relation_extraction.tiny import rebuild as tiny
from suite.generation.chat import IGNORED
from suite.training.induction import write_induction
from suite.training.muon import orthogonalised


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


def small_llama(vocabulary: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, tie_word_embeddings=True, **shape)).eval()


@pytest.mark.parametrize("text", ["Ünï\u0301 \U0001f600 [INST] </s> a  b\t\n", "Port Karo, 1921.", " 'x' \"y\"\r\n\n "])
def test_tokenizer_gives_any_text_back(tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & {tokenizer.bos_token_id, tokenizer.eos_token_id}


def test_a_name_is_the_same_tokens_wherever_it_stands(tokenizer) -> None:
    def plain(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    name = plain("Marovan Telor Foundry")
    for text in ("Then Marovan Telor Foundry, we", "['Marovan Telor Foundry', 'a']", "a\nMarovan Telor Foundry\nb"):
        ids = plain(text)
        assert any(ids[start : start + len(name)] == name for start in range(len(ids)))


def test_a_row_trains_what_separate_samples_train(tokenizer) -> None:
    passage = next(pretraining.passages(1))
    spoken, template = protocol(pretraining.PROTOCOL), chat_template("suite")
    row = pretraining.encode(tokenizer, passage, random.Random(0))
    batch = pretraining.collate([row])
    model = small_llama(len(tokenizer))
    with torch.no_grad():
        hidden = model.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], position_ids=batch["position_ids"]
        ).last_hidden_state
        together = model.lm_head(hidden)[0]
        asked = pretraining.calls(passage, spoken, random.Random(0))
        assert len(asked) == max(row.blocks)
        for block, (call, answer) in enumerate(asked, 1):
            sample = template.encode_sample(tokenizer, spoken, call, answer, 2048)
            alone = model(input_ids=torch.tensor([sample.input_ids])).logits[0]
            inside = [index for index, value in enumerate(row.blocks) if value == block]
            assert [row.ids[index] for index in inside] == sample.input_ids[-len(inside) :]
            torch.testing.assert_close(together[inside], alone[-len(inside) :], atol=1e-5, rtol=1e-4)
            targets = [label for label in sample.labels if label != IGNORED]
            shifted = [int(batch["labels"][0, index]) for index in inside if batch["labels"][0, index] != IGNORED]
            assert shifted == targets


def test_what_chooses_is_what_opens_or_ends_a_line(tokenizer) -> None:
    ids = tokenizer.encode("['Upper Karo', 'located in', 'Telor']\nnone", add_special_tokens=False)
    chosen = pretraining.chooses(tokenizer, [*ids, tokenizer.eos_token_id])
    opened = [tokenizer.decode([index]) for index, choice in zip(ids, chosen, strict=False) if choice]
    assert opened[0] == "['" and "Upper" in opened and "located" in opened and "\n" in opened and chosen[-1]
    assert "Karo" not in opened and sum(chosen) <= 9


def test_padding_changes_nothing(tokenizer) -> None:
    source = pretraining.passages(2)
    rows = [pretraining.encode(tokenizer, next(source), random.Random(0)) for _ in range(3)]
    model = small_llama(len(tokenizer))
    with torch.no_grad():
        alone = [
            (pretraining.loss(model, batch), batch["weights"].sum()) for batch in map(pretraining.collate, zip(rows))
        ]
        together = pretraining.loss(model, pretraining.collate(rows))
    weight = sum(weight for _, weight in alone)
    torch.testing.assert_close(together, sum(value * part for value, part in alone) / weight)


def test_induction_copies_before_any_training() -> None:
    torch.manual_seed(0)
    model = tiny.untrained(vocabulary=500)
    half = torch.randint(2, 500, (8, 60))
    repeated = half.repeat(1, 2)

    def copied() -> float:
        with torch.no_grad():
            predicted = model(input_ids=repeated).logits[:, 60:-1].argmax(-1)
        return float((predicted == repeated[:, 61:]).float().mean())

    assert copied() > 0.7
    for parameter in model.model.layers[0].self_attn.parameters():
        parameter.data.zero_()
    assert copied() < 0.2


def test_induction_draws_from_its_generator() -> None:
    first, second = tiny.untrained(vocabulary=300), tiny.untrained(vocabulary=300)
    write_induction(second, torch.Generator().manual_seed(5))
    assert not torch.equal(first.model.embed_tokens.weight, second.model.embed_tokens.weight)


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8)])
def test_orthogonalised_keeps_directions_and_levels_singular_values(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    result = orthogonalised(matrices)
    # The quintic iteration settles between 0.7 and 1.2 on purpose.
    assert torch.linalg.svdvals(result).sub(1).abs().max() < 0.35
    assert (torch.linalg.svd(matrices).S / torch.linalg.svd(matrices).S.mean()).sub(1).abs().max() > 0.35
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    assert torch.einsum("nij,nij->n", result, left @ right).min() > 0.85 * min(shape[1:])


def test_pretraining_lowers_the_loss(tokenizer) -> None:
    model = small_llama(len(tokenizer))
    batch = next(pretraining.batches(tokenizer, 1024, pretraining.Phase(1, seed=9), pool=8))
    with torch.no_grad():
        before = pretraining.loss(model, batch)
    lines: list[str] = []
    pretraining.pretrain(
        model, tokenizer, pretraining.Phase(12, seed=1), tokens=1024, embedding_lr=2e-2, notify=lines.append
    )
    with torch.no_grad():
        after = pretraining.loss(model, batch)
    assert after < before - 0.3
    assert lines[-1].startswith("step 12/12")
