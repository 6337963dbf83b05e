"""The acceptance list of relation extraction that official cases or figures decide; each item is a named test.

The others stand with what they accept: `grep -rn acceptance_13 tests`.
"""

from __future__ import annotations

from itertools import islice

import pytest

from benchmarks.autore_prediction import TOKEN_TARGETS, count_tokens
from domains.relation_extraction.data.refinement import refine
from domains.relation_extraction.data.sources import labelled_documents
from domains.relation_extraction.model.schema import Schema
from suite.cli.main import main
from tests.generation.small_model import llama, tokenizer
from tests.golden.registry import run_official
from tests.real_data import real_data
from tests.relation_extraction.reading import DOCRED, lines, write
from tests.relation_extraction.small_bundle import save_bundle


def test_acceptance_13_1_the_strict_parser_reads_as_the_official_one():
    run_official("relation_extraction/parsing")


def test_acceptance_13_2_samples_are_the_official_ones():
    run_official("relation_extraction/samples")


@pytest.mark.parametrize("kind", ["scoring", "docred_eval"])
def test_acceptance_13_4_both_scores_are_the_official_ones(kind):
    run_official(f"relation_extraction/{kind}")


def test_acceptance_13_5_prompts_are_encoded_as_officially():
    run_official("relation_extraction/chat_encoding")


def test_acceptance_13_6_three_adapters_on_one_base():
    run_official("relation_extraction/lora_three_adapters")


def test_acceptance_13_7_names_and_shapes_of_the_published_adapters():
    run_official("relation_extraction/keys")


@pytest.mark.parametrize("protocol", TOKEN_TARGETS)
def test_acceptance_13_8_prompt_tokens_that_need_not_be_forwarded(protocol, monkeypatch):
    schema = Schema.load("redocred")
    read = labelled_documents(f"{real_data('redocred/dev_revised.json')}[:32]", schema)
    documents = [document for one in islice(read, 32) if (document := refine(one)) is not None]
    monkeypatch.setattr("benchmarks.autore_prediction.TOKEN_TARGETS", {protocol: TOKEN_TARGETS[protocol]})
    [row] = count_tokens(documents, schema).values()
    assert row["ratio"] >= TOKEN_TARGETS[protocol]


@pytest.mark.parametrize("kind", ["nf4_qlora", "bio_loaders"])
def test_acceptance_13_11_nf4_and_biomedical_files(kind):
    run_official(f"relation_extraction/{kind}")


@pytest.fixture(scope="module")
def lacking(tmp_path_factory):
    """A bundle without the adapter of the subject step, and its base."""
    folder = tmp_path_factory.mktemp("lacking")
    llama(seed=3).save_pretrained(folder / "base")
    tokenizer().save_pretrained(folder / "base")
    save_bundle(folder / "bundle", folder / "base")
    (folder / "bundle" / "subject").rename(folder / "elsewhere")
    return folder


def test_acceptance_13_12_four_mistakes_are_one_line_each(lacking, tmp_path, capsys):
    wrong = {**DOCRED, "vertexSet": [[{**DOCRED["vertexSet"][0][0], "sent_id": 9}], *DOCRED["vertexSet"][1:]]}
    docred = write(tmp_path, "docred.json", [wrong])
    broken = write(tmp_path, "broken.jsonl", lines({"id": "a", "text": "Ann.", "triples": []}, "{"))
    empty = write(tmp_path, "empty.txt", "")
    good = write(tmp_path, "good.txt", "Ann met Bob.")
    asked = ["--adapter", lacking / "bundle", "--base", lacking / "base", "--device", "cpu"]
    for argv, message in (
        (["evaluate", "--data", docred, "--oracle"], "`sent_id` 9 is out of range"),
        (["evaluate", "--data", broken, "--oracle"], "broken.jsonl line 2: not JSON"),
        (["evaluate", "--data", empty, "--oracle"], "the document is empty"),
        (["predict", good, *asked], "lacks the adapter of step `subject`"),
    ):
        capsys.readouterr()
        assert main(["relation_extraction", *map(str, argv)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1 and "Traceback" not in error
