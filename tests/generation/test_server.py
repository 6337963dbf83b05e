"""A server that speaks OpenAI's protocol, good and bad days."""

from __future__ import annotations

import socket
import time

import pytest

from suite.errors import InputError
from suite.generation.server import Ask, Server
from tests.generation.loopback import models, serving


def completion(text="Oslo", finish="stop", **more):
    return {"choices": [{"text": text, "finish_reason": finish, **more}]}


ASKS = (Ask("m", (1, 2)),)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("urllib3.util.Retry.sleep", lambda *given: None)


def answers_of(reply, asks=ASKS, timeout=(60.0, 60.0), **options):
    def whole(path, body):
        return (200, models("m")) if path == "/v1/models" else reply(path, body)

    with serving(whole) as loopback:
        return Server(loopback.address, timeout=timeout).generate(asks, max_tokens=8, **options), loopback


def test_token_ids_go_out_and_text_and_scores_come_in():
    logprobs = {"tokens": ["Os", "lo", "</s>"], "token_logprobs": [-0.5, -0.25, -1.0]}
    reply = completion(logprobs=logprobs) | {"usage": {"prompt_tokens": 2, "completion_tokens": 3}}
    ([answer], loopback) = answers_of(lambda path, body: (200, reply))
    assert (answer.text, answer.complete, answer.offsets, answer.logprobs) == ("Oslo", True, (2, 4), (-0.5, -0.25))
    assert (answer.prompt_tokens, answer.generated_tokens) == (2, 3)
    (body,) = loopback.bodies
    assert body == {"model": "m", "max_tokens": 8, "temperature": 0, "prompt": [1, 2], "logprobs": 1}


def test_a_question_goes_through_the_servers_chat_template():
    content = [{"token": "Os", "logprob": -0.5}, {"token": "lo", "logprob": -0.25}]
    reply = {"choices": [{"message": {"content": "Oslo"}, "finish_reason": "length", "logprobs": {"content": content}}]}
    ([answer], loopback) = answers_of(
        lambda path, body: (200, reply), (Ask("m", "Where?", seed=7),), sampling={"temperature": 0.9}, stop=["<end>"]
    )
    assert (answer.text, answer.complete, answer.offsets) == ("Oslo", False, (2, 4))
    (path, body, _) = loopback.asked[-1]
    assert path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "user", "content": "Where?"}]
    assert (body["temperature"], body["seed"], body["stop"]) == (0.9, 7, ["<end>"])


@pytest.mark.parametrize(
    "logprobs",
    [None, {}, {"tokens": ["O\ufffd"], "token_logprobs": [-1.0]}, {"tokens": ["Oslo"], "token_logprobs": [None]}],
)
def test_scores_that_do_not_fit_the_text_are_none(logprobs):
    ([answer], _) = answers_of(lambda path, body: (200, completion(logprobs=logprobs)))
    assert (answer.text, answer.offsets, answer.logprobs) == ("Oslo", (), ())


def test_answers_come_in_the_order_of_the_prompts():
    def slowly(path, body):
        time.sleep(0.05 if body["prompt"] == [0] else 0)
        return 200, completion(text=str(body["prompt"][0]))

    answers, _ = answers_of(slowly, [Ask("m", (number,)) for number in range(6)], together=3)
    assert [answer.text for answer in answers] == [*"012345"]


def test_a_busy_server_is_asked_again():
    statuses = iter([503, 429, 200])
    ([answer], loopback) = answers_of(lambda path, body: (next(statuses), completion()))
    assert answer.text == "Oslo"
    assert len(loopback.bodies) == 3


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            (400, {"error": {"message": "the prompt is\ntoo long"}}),
            r"refuses completions \(400 .*: the prompt is too long",
        ),
        ((404, {"detail": "no such model"}), "404 .*no such model"),
        ((500, b"<html>"), "500 .*without a word"),
        ((401, {}), "asks for a key .*OPENAI_API_KEY"),
        ((200, b"<html>"), "no JSON"),
        ((200, ["?"]), "no JSON object"),
        ((200, {"choices": []}), "no answer where one belongs"),
        ((200, {"choices": [{"text": 5}]}), "no text"),
    ],
)
def test_what_goes_wrong_is_one_line(reply, message):
    with pytest.raises(InputError, match=message) as error:
        answers_of(lambda path, body: reply)
    assert "\n" not in str(error.value)
    assert "127.0.0.1" in str(error.value)


def test_a_server_that_stays_busy_is_given_up():
    with pytest.raises(InputError, match=r"503 .*again and again"):
        answers_of(lambda path, body: (503, {}))


def test_a_server_that_says_nothing_is_not_waited_for_for_ever():
    def late(path, body):
        time.sleep(0.3)
        return 200, completion()

    with pytest.raises(InputError, match=r"no answer within 0\.05 seconds"):
        answers_of(late, timeout=(1.0, 0.05))


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(InputError, match="nobody answers there; start it"):
        _ = Server(f"http://127.0.0.1:{port}").models


@pytest.mark.parametrize("address", ["localhost:8000", "/v1", "ftp://host/v1"])
def test_what_is_no_address(address):
    with pytest.raises(InputError, match="is no address"):
        Server(address)


def test_models_and_the_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with serving(lambda path, body: (200, models("base", "relation", room=4096))) as loopback:
        server = Server(loopback.address.removesuffix("/v1"))
        assert (server.base.name, server.base.room) == ("base", 4096)
        assert [model.base for model in server.models] == [True, False]
        assert loopback.asked[0][2]["Authorization"] == "Bearer secret"
