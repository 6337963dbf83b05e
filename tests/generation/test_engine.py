"""The engine: a batch equals single runs, a stream equals its answers, and constraints hold."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from suite import adapters
from suite.errors import InputError
from suite.generation.attention import attention
from suite.generation.constraints import AnswerLines, OneOf
from suite.generation.engine import Engine, Request
from suite.generation.kvcache import GrowingLayer
from suite.generation.sampling import Sampling
from suite.generation.vocabulary import Vocabulary
from tests.generation.small_model import PASSAGE, SCHEMA, llama, tokenizer

WORDS = PASSAGE.split()
TEXTS = ["Warsaw", PASSAGE, f"{PASSAGE} And more .", " ".join(WORDS[:9]), " ".join(WORDS[:12]), "東京都"]


def engine(model=None, **options) -> Engine:
    words = tokenizer()
    return Engine(model or llama(), [words.eos_token_id], Vocabulary(words), **{"max_new_tokens": 16, **options})


def requests(**options) -> list[Request]:
    return [Request(tokenizer().encode(text), seed=n, **options) for n, text in enumerate(TEXTS)]


@pytest.mark.parametrize("sampling", [None, Sampling(0.9, top_k=20, top_p=0.8), Sampling(1.3)])
@pytest.mark.parametrize("backend", ["batched", "prefix"])
def test_a_batch_equals_single_runs(backend, sampling):
    """The engine's self-check: what stands beside a prompt, and in which order, changes nothing of its answer."""
    alone = [engine(backend="sequential").generate([one], sampling)[0] for one in requests()]
    for size in (1, 2, 4, 16):
        together = engine(backend=backend, batch_size=size).generate(requests(), sampling)
        assert [answer.tokens for answer in together] == [answer.tokens for answer in alone]
        for ours, theirs in zip(together, alone, strict=True):
            assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    assert len({answer.tokens for answer in alone}) == len(TEXTS)


def test_a_stream_is_its_answers_token_by_token():
    streamed: dict[int, list[int]] = {number: [] for number in range(len(TEXTS))}
    answers = {}
    for event in engine(batch_size=4).stream(requests()):
        if event.token is not None:
            streamed[event.index].append(event.token)
        if event.answer is not None:
            answers[event.index] = event.answer
    whole = engine(batch_size=4).generate(requests())
    assert [answers[number] for number in range(len(TEXTS))] == whole
    assert [tuple(streamed[number]) for number in range(len(TEXTS))] == [answer.tokens for answer in whole]


def test_the_reader_of_a_stream_may_train_between_two_tokens():
    model, modes = llama().train(), set()
    model.register_forward_pre_hook(lambda *_: modes.add((torch.is_inference_mode_enabled(), model.training)))
    stream = engine(model).stream(requests())
    assert len(list(islice(stream, 3))) == 3
    assert modes == {(True, False)}
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
    weight = torch.nn.Parameter(torch.ones(2))
    (weight * weight).sum().backward()
    assert weight.grad.tolist() == [2.0, 2.0]
    stream.close()
    assert model.training


class Scarce(torch.nn.Module):
    """A model whose memory holds `most` rows, from the third forward on."""

    def __init__(self, model, most):
        super().__init__()
        self.inner, self.most, self.config, self.forwards = model, most, model.config, 0

    def forward(self, input_ids, **inputs):
        self.forwards += 1
        if self.forwards > 3 and input_ids.shape[0] > self.most:
            raise torch.OutOfMemoryError("no memory")
        return self.inner(input_ids=input_ids, **inputs)


def test_a_stream_repeats_nothing_where_memory_ran_out():
    made = engine(Scarce(llama(), 2), batch_size=4, backend="batched")
    events = list(made.stream(requests()))
    assert made.batch_size == 2
    whole = engine(batch_size=2, backend="batched").generate(requests())
    for number, answer in enumerate(whole):
        assert tuple(e.token for e in events if e.index == number and e.token is not None) == answer.tokens


