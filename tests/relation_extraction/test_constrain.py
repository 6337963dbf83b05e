from __future__ import annotations

import ast
import random
from functools import partial
from types import SimpleNamespace

import pytest

from domains.relation_extraction.inference.constraints import constraint_for
from domains.relation_extraction.inference.engine import ModelEngine
from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.model.encoding import chat_template
from domains.relation_extraction.model.paradigms import find as protocol
from suite.generation.constraints import advance
from suite.generation.vocabulary import Vocabulary
from tests.generation.small_model import PASSAGE, SCHEMA, llama, tokenizer

FACT = Call("fact", PASSAGE, relation="spouse", description="married to", head="Marie Curie")


def accepted(call: Call, answer: str, **options) -> bool:
    constraint = constraint_for(call, SCHEMA, **options)
    state = advance(constraint, constraint.start, answer.encode())
    return state is not None and constraint.accepts(state)


@pytest.mark.parametrize(
    ("answer", "well_formed"),
    [
        ("part of", True),
        ("part of the series\npart of", True),
        ("languages spoken, written or signed\nspouse", True),
        ("", False),
        ("part", False),
        ("Spouse", False),
        ("spouse\n", False),
        ("spouse\nspouse", False),
        ("\n".join(SCHEMA.names), True),
        ("\n".join(SCHEMA.names) + "\n", False),
        ("none", False),
    ],
)
def test_relation_lines(answer, well_formed):
    assert accepted(Call("relation", PASSAGE), answer) is well_formed


@pytest.mark.parametrize(
    ("answer", "well_formed"),
    [
        ("Marie Curie\nWarsaw", True),
        ("O'Brien", True),
        ("東京", True),
        ("Łódź", True),
        ("Mari", False),
        ("arie Curie", False),
        (" Warsaw", False),
        ("Warsaw ", False),
        ("Warsaw\nWarsaw", False),
        ("London", False),
        (" ".join(PASSAGE.split()[:20]), True),
        (" ".join(PASSAGE.split()[:21]), False),
    ],
)
def test_head_lines(answer, well_formed):
    assert accepted(Call("subject", PASSAGE, relation="spouse"), answer) is well_formed


@pytest.mark.parametrize(
    ("head", "relation", "tail", "well_formed"),
    [
        ("Marie Curie", "spouse", "Pierre Curie", True),
        ("Marie Curie", "spouse", "Marie Curie", False),
        ("Marie Curie", "spouse", "Curie", True),
        ("Marie Curie", "part of", "Poland", False),
        ("Warsaw", "spouse", "Poland", False),
        ("Marie Curie", "spouse", "Paris", False),
        ("Marie Curie", "spouse", "O'Brien", True),
        ("Marie Curie", "spouse", '" Radioactivity "', True),
        ("Marie Curie", "spouse", "O'Brien , the \"King's\" friend", True),
        ("Marie Curie", "spouse", "東京都 honour O'Brien", True),
    ],
)
def test_fact_lines(head, relation, tail, well_formed):
    assert accepted(FACT, repr([head, relation, tail])) is well_formed


def test_fact_lines_are_as_python_writes_them():
    assert not accepted(FACT, """["Marie Curie", "spouse", "Pierre Curie"]""")
    assert not accepted(FACT, """['Marie Curie','spouse','Pierre Curie']""")
    assert not accepted(FACT, """['Marie Curie', 'spouse', 'O\\'Brien']""")  # repr uses double quotes here
    assert not accepted(FACT, """['Marie Curie', 'spouse', "Pierre Curie"]""")
    assert accepted(FACT, "['Marie Curie', 'spouse', 'Poland']\n['Marie Curie', 'spouse', 'Warsaw']")
    assert not accepted(FACT, "['Marie Curie', 'spouse', 'Poland']\n['Marie Curie', 'spouse', 'Poland']")


def test_facts_of_the_other_paradigms():
    assert accepted(Call("fact", PASSAGE, relation="spouse"), "['Pierre Curie', 'spouse', 'Marie Curie']")
    assert accepted(Call("fact", PASSAGE), "['Warsaw', 'part of', 'Poland']\n['Poland', 'part of', 'Warsaw']")
    listed = Call("fact", PASSAGE, relations=("part of",))
    assert accepted(listed, "['Warsaw', 'part of', 'Poland']")
    assert not accepted(listed, "['Warsaw', 'spouse', 'Poland']")
    assert not accepted(listed, "['Poland', 'part of', 'Poland']")


def test_characters_that_python_escapes():
    passage = "Tab\there , no\u00a0break and back\\slash by Zoë ."
    call = Call("fact", passage, relation="spouse", head="Zoë")
    for tail in ("Tab\there", "no\u00a0break", "back\\slash"):
        assert accepted(call, repr(["Zoë", "spouse", tail]))


def test_lines_do_not_cross_newlines_of_the_passage():
    call = Call("subject", "Ann met\nBob .", relation="spouse")
    assert accepted(call, "Ann met\nBob")
    assert accepted(call, "Bob\nAnn met")
    index_crossing = constraint_for(Call("fact", "Ann met\nBob .", relation="spouse", head="Ann"), SCHEMA)
    assert advance(index_crossing, index_crossing.start, repr(["Ann", "spouse", "met\nBob"]).encode()) is None


