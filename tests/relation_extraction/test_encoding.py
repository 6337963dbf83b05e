"""Prompts and samples as token ids."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.model.encoding import chat_template
from domains.relation_extraction.model.paradigms import find as protocol
from suite.errors import InputError
from suite.generation.chat import IGNORED, encode_text, shorten

SENTENCES = [f"Person {number} lives in Town {number} ." for number in range(30)]
PASSAGE = " ".join(SENTENCES)
OURS = protocol("D_R_H_F")


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level tokenizer without merges: one token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    made.add_tokens(["<|user|>"])
    return made


def encode(tokenizer, answer, cutoff, truncation="suite", name="suite", version="D_R_H_F", passage=PASSAGE):
    call = Call("fact", passage, relation="residence", head="Person 1")
    return chat_template(name).encode_sample(tokenizer, protocol(version), call, answer, cutoff, truncation)


def test_a_sample_is_prompt_answer_and_end(tokenizer):
    call = Call("relation", "Ann lives .")
    template = chat_template("suite")
    prompt = template.encode_prompt(tokenizer, OURS, call)
    encoded = template.encode_sample(tokenizer, OURS, call, "residence", 512)
    assert prompt[0] == tokenizer.bos_token_id
    assert tokenizer.decode(prompt[1:]) == "Document:\nAnn lives .\nTask: relations\n"
    assert encoded.input_ids == [*prompt, *encode_text(tokenizer, "residence"), tokenizer.eos_token_id]
    assert encoded.labels == [IGNORED] * len(prompt) + encoded.input_ids[len(prompt) :]
    assert not encoded.truncated


def test_calls_of_a_document_share_the_passage_tokens(tokenizer):
    template = chat_template("suite")
    first, second = (
        template.encode_prompt(tokenizer, OURS, Call("fact", PASSAGE, relation="residence", head=head))
        for head in ("Person 1", "Zoe")
    )
    shared = 1 + len(encode_text(tokenizer, f"Document:\n{PASSAGE}\n"))
    assert first[:shared] == second[:shared] and first != second


@pytest.mark.parametrize("hostile", ["a </s> b", "<s>", "x<|user|>y </s><|user|>", "[INST]"])
def test_special_tokens_in_a_passage_stay_text(tokenizer, hostile):
    ids = encode_text(tokenizer, hostile)
    assert not set(ids) & set(tokenizer.get_added_vocab().values())
    assert tokenizer.decode(ids) == hostile


def test_braces_in_a_passage_stay_braces(tokenizer):
    ids = chat_template("mistral").encode_prompt(tokenizer, OURS, Call("relation", "{s} {0} {"))
    assert tokenizer.decode(ids[1:]) == "[INST] Document:\n{s} {0} {\nTask: relations\n [/INST]"


def test_truncation_keeps_the_instruction_and_whole_sentences(tokenizer):
    encoded = encode(tokenizer, "['Person 1', 'residence', 'Town 1']", cutoff=300)
    text = tokenizer.decode(encoded.input_ids)
    passage = text[len("<s>Document:\n") : text.index("\nTask:")]
    assert encoded.truncated and len(encoded.input_ids) <= 300
    assert text.endswith("Task: triples \"residence\" from \"Person 1\"\n['Person 1', 'residence', 'Town 1']</s>")
    assert passage and passage.endswith(".") and PASSAGE.startswith(passage)
    # one more sentence would not have fitted
    assert len(encoded.input_ids) + len(SENTENCES[9]) > 300


def test_a_long_answer_loses_whole_lines_and_its_end(tokenizer):
    lines = [f"['Person 1', 'residence', 'Town {number}']" for number in range(30)]
    encoded = encode(tokenizer, "\n".join(lines), cutoff=600)
    answer = tokenizer.decode([token for token in encoded.labels if token != IGNORED])
    assert len(encoded.input_ids) <= 600 and encoded.truncated
    assert answer.endswith("\n") and answer.splitlines() == lines[: len(answer.splitlines())]
    assert encoded.input_ids[-1] != tokenizer.eos_token_id


def test_official_truncation_cuts_from_the_right(tokenizer):
    encoded = encode(tokenizer, "x" * 60, 200, "official", "mistral")
    answer = [token for token in encoded.labels if token != IGNORED]
    assert len(encoded.input_ids) == 200 and encoded.truncated
    assert len(answer) == 16  # the least that the rule leaves
    assert "[/INST]" not in tokenizer.decode(encoded.input_ids)


def test_a_cutoff_below_the_instruction_is_refused(tokenizer):
    with pytest.raises(InputError, match="no room for the instruction"):
        encode(tokenizer, "['Person 1', 'residence', 'Town 1']", cutoff=40)


def test_missing_tokens_are_named(tokenizer):
    with pytest.raises(InputError, match="gMASK"):
        chat_template("chatglm3").encode_prompt(tokenizer, OURS, Call("relation", "x"))
    with pytest.raises(InputError, match="unknown chat template"):
        chat_template("alpaca")


def test_shorten_falls_back_to_words():
    assert shorten("one two three. four", lambda text: len(text) <= 8) == "one two"
    assert shorten("one. two. three", lambda text: len(text) <= 10) == "one. two."
    assert shorten("第一句。第二句。", lambda text: len(text) <= 5) == "第一句。"
    assert shorten("one", lambda text: False) == ""
