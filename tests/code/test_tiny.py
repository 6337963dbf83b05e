"""The code model of both code domains: its tokenizer loses nothing, its documents say what is true, it loads."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from suite import hub
from suite.code import tiny, world
from suite.code.faults import FAULTS
from suite.code.pretraining import APPROVED, CHOICE, CRITICAL, FREE, REVIEW, documents
from suite.training.tiny_code import pretraining
from suite.training.tiny_code.measuring import measure
from suite.training.tiny_code.rebuild import DOMAINS, save, write_base
from tests.real_data import real_data


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(hub.resolve("tiny", "code_review", kind="base"))


def given_back(tokenizer, text: str) -> bool:
    return tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize(
    "text",
    [
        "".join(map(chr, range(256))),
        "</s> <pad><s> [INST]",
        "Ünï\u0301 \U0001f600\r\n\t \n\n+  x\n-\n",
        " a  b",
        "\n \n",
    ],
)
def test_tokenizer_gives_any_text_back(tokenizer, text):
    assert given_back(tokenizer, text)
    assert not {0, 1, 2} & set(tokenizer(text)["input_ids"])  # special tokens are for programs to put, not for texts


def test_tokenizer_gives_real_code_back(tokenizer):
    with gzip.open(real_data("code/HumanEval.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for problem in islice(map(json.loads, lines), 60):
            assert given_back(tokenizer, problem["prompt"] + problem["canonical_solution"] + problem["test"])


def test_a_name_is_the_same_tokens_wherever_it_stands(tokenizer):
    name = tokenizer.tokenize("daily_price")
    for before in (
        "def ",
        "return ",
        "x = ",
        "f(",
        "[",
        "\n    ",
        "\n+    ",
        "\n-        ",
        "for ",
        "not ",
        "a, ",
        "a % ",
    ):
        assert tokenizer.tokenize(f"{before}daily_price")[-len(name) :] == name, before
    assert all(len(token) == 1 for token in tokenizer.tokenize("1234567890"))


def test_both_domains_share_one_base():
    folders = {hub.resolve("tiny", domain, kind="base") for domain in DOMAINS}
    assert len(folders) == 1
    [folder] = folders
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8_000_000
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert isinstance(model, LlamaForCausalLM) and model.num_parameters() == 2_607_168
    assert model.config.eos_token_id == 1 and model.config.max_position_embeddings == 1024


def test_the_base_completes_assertions_and_mends_code_it_has_not_seen(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(hub.resolve("tiny", "code_review", kind="base"), dtype=torch.float32)
    figures = measure(model.eval(), tokenizer, count=60, seed=2)
    assert figures.mean_value > 0.75 and figures.mended > 0.9 and figures.approval > 0.95


def test_documents_are_of_the_seen_share_and_true():
    made = [*islice(documents(5), 300), *islice(documents(5, shares=CRITICAL), 100)]
    assert {one.sort for one in made} == set(CRITICAL)
    held_out = tuple(said.partition("`")[0] for kind in FAULTS["held out"] for said in world.stated("comments")[kind])
    for one in made:
        assert one.kind in world.stated("seen") and "### " not in one.text
        if REVIEW in one.text:
            said = one.text.split(REVIEW)[1:]
            assert not any(one.startswith(held_out) for one in said)
            assert one.approved == any(one.startswith(APPROVED) for one in said)
        else:
            lines = [line for line in one.text.splitlines(keepends=True) if not line.startswith(("import ", "from "))]
            exec("".join(lines), scope := {})
            for name in [name for name in scope if name.startswith("test_")]:
                scope[name]()


def test_weights_of_the_loss_are_those_of_the_parts(tokenizer):
    for document in islice(documents(6), 40):
        ids, weights = pretraining.encode(tokenizer, document)
        assert tokenizer.decode(ids[1:-1]) == document.text and (ids[0], ids[-1]) == (0, 1)
        # Every part of some length has tokens with its weight.
        assert {weight for text, weight in document.parts if len(text) > 8} <= set(weights)
        assert set(weights[1:-1]) <= {FREE, 1.0, CHOICE} and weights[0] == 0


def test_pretraining_lowers_the_loss_and_padding_changes_nothing(tokenizer):
    torch.manual_seed(0)
    shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **shape)).eval()
    rows = [pretraining.encode(tokenizer, one) for one in islice(documents(7), 4)]
    with torch.no_grad():
        together = pretraining.loss(model, pretraining.collate(rows))
        parts = [(pretraining.loss(model, pretraining.collate([row])), sum(row[1])) for row in rows]
    torch.testing.assert_close(
        together, sum(one * weight for one, weight in parts) / sum(weight for _, weight in parts)
    )
    lines: list[str] = []
    pretraining.pretrain(
        model, tokenizer, pretraining.Phase(20, seed=3, tokens=512, warmup=2, embedding_lr=1e-2), notify=lines.append
    )
    with torch.no_grad():
        assert pretraining.loss(model, pretraining.collate(rows)) < together - 0.3
    assert lines[-1].startswith("step 20/20: loss ")


@pytest.mark.slow
def test_the_base_is_rebuilt(tmp_path: Path):
    phases = [pretraining.Phase(16, 0, tokens=512), pretraining.Phase(8, 1, CRITICAL, tokens=512, falling=0.5)]
    figures = write_base(tmp_path / "base", phases, measured=40)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert model.num_parameters() == 2_607_168 and model.dtype == torch.float16
    assert "AUROC" in (tmp_path / "base" / "README.md").read_text(encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    assert len(tokenizer) == tiny.VOCABULARY
    assert save(tmp_path / "again", model, tokenizer, phases, measured=40) == figures