def test_explicit_empty_answer():
    for call in (Call("relation", "none of it"), Call("subject", "none of it", relation="spouse"), FACT):
        assert accepted(call, "none", empty="none")
    assert accepted(Call("subject", "none of it", relation="spouse"), "none of", empty="none")
    assert not accepted(FACT, "none\nnone", empty="none")
    assert not accepted(FACT, "none")


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
def test_vocabulary_is_what_the_tokenizer_decodes(kind):
    words = tokenizer(kind)
    vocabulary = Vocabulary(words)
    for text in (PASSAGE, "spouse\npart of", "東京都", " two  blanks ", repr(["O'Brien", "x", '"'])):
        ids = words.encode(text, add_special_tokens=False)
        decoded, ends = vocabulary.decode(ids)
        assert decoded == words.decode(ids, clean_up_tokenization_spaces=False)
        assert len(ends) == len(ids)
        assert ends[-1] == len(decoded)
    assert vocabulary.strips_first_space is (kind == "sentencepiece")
    assert vocabulary.decode([words.eos_token_id])[0] == ""


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
def test_masks_allow_exactly_what_keeps_the_automaton_alive(kind):
    """Against the plain definition: every token's bytes are tried one by one, along random walks."""
    vocabulary, source = Vocabulary(tokenizer(kind)), random.Random(0)
    for call in (Call("relation", PASSAGE), Call("subject", PASSAGE, relation="spouse"), FACT, Call("fact", PASSAGE)):
        constraint = constraint_for(call, SCHEMA, empty="none")
        state, first = constraint.start, True
        for _ in range(60):
            pieces = {token: vocabulary.piece(token, first) for token, data in enumerate(vocabulary.tokens) if data}
            states = {token: advance(constraint, state, piece) for token, piece in pieces.items()}
            alive = sorted(token for token, target in states.items() if target is not None)
            assert sorted(vocabulary.allowed(constraint, state, first)) == alive
            if not alive:
                assert constraint.accepts(state)
                break
            # Long tokens first: those that straddle newlines and quotes.
            token = max(source.sample(alive, min(3, len(alive))), key=lambda token: len(pieces[token]))
            state, first = states[token], False


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_acceptance_13_9_random_model_writes_only_well_formed_answers(kind, seed):
    words = tokenizer(kind)
    engine = ModelEngine(
        llama(seed, vocabulary=len(words) + 4),
        words,
        chat_template("suite"),
        protocol("suite-v1/D_R_H_F_desc"),
        decoding="official",
        seed=seed,
        max_new_tokens=80,
    )
    constraint = partial(constraint_for, schema=SCHEMA)
    calls = [Call("relation", PASSAGE)] * 3 + [Call("relation", "Ann met Bob .")]
    for generation in engine.generate(calls, constraint=constraint):
        lines = generation.text.splitlines()
        assert set(lines) <= set(SCHEMA.names)
        assert len(lines) == len(set(lines))
    for call, generation in run(engine, constraint, "subject"):
        lines = generation.text.splitlines()
        assert lines or not generation.complete
        assert all(line == line.strip() and line in call.passage for line in lines)
        assert len(lines) == len(set(lines))
    for call, generation in run(engine, constraint, "fact"):
        for line in generation.text.splitlines():
            head, relation, tail = ast.literal_eval(line)
            assert (head, relation) == (call.head, call.relation)
            assert tail in call.passage
            assert tail != head


def run(engine, constraint, step):
    calls = [
        Call(step, passage, relation="spouse", description="married to", head=head if step == "fact" else None)
        for passage, head in ((PASSAGE, "Marie Curie"), (PASSAGE, "O'Brien"), ('Ann \'s "Bob" met Łódź .', "Ann"))
    ]
    return zip(calls, engine.generate(calls, constraint=constraint), strict=True)


def test_constraint_leaves_a_valid_greedy_answer_as_it_is():
    """A model that writes a valid answer by itself: the constraint must not change one token of it."""
    words = tokenizer("sentencepiece")
    answer = "['Marie Curie', 'spouse', 'Pierre Curie']\n['Marie Curie', 'spouse', \"O'Brien\"]"
    script = [*words.encode(answer, add_special_tokens=False), words.eos_token_id]
    engine = ModelEngine(Scripted(script, len(words)), words, chat_template("suite"), protocol("D_R_H_F"))
    free = engine.generate([FACT])[0]
    assert free.text == answer
    assert engine.generate([FACT], constraint=partial(constraint_for, schema=SCHEMA))[0] == free


def test_an_unfinished_line_is_dropped():
    words = tokenizer()
    answer = "['Marie Curie', 'spouse', 'Pierre Curie']\n['Marie Curie', 'spouse', 'Warsaw']"
    script = [*words.encode(answer, add_special_tokens=False), words.eos_token_id]
    engine = ModelEngine(
        Scripted(script, len(words)), words, chat_template("suite"), protocol("D_R_H_F"), max_new_tokens=len(script) - 3
    )
    found = engine.generate([FACT], constraint=partial(constraint_for, schema=SCHEMA))[0]
    assert found.text == "['Marie Curie', 'spouse', 'Pierre Curie']\n"
    assert not found.complete


def Scripted(script: list[int], vocabulary: int):
    """A language model that answers every prompt with the same tokens."""
    import torch

    class Script(torch.nn.Module):
        config = SimpleNamespace(sliding_window=None)

        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids, past_key_values, **_):
            # The cache tells how far we are: the prompt's width first, then one column more each time.
            self.prompt = input_ids.shape[1] if past_key_values.get_seq_length() == 0 else self.prompt
            step = past_key_values.get_seq_length() + input_ids.shape[1] - self.prompt
            empty = torch.zeros(input_ids.shape[0], 1, input_ids.shape[1], 1)
            past_key_values.update(empty, empty, 0)
            logits = torch.zeros(input_ids.shape[0], 1, vocabulary)
            logits[..., script[step]] = 9.0
            return SimpleNamespace(logits=logits)

    return Script()
