from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from domains.relation_extraction.data.datamodule import CallSamples as EncodedSamples
from domains.relation_extraction.data.datamodule import RelationExtractionData
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.model.wording import Wording
from suite.errors import InputError
from suite.generation.chat import IGNORED
from suite.generation.samples import collate
from tests.generation.small_model import tokenizer


@pytest.fixture
def annotations(tmp_path):
    file = tmp_path / "own.jsonl"
    with file.open("w") as lines:
        for number in range(6):
            triples = [
                {"head": "Ann", "relation": "spouse", "tail": "Bob"},
                {"head": "Ann", "relation": "residence", "tail": "Rome"},
            ]
            text = "Ann married Bob in May. " + "They live in Rome. " * (1 + 4 * number)
            lines.write(json.dumps({"id": f"d{number}", "text": text, "triples": triples}) + "\n")
    return str(file)


def wording(layout="three", protocol="suite-v1/D_R_H_F_desc"):
    return Wording.of(tokenizer(), "suite", protocol, Schema.load("redocred"), layout)


def prepared(data: RelationExtractionData, words: Wording) -> RelationExtractionData:
    data.bind(lambda: words)
    data.setup("fit")
    return data


def test_samples_carry_prompt_and_answer(annotations):
    words = wording()
    data = RelationExtractionData(train=annotations, val=None)
    samples = list(data.samples("train", words))
    encoded = EncodedSamples.of(samples, words, cutoff=2048)
    for sample, index in zip(samples, range(len(encoded)), strict=True):
        ids, labels = encoded[index]["input_ids"], encoded[index]["labels"]
        answer = words.tokenizer.decode(labels[labels != IGNORED], skip_special_tokens=True)
        prompt = words.tokenizer.decode(ids[labels == IGNORED], skip_special_tokens=True)
        assert answer == sample.answer
        assert prompt == sample.instruction
        assert labels[-1] == words.tokenizer.eos_token_id


def test_steps_part_the_samples(annotations):
    words = wording()
    data = RelationExtractionData(train=annotations, val=None)
    everything = list(data.samples("train", words))
    parts = [list(data.step(step).samples("train", words)) for step in ("relation", "subject", "fact")]
    assert [len(part) for part in parts] == [12, 12, 12]  # relations come in two orders
    assert sorted(sample.id for part in parts for sample in part) == sorted(sample.id for sample in everything)
    assert {sample.call.step for sample in parts[2]} == {"fact"}


def test_batches_are_of_similar_length(annotations):
    data = prepared(RelationExtractionData(train=annotations, val=f"{annotations}[:1]", batch_size=4), wording())
    torch.manual_seed(0)
    batches = list(data.train_dataloader())
    assert sum(len(batch["input_ids"]) for batch in batches) == 36
    assert all(batch["input_ids"].shape[1] % 8 == 0 for batch in batches)
    waste = [(batch["labels"] == IGNORED).sum() for batch in batches]
    assert len(waste) == 9
    spread = [(batch["input_ids"] != 0).sum(dim=1) for batch in batches]
    assert sum(int(lengths.max() - lengths.min()) for lengths in spread) < 36 * 20
    assert len(list(data.val_dataloader())) == 2


def test_collate_pads_on_the_right():
    samples = [{"input_ids": torch.arange(1, n + 1), "labels": torch.full((n,), IGNORED)} for n in (3, 9)]
    batch = collate(samples)
    assert batch["input_ids"].shape == batch["labels"].shape == (2, 16)
    assert batch["input_ids"][0].tolist() == [1, 2, 3] + [0] * 13
    assert (batch["labels"] == IGNORED).all()


def test_truncated_samples_are_reported(annotations, capsys):
    data = prepared(RelationExtractionData(train=annotations, val=None, cutoff=200), wording())
    encoded = data.encoded["train"]
    assert max(encoded.lengths) <= 200
    assert sum(encoded.truncated.values()) > 0
    assert "samples were cut to 200 tokens" in capsys.readouterr().err
    # The instruction survives: every prompt still ends in its task line.
    ids, labels = encoded[0]["input_ids"], encoded[0]["labels"]
    assert "Task: relations" in tokenizer().decode(ids[labels == IGNORED])


def test_packed_rows_hold_every_answer(annotations):
    data = prepared(
        RelationExtractionData(train=annotations, val=None, cutoff=1024, packing=True, batch_size=1), wording()
    )
    plain = prepared(RelationExtractionData(train=annotations, val=None, cutoff=1024), wording())
    torch.manual_seed(0)
    packed = sum(int((batch["labels"] != IGNORED).sum()) for batch in data.train_dataloader())
    assert packed == sum(int((batch["labels"] != IGNORED).sum()) for batch in plain.train_dataloader())


def test_negatives_teach_the_empty_answer(annotations):
    words = wording()
    samples = list(RelationExtractionData(train=annotations, val=None, negatives=1.0).samples("train", words))
    assert any(sample.answer == "none" for sample in samples)
    official = wording(protocol="autore-official/D_R_H_F_desc")
    with pytest.raises(InputError):
        list(RelationExtractionData(train=annotations, val=None, negatives=1.0).samples("train", official))


def test_passages_have_the_shape_of_prediction(annotations):
    joined, raw = wording(), replace(wording(), pretokenize="none")
    data = RelationExtractionData(train=annotations, val=None)
    assert next(iter(data.samples("train", joined))).call.passage.startswith("Ann married Bob in May . They")
    assert next(iter(data.samples("train", raw))).call.passage.startswith("Ann married Bob in May. They")


def test_no_sample_is_an_error(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text(json.dumps({"id": "a", "text": "Ann slept.", "triples": []}) + "\n")
    data = prepared(RelationExtractionData(train=str(empty), val=None), wording())
    with pytest.raises(InputError, match="gives no sample"):
        data.train_dataloader()
