"""Chat models without an adapter, and bundles of which a part is there."""

from __future__ import annotations

import json

import pytest

from domains.relation_extraction import RelationExtractor
from domains.relation_extraction.inference.session import Session
from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.types import ExtractionQuery
from suite.errors import InputError
from tests.relation_extraction.commands import put


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    """A base with a chat template of its own, as people have them."""
    from tests.generation.small_model import llama, tokenizer

    folder = tmp_path_factory.mktemp("chat")
    llama(seed=3).save_pretrained(folder)
    words = tokenizer()
    words.chat_template = "{% for m in messages %}<user>{{ m.content }}</user>{% endfor %}<bot>"
    words.save_pretrained(folder)
    return str(folder)


def test_use_06_any_chat_model_without_an_adapter(chat_model, tmp_path):
    with pytest.raises(InputError, match="--base"):
        RelationExtractor.from_pretrained("none")
    extractor = RelationExtractor.from_pretrained("none", base=chat_model, device="cpu")
    example = {"text": "Ann lives in Oslo.", "triples": [{"head": "Ann", "relation": "residence", "tail": "Oslo"}]}
    examples = put(tmp_path, "shots.jsonl", json.dumps(example))
    asked = {"schema": ["residence", "spouse"], "max_new_tokens": 4, "batch_size": 1}
    prompts = []
    for more in ({}, {"examples": str(examples)}):
        trace = tmp_path / f"trace{len(prompts)}.jsonl"
        extractor("Bob </s> lives in Rome.", trace=trace, **asked, **more)
        seen = []
        with Session(extractor, ExtractionQuery(**asked, **more)) as session:
            call = Call("fact", "Bob </s> lives in Rome.", relations=("residence", "spouse"))
            seen = session.engine.encode(call)
        prompts.append(extractor.wording.tokenizer.decode(seen))
        assert extractor.wording.tokenizer.eos_token_id not in seen
    for prompt in prompts:
        assert prompt.startswith("<user>Document:")
        assert prompt.endswith("</user><bot>")
        assert "['residence', 'spouse']" in prompt
    assert "['Ann', 'residence', 'Oslo']" in prompts[1]
    assert "Ann" not in prompts[0]


def test_use_12_missing_files_of_peers_are_told_before_models_work(monkeypatch):
    from domains.relation_extraction.evaluation import compare

    monkeypatch.setattr(compare, "_model_row", lambda *given: pytest.fail("a model worked first"))
    with pytest.raises(InputError, match=r"nowhere\.txt: no such file"):
        compare.compare("tiny:test:2", ("adapter:tiny", "rebel:nowhere.txt"))


def test_use_21_one_steps_folder_is_not_all_of_them(chat_model, tmp_path):
    from tests.relation_extraction.small_bundle import save_bundle

    save_bundle(tmp_path / "three", chat_model)
    with pytest.raises(InputError, match="one of three adapters"):
        RelationExtractor.from_pretrained(str(tmp_path / "three" / "relation"), base=chat_model)
