from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from domains.relation_extraction.inference.constraints import constraint_for
from domains.relation_extraction.inference.engine import ModelEngine
from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.model.encoding import chat_template
from domains.relation_extraction.model.paradigms import find as protocol
from suite.errors import InputError
from tests.generation.small_model import PASSAGE, SCHEMA, llama, mistral, tokenizer

OTHER = "Paris is in France . The Seine flows through it ."


def fact_calls() -> list[Call]:
    """Calls on two documents, several heads and relations each, of very different lengths."""
    calls = [
        Call("fact", PASSAGE, relation=relation, description=f"what {relation} means", head=head)
        for relation in SCHEMA.names[:3]
        for head in ("Marie Curie", "Warsaw", "Łódź")
    ]
    calls += [Call("fact", OTHER, relation="part of", description="inside", head=head) for head in ("Paris", "Seine")]
    return calls


def engine(model=None, identifier="suite-v1/D_R_H_F_desc", **options) -> ModelEngine:
    options = {"max_new_tokens": 24, **options}
    return ModelEngine(model or llama(), tokenizer(), chat_template("suite"), protocol(identifier), **options)


@pytest.mark.parametrize("identifier", ["suite-v1/D_R_H_F_desc", "autore-official/D_R_H_F_desc"])
@pytest.mark.parametrize("constrained", [False, True])
def test_acceptance_13_8_back_ends_answer_alike(identifier, constrained):
    constraint = partial(constraint_for, schema=SCHEMA) if constrained else None
    calls = fact_calls()
    reference = engine(identifier=identifier, backend="sequential").generate(calls, constraint=constraint)
    for backend in ("batched", "prefix"):
        found = engine(identifier=identifier, backend=backend, batch_size=4).generate(calls, constraint=constraint)
        assert [(g.text, g.complete, g.offsets) for g in found] == [(g.text, g.complete, g.offsets) for g in reference]
        for ours, theirs in zip(found, reference, strict=True):
            assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    assert len({generation.text for generation in reference}) > 5  # the answers depend on the prompts


def test_sequential_back_end_is_transformers_generate():
    model, words = llama(), tokenizer()
    reference = engine(model, backend="sequential")
    for call in fact_calls()[:4]:
        prompt = torch.tensor([reference.encode(call)])
        expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24)
        text = words.decode(expected[0, prompt.shape[1] :], skip_special_tokens=True)
        assert reference.generate([call])[0].text == text


def test_prefix_back_end_forwards_what_is_shared_once():
    calls = fact_calls()
    plain, shared = engine(backend="batched"), engine(backend="prefix", batch_size=3)
    plain.generate(calls)
    shared.generate(calls)
    prompts = [plain.encode(call) for call in calls]
    assert plain.counters.prefilled_tokens == plain.counters.prompt_tokens == sum(map(len, prompts))
    assert shared.counters.prompt_tokens == plain.counters.prompt_tokens
    passage = len(chat_template("suite").encode(tokenizer(), [f"Document:\n{PASSAGE}\n"])) + 1
    assert shared.counters.prefilled_tokens < plain.counters.prompt_tokens - 7 * passage


def test_answers_do_not_depend_on_the_back_end_when_sampling():
    calls = fact_calls()[:6]
    answers = [
        [g.text for g in engine(backend=backend, decoding="official", seed=seed).generate(calls)]
        for backend, seed in (("sequential", 1), ("prefix", 1), ("prefix", 2))
    ]
    assert answers[0] == answers[1]
    assert answers[1] != answers[2]


def test_a_further_attempt_samples_anew():
    greedy = engine()
    call = fact_calls()[:1]
    first, again = greedy.generate(call), greedy.generate(call)
    assert first == again
    retries = {greedy.generate(call, attempt=attempt)[0].text for attempt in (1, 2, 3)}
    assert len(retries) > 1
    assert retries == {greedy.generate(call, attempt=attempt)[0].text for attempt in (1, 2, 3)}


def test_offsets_end_at_the_tokens():
    generation = engine(max_new_tokens=4).generate(fact_calls()[:1])[0]
    assert len(generation.offsets) == len(generation.logprobs) == 4
    assert list(generation.offsets) == sorted(generation.offsets)
    assert generation.offsets[-1] == len(generation.text)
    assert not generation.complete
    assert all(value <= 0 for value in generation.logprobs)


class Scarce(torch.nn.Module):
    """A model whose memory holds `most` rows."""

    def __init__(self, model, most):
        super().__init__()
        self.inner, self.most, self.config = model, most, model.config

    def forward(self, input_ids, **inputs):
        if input_ids.shape[0] > self.most:
            raise torch.OutOfMemoryError("no memory")
        return self.inner(input_ids=input_ids, **inputs)


def test_out_of_memory_halves_the_batch():
    calls, notices = fact_calls(), []
    found = engine(Scarce(llama(), 3), batch_size=8, notify=notices.append).generate(calls)
    assert notices == [f"out of memory: going on with batches of {size}" for size in (4, 2)]
    assert found == engine(batch_size=2).generate(calls)
    with pytest.raises(torch.OutOfMemoryError):
        engine(Scarce(llama(), 0), batch_size=2).generate(calls)


def test_each_step_asks_its_adapter():
    asked = []
    three = engine(activate=asked.append)
    one = engine(activate=asked.append, layout="single")
    call = fact_calls()[0]
    for each in (three, one):
        each.generate([replace(call, step="relation", relation=None, head=None)])
        each.generate([replace(call, step="subject", head=None)])
        each.generate([call])
    assert asked == ["relation", "subject", "fact", "joint", "joint", "joint"]
    with pytest.raises(ValueError, match="one step"):
        three.generate([call, replace(call, step="subject")])


def test_refuses_what_would_be_wrong():
    with pytest.raises(InputError, match="batch size of 0"):
        engine(batch_size=0)
    with pytest.raises(InputError, match="sliding"):
        engine(mistral(sliding_window=8), backend="prefix")
    engine(mistral(sliding_window=8), backend="sequential")


def test_no_calls_no_answers():
    assert engine().generate([]) == []
