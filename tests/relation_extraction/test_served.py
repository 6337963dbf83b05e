"""Extraction by a server of the user's, which speaks OpenAI's protocol: vLLM with three adapters, any chat model."""

from __future__ import annotations

import json
import threading

import pytest

from domains.relation_extraction import RelationExtractor
from domains.relation_extraction.types import ExtractionQuery
from suite.cli.main import main
from suite.errors import InputError
from suite.generation.engine import Engine, Request
from suite.generation.vocabulary import Vocabulary
from tests.generation.loopback import models, serving

TEXT = "Mirela Dostan was buried in Port Selmar. Selmar Foundry was financed by Brandor Keth."
SHOT = {"text": "Ann lives in Oslo.", "triples": [{"head": "Ann", "relation": "residence", "tail": "Oslo"}]}


@pytest.fixture(scope="module")
def tiny():
    return RelationExtractor.from_pretrained("tiny", device="cpu")


@pytest.fixture(scope="module")
def server(tiny):
    """The shipped base with its three adapters, as `vllm serve --lora-modules relation= head= fact=` serves them."""
    from suite import adapters

    vocabulary, alone = Vocabulary(tiny.wording.tokenizer), threading.Lock()
    stops = tiny.wording.template.stop_ids(tiny.wording.tokenizer)

    def reply(path, body):
        if path == "/v1/models":
            return 200, models("base", "relation", "head", "fact")
        with alone:
            adapters.activate(tiny.model, {"head": "subject"}.get(body["model"], body["model"]))
            engine = Engine(tiny.model, stops, vocabulary, backend="sequential", max_new_tokens=body["max_tokens"])
            [answer] = engine.generate([Request(body["prompt"])])
        text, ends = vocabulary.decode(answer.tokens)
        tokens = [text[start:end] for start, end in zip((0, *ends), ends, strict=False)]
        choice = {"text": text, "finish_reason": "stop" if answer.complete else "length"}
        choice["logprobs"] = {"tokens": tokens, "token_logprobs": list(answer.logprobs)}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": 1}}

    with serving(reply) as loopback:
        yield loopback


def test_a_server_answers_as_the_model_here_does(tiny, server):
    served = RelationExtractor.from_pretrained("tiny", server=server.address)
    there, here = served(TEXT), tiny(TEXT, constrained=False)
    assert [triple.key for triple in there] == [triple.key for triple in here] != []
    for ours, theirs in zip(there, here, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)
        assert ours.head.own == theirs.head.own
    assert {body["model"] for body in server.bodies} == {"relation", "head", "fact"}
    assert "model" not in vars(served)


