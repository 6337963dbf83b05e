"""Chat templates and encoded samples."""

from __future__ import annotations

import pytest
import torch

from suite.errors import InputError
from suite.generation.chat import IGNORED, chat_template, encode_text, labelled
from suite.generation.samples import EncodedSamples, collate
from tests.generation.small_model import tokenizer


def test_a_question_is_framed_and_the_prompt_has_no_loss():
    words, template = tokenizer(), chat_template("mistral")
    prompt = template.encode(words, template.frame(["Who married ", "Marie?"]))
    assert words.decode(prompt) == "<s>[INST] Who married Marie? [/INST]"
    sample = labelled(prompt, template.response(words, "Pierre"))
    assert sample.labels[: len(prompt)] == [IGNORED] * len(prompt)
    assert sample.labels[len(prompt) :] == [*encode_text(words, "Pierre"), words.eos_token_id]
    with pytest.raises(InputError, match="unknown chat template"):
        chat_template("oracle")


def test_samples_come_back_as_they_went_in_and_are_padded_without_loss():
    samples = EncodedSamples()
    samples.add(labelled([5, 6, 7], [8, 9]), "fact")
    samples.add(labelled([5], [8], truncated=True), "head")
    assert len(samples) == 2 and samples.lengths == [5, 2]
    assert samples.counts == {"fact": 1, "head": 1} and samples.truncated == {"fact": 0, "head": 1}
    batch = collate([samples[0], samples[1]])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 0, 0, 0], [5, 8, 0, 0, 0, 0, 0, 0]]
    assert torch.equal(batch["labels"][1], torch.tensor([IGNORED, 8, *[IGNORED] * 6]))