def test_answers_keep_to_their_constraint():
    names = SCHEMA.names[:3]
    constraint = AnswerLines([OneOf(names, quoted=False)])
    made = engine(max_new_tokens=64)
    for answer in made.generate(requests(constraint=constraint)):
        lines = made.vocabulary.decode(answer.tokens)[0].split("\n")
        assert answer.complete and set(lines) <= set(names) and len(set(lines)) == len(lines)
    with pytest.raises(ValueError, match="give the engine a Vocabulary"):
        Engine(llama(), [2]).generate(requests(constraint=constraint))


def test_it_counts_what_it_costs():
    made = engine(backend="prefix")
    answers = made.generate(requests())
    prompts = sum(len(request.prompt) for request in requests())
    assert (made.counters.calls, made.counters.prompt_tokens) == (len(TEXTS), prompts)
    assert made.counters.prefilled_tokens < prompts
    assert made.counters.generated_tokens == sum(len(answer.tokens) for answer in answers)
    assert made.generate([]) == []


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(InputError, match="batch size of 0"):
        engine(batch_size=0)


def test_an_answer_ends_where_its_request_says():
    whole = engine().generate(requests())
    cut = engine().generate(requests(ends=lambda tokens: len(tokens) == 3))
    assert [answer.tokens for answer in cut] == [answer.tokens[:3] for answer in whole]
    assert all(answer.complete for answer in cut) and not all(answer.complete for answer in whole)


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning"])
@pytest.mark.parametrize("backend", ["sequential", "prefix"])
def test_virtual_tokens_stand_before_every_prompt_once(method, backend):
    """As transformers generates, which puts them in front at every forward; and not at all where they are off."""
    torch.manual_seed(3)
    settings = {"method": method, "num_virtual_tokens": 5, "task_type": "CAUSAL_LM"}
    model = adapters.attach(llama(), settings)
    with torch.no_grad():
        for parameter in model.prompt_encoder.parameters():
            parameter.normal_(0, 1.5)
    plain = engine(backend=backend, batch_size=4).generate(requests())
    found = engine(model, backend=backend, batch_size=4).generate(requests())
    for request, answer in zip(requests(), found, strict=True):
        wanted = model.generate(
            input_ids=torch.tensor([request.prompt]), max_new_tokens=16, do_sample=False, pad_token_id=0
        )[0, len(request.prompt) :]
        assert answer.tokens == tuple(t for t in wanted.tolist() if t != tokenizer().eos_token_id)
    assert [answer.tokens for answer in found] != [answer.tokens for answer in plain]
    with adapters.disabled(model):
        bare = engine(model, backend=backend, batch_size=4).generate(requests())
    assert [answer.tokens for answer in bare] == [answer.tokens for answer in plain]


def adapted():
    """A model with two adapters that say other things than it does."""
    model = llama()
    for number, name in enumerate(("one", "two")):
        torch.manual_seed(number)
        model = adapters.attach(model, "lora", targets=["q_proj", "v_proj"], r=4, init_lora_weights=False, name=name)
    return model


@pytest.mark.parametrize("backend", ["batched", "prefix"])
def test_requests_of_several_adapters_share_a_batch(backend):
    model, alone = adapted(), []
    for name in ("one", "two"):
        adapters.activate(model, name)
        alone.append(engine(model, backend="sequential").generate(requests()))
    with adapters.disabled(model):
        alone.append(engine(model, backend="sequential").generate(requests()))
    assert len({tuple(answer.tokens for answer in answers) for answers in alone}) == 3
    mixed = [request for name in ("one", "two", None) for request in requests(adapter=name)]
    together = engine(model, backend=backend, batch_size=7).generate(mixed)
    flat = [answer for answers in alone for answer in answers]
    assert [answer.tokens for answer in together] == [answer.tokens for answer in flat]
    for ours, theirs in zip(together, flat, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)