def test_the_command_takes_a_server(server, tmp_path, capsys):
    file = tmp_path / "report.txt"
    file.write_text(TEXT, encoding="utf-8")
    command = ["relation_extraction", "predict", str(file), "--server", server.address, "--json"]
    assert main([*command, "--dry-run"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"][0]["plan"]
    assert "memory" not in row
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["cost"]["calls"] > 2
    labelled = tmp_path / "a.jsonl"
    triple = {"head": "Mirela Dostan", "relation": "burial place", "tail": "Port Selmar"}
    labelled.write_text(json.dumps({"text": TEXT, "triples": [triple]}))
    scoring = ["relation_extraction", "evaluate", str(labelled), "--schema", "tiny", "--server", server.address]
    assert main([*scoring, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tp"] == 1


def chat(path, body):
    """A chat model that always says the same."""
    if path == "/v1/models":
        return 200, models("any-chat-model", room=None)
    message = {"role": "assistant", "content": "['Bob', 'residence', 'Rome']\n"}
    return 200, {"choices": [{"message": message, "finish_reason": "stop"}]}


def test_any_chat_model_of_a_server_without_adapter_or_base(tmp_path):
    examples = tmp_path / "few.jsonl"
    examples.write_text(json.dumps(SHOT), encoding="utf-8")
    with serving(chat) as loopback:
        extractor = RelationExtractor.from_pretrained("none", server=loopback.address)
        for more in ({}, {"examples": examples}):
            (triple,) = extractor("Bob </s> lives in Rome.", schema=["residence", "spouse"], **more)
            assert triple.key == ("Bob", "residence", "Rome")
            assert triple.score is None
        long = " ".join(["Bob lives in Rome."] * 500)
        assert {triple.key for triple in extractor(long, schema=["residence"])} == {("Bob", "residence", "Rome")}
    questions = [body["messages"][0]["content"] for body in loopback.bodies]
    assert {body["model"] for body in loopback.bodies} == {"any-chat-model"}
    assert "Bob </s> lives in Rome." in questions[0]
    assert "['residence', 'spouse']" in questions[0]
    assert "['Ann', 'residence', 'Oslo']" not in questions[0]
    assert "['Ann', 'residence', 'Oslo']" in questions[1]
    assert len(questions) > 3  # the long one in chunks


def test_a_base_that_is_known_here_is_asked_in_its_own_template(tmp_path):
    from tests.generation.small_model import llama, tokenizer

    words = tokenizer()
    words.chat_template = "{% for m in messages %}<user>{{ m.content }}</user>{% endfor %}<bot>"
    llama().save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    reply = {"choices": [{"text": "none", "finish_reason": "stop"}]}
    with serving(lambda path, body: (200, models("m") if path == "/v1/models" else reply)) as loopback:
        extractor = RelationExtractor.from_pretrained("none", base=str(tmp_path), server=loopback.address)
        assert extractor("Bob lives in Rome.", schema=["residence"]) == []
    (body,) = loopback.bodies
    prompt = words.decode(body["prompt"])
    assert prompt.startswith("<user>Document:")
    assert prompt.endswith("</user><bot>")


def test_mistakes_with_a_server_are_one_line():
    with serving(lambda path, body: (200, models("base", "relation"))) as loopback:
        lacking = RelationExtractor.from_pretrained("tiny", server=loopback.address)
        with pytest.raises(
            InputError, match=r"no adapter subject or head; start it with .*relation=FOLDER head=FOLDER"
        ):
            lacking(TEXT)
        with pytest.raises(InputError, match="--constrained needs the model on this machine"):
            lacking(TEXT, constrained=True)
    with pytest.raises(InputError, match="give it to RelationExtractor"):
        lacking(TEXT, server="http://localhost:8000/v1")
    assert ExtractionQuery.loading == ("server",)


def test_a_served_run_goes_on_where_it_stopped(server, tmp_path):
    served = RelationExtractor.from_pretrained("tiny", server=server.address)
    asked = {"heads": ("Mirela Dostan",), "relations": ("burial place",), "formats": ("jsonl",)}
    list(served.predict(TEXT, out=tmp_path / "out", **asked))
    before = len(server.asked)
    (again,) = served.predict(TEXT, resume=tmp_path / "out", **asked)
    assert again.triples
    assert len(server.asked) == before
    costs = [next(served.predict(TEXT, **asked)).cost["calls"] for _ in range(2)]
    assert costs == [1, 1]  # each run's own


def test_of_a_repository_only_the_tokenizer_is_fetched(monkeypatch):
    import transformers

    from domains.relation_extraction.inference.served import tokenizer_of
    from tests.generation.small_model import tokenizer

    fetched = []
    monkeypatch.setattr(
        transformers.AutoTokenizer,
        "from_pretrained",
        lambda *given, **more: fetched.append((given, more)) or tokenizer(),
    )
    assert tokenizer_of("hf:org/name@v1").encode("Oslo")
    assert fetched == [(("org/name",), {"revision": "v1"})]

    def offline(*given, **more):
        raise OSError("cannot reach the hub\nat all")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", offline)
    with pytest.raises(InputError, match="org/name: no tokenizer that transformers reads"):
        tokenizer_of("hf:org/name")
