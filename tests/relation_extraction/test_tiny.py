"""The embedded default: what is shipped loads anywhere, and training it reaches what its card says."""

import time
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from domains.relation_extraction.data import world
from domains.relation_extraction.inference.constraints import constraint_for
from domains.relation_extraction.inference.pipeline import extract
from domains.relation_extraction.predict import RelationExtractor
from domains.relation_extraction.tiny import rebuild as tiny
from suite.hub import paths

BASE = paths.checkpoints() / "tiny" / "relation_extraction" / "base"
EIGHT_MEGABYTES = 8 * 2**20


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_base_is_an_ordinary_folder_and_small() -> None:
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.config.max_position_embeddings >= 2048
    assert size(BASE.parent) < EIGHT_MEGABYTES


@pytest.mark.parametrize("made", [lambda: AutoTokenizer.from_pretrained(BASE), tiny.tokenizer])
def test_tokenizer_takes_any_text_and_a_name_is_the_same_tokens_everywhere(made) -> None:
    tokenizer = made()
    text = "Port Karo was besieged by Ünï Telor in 1921.\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    name = tokenizer.encode("Vosdrim")
    for around in ("in {} .", "'{}'", "\n{}\n"):
        inside = tokenizer.encode(around.format("Vosdrim"))
        assert any(inside[at : at + len(name)] == name for at in range(len(inside)))


def with_types_at_hand(adapter: Path) -> float:
    """Micro-F1 on the held-out documents where triples that contradict the entities' own types are dropped."""
    extractor = RelationExtractor.from_pretrained(str(adapter))
    wording = extractor.wording
    allowed = partial(constraint_for, schema=wording.schema, empty=wording.protocol.empty)
    documents = world.documents("test", seed=0, count=120)
    right = given = stated = 0
    for extraction in extract(documents, extractor.engine(), wording.protocol, wording.schema, constraint=allowed):
        facts = set(tiny.stated_triples(extraction.document))
        found = {triple.key for triple in extraction.triples}
        right, given, stated = right + len(found & facts), given + len(found), stated + len(facts)
    return 2 * right / max(given + stated, 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [42, 43, 44])
def test_adapters_learn_relations_that_the_base_does_not_know(
    seed: int, tmp_path: Path, record_testsuite_property
) -> None:
    started = time.perf_counter()
    figures = tiny.write_adapters(tmp_path / "adapter", tmp_path / "run", seed=seed)
    record_testsuite_property(f"seconds of seed {seed}", time.perf_counter() - started)
    record_testsuite_property(f"micro-F1 of seed {seed}", figures)
    assert with_types_at_hand(tmp_path / "adapter") >= 0.60
    # Read blind. The lower end of the shipped adapter's bootstrap interval.
    assert figures["adapted"] >= 0.543
    assert figures["frozen"] < 0.15