@pytest.mark.parametrize("backend", ["batched", "prefix"])
def test_logits_behind_prompts_are_those_of_the_model_itself(backend):
    model = llama()
    prompts = [request.prompt for request in requests()]
    found = engine(model, backend=backend, batch_size=4).next_logits(prompts)
    for row, prompt in zip(found, prompts, strict=True):
        with torch.inference_mode():
            assert torch.allclose(row, model(torch.tensor([prompt])).logits[0, -1].float(), atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_shared_prefix_is_the_same_for_every_batch_that_needs_it(size):
    """The last batch of a longer group, and so one row alone, may be followed by others of the same prefix."""
    prompts = [tokenizer().encode(f"{PASSAGE} {word}") for word in WORDS[:5]]
    made = engine(backend="prefix", batch_size=size)
    alone = torch.cat([engine(backend="sequential").next_logits([one]) for one in prompts])
    torch.testing.assert_close(made.next_logits(prompts), alone, atol=1e-5, rtol=0)
    assert made.counters.prefilled_tokens < sum(map(len, prompts))


def test_what_prompts_begin_with_can_be_kept_for_later_engines():
    model, words = llama(), tokenizer()
    first = engine(model)
    start = words.encode(PASSAGE)
    frame = first.frame(start)
    assert first.counters.prefilled_tokens == len(start)
    prompts = [[*start, *words.encode(text)] for text in TEXTS[:3]]
    plain, framed = engine(model), engine(model, frame=frame)
    for _ in range(2):  # a frame is not used up
        torch.testing.assert_close(framed.next_logits(prompts), plain.next_logits(prompts), atol=1e-4, rtol=0)
        given = [Request(prompt) for prompt in prompts]
        assert [one.tokens for one in framed.generate(given)] == [one.tokens for one in plain.generate(given)]
    rest = sum(map(len, prompts)) - len(start) * len(prompts)
    assert framed.counters.prefilled_tokens <= 4 * rest
    # A prompt that begins otherwise, or is nothing but the frame, is forwarded whole.
    others = [words.encode("Warsaw"), start]
    torch.testing.assert_close(framed.next_logits(others), plain.next_logits(others), atol=1e-4, rtol=0)


def test_keys_and_values_grow_in_place_and_leave_what_they_began_with():
    torch.manual_seed(0)
    begun = [torch.randn(2, 3, 5, 4) for _ in range(2)]
    before = [part.clone() for part in begun]
    layer, wanted = GrowingLayer(), [*begun]
    layer.update(*begun)
    for step in (1, 1, 7, 100, 1):
        new = [torch.randn(2, 3, step, 4) for _ in range(2)]
        wanted = [torch.cat([old, more], 2) for old, more in zip(wanted, new, strict=True)]
        place = layer.keys.data_ptr()
        for found, one in zip(layer.update(*new), wanted, strict=True):
            assert torch.equal(found, one)
    assert layer.keys.data_ptr() == place, "the last token was written beside the others"
    assert all(torch.equal(now, then) for now, then in zip(begun, before, strict=True))
    layer.keys, layer.values = layer.keys[:1], layer.values[:1]
    new = [torch.randn(1, 3, 1, 4) for _ in range(2)]
    assert torch.equal(layer.update(*new)[0], torch.cat([wanted[0][:1], new[0]], 2))


@pytest.mark.parametrize("heads", [4, 2])
def test_a_single_token_in_half_precision_attends_as_before(heads):
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, n, t, 8, dtype=torch.bfloat16) for n, t in ((4, 1), (heads, 9), (heads, 9)))
    mask = torch.ones(3, 1, 1, 9, dtype=torch.bool)
    mask[1, ..., :4] = False
    layer = torch.nn.Module()
    layer.num_key_value_groups = 4 // heads
    for given in (mask, None):
        ours, theirs = (f(layer, query, key, value, given)[0] for f in (attention, sdpa_attention_forward))
        torch.testing.assert_close(ours, theirs, atol=2e-2, rtol=2e-2)
    model = llama().to(torch.bfloat16)
    seen = set()
    model.model.layers[0].register_forward_pre_hook(lambda *_: seen.add(model.config._attn_implementation))
    engine(model).generate(requests()[:2])
    assert seen == {"suite_single_token"} and model.config._attn_implementation == "sdpa"


def test_how_likely_answers_are():
    model, words = llama(), tokenizer()
    prompts, answers = [words.encode("Warsaw"), words.encode(PASSAGE)], [[5, 6, 7], [8]]
    found = engine(model, batch_size=3).logprobs(prompts, answers)
    for value, prompt, answer in zip(found, prompts, answers, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
        whole = sum(logits[len(prompt) - 1 + at, token] for at, token in enumerate(answer))
        assert value == pytest.approx(float(whole), abs=1e-3)
