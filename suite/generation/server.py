"""Answers from a server that speaks OpenAI's protocol, as vLLM and llama.cpp do: token ids or a question in, text out.

`GET /models` says what is served, `POST /completions` takes prompts as token ids, `POST /chat/completions` a question
that the server puts into its model's own chat template. Imports no torch.

>>> server = Server("http://localhost:8000/v1")
>>> [answer] = server.generate([Ask(server.base.name, "Who wrote Faust?")], max_tokens=20)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError, ReadTimeoutError
from urllib3.util import Retry

from suite.errors import InputError, one_line

TIMEOUT = (10.0, 600.0)
"""Seconds to connect, and for one answer: a busy server lets prompts wait."""
RETRIES = 3
TOGETHER = 16
KEY = "OPENAI_API_KEY"
"""Environment variable with the key of a server that asks for one."""

_BUSY = (429, 502, 503, 504)
_SEEDS = 2**31


@dataclass(frozen=True)
class ServedModel:
    """A model that a server has.

    Attributes:
        base: whether it stands by itself; an adapter stands on another one.
        room: tokens of prompt and answer together; None where the server does not say.
    """

    name: str
    base: bool
    room: int | None


@dataclass(frozen=True)
class Ask:
    """One prompt to a model: token ids, or a question that the server puts into the model's chat template."""

    model: str
    prompt: Sequence[int] | str
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """What the model wrote.

    Attributes:
        complete: False where it reached the longest answer.
        offsets: end in `text` of each token, ascending. logprobs: of each token (nats). Both empty where the server
            does not tell, or not in a way that fits the text.
        prompt_tokens, generated_tokens: as the server counts them; 0 where it does not.
    """

    text: str
    complete: bool
    offsets: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    prompt_tokens: int = 0
    generated_tokens: int = 0


class Server:
    """A server that speaks OpenAI's protocol.

    Args:
        address: of the interface, `http://localhost:8000/v1` for example.
        timeout: seconds to connect, and for one answer.

    Raises:
        InputError: that is no address.
    """

    def __init__(self, address: str, *, timeout: tuple[float, float] = TIMEOUT) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(f"server {address!r} is no address; write for example http://localhost:8000/v1")
        self.address = address.rstrip("/") + ("" if parts.path.strip("/") else "/v1")
        self._timeout = timeout

    @cached_property
    def models(self) -> tuple[ServedModel, ...]:
        """What is served, in the server's order.

        Raises:
            InputError: the server cannot be reached, or serves nothing.
        """
        entries = self._call("GET", "models").get("data")
        if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) and "id" in e for e in entries):
            raise self._odd("no list of models")
        rooms = [entry.get("max_model_len") for entry in entries]
        return tuple(
            ServedModel(str(entry["id"]), not entry.get("parent"), room if isinstance(room, int) else None)
            for entry, room in zip(entries, rooms, strict=True)
        )

    @property
    def base(self) -> ServedModel:
        """The first model that stands by itself."""
        return next((model for model in self.models if model.base), self.models[0])

    def generate(
        self,
        asks: Sequence[Ask],
        *,
        max_tokens: int,
        sampling: Mapping[str, float] | None = None,
        stop: Sequence[str] = (),
        together: int = TOGETHER,
    ) -> list[Answer]:
        """Answer the prompts, in their order.

        Args:
            max_tokens: longest answer.
            sampling: `temperature`, `top_p` and the like, as the server names them; None: the likeliest tokens.
            stop: texts that end an answer, beside the model's own end.
            together: prompts on their way at one time; a server batches them.

        Raises:
            InputError: the server cannot be reached, refuses, or answers something else than the protocol says. What
                may pass (no connection, a busy server) was tried several times before.
        """
        shared: dict[str, Any] = {"max_tokens": max_tokens, **(sampling or {"temperature": 0})}
        if stop:
            shared["stop"] = list(stop)
        with ThreadPoolExecutor(together) as pool:
            waiting = [pool.submit(self._answer, ask, shared, sampling is not None) for ask in asks]
            try:
                return [one.result() for one in waiting]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _answer(self, ask: Ask, shared: Mapping[str, Any], sampled: bool) -> Answer:
        body = {"model": ask.model, **shared, **({"seed": ask.seed % _SEEDS} if sampled else {})}
        chat = isinstance(ask.prompt, str)
        if chat:
            body |= {"messages": [{"role": "user", "content": ask.prompt}], "logprobs": True}
        else:
            body |= {"prompt": list(ask.prompt), "logprobs": 1}
        answer = self._call("POST", "chat/completions" if chat else "completions", body)
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"] if chat else choice["text"]
            usage = answer.get("usage") or {}
            counted = (int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._odd("no answer where one belongs") from error
        if not isinstance(text, str | None):
            raise self._odd("an answer that is no text")
        text = text or ""
        return Answer(text, choice.get("finish_reason") != "length", *_scored(text, choice.get("logprobs")), *counted)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._session.request(method, f"{self.address}/{path}", json=body, timeout=self._timeout)
        except requests.RequestException as error:
            raise InputError(f"server {self.address}: {self._trouble(error)}") from error
        if response.status_code >= 400:
            raise InputError(f"server {self.address}: {_refusal(response, path)}")
        try:
            content = response.json()
        except ValueError as error:
            raise self._odd("no JSON") from error
        if not isinstance(content, dict):
            raise self._odd("no JSON object")
        return content

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        # Every request may be sent again: an answer changes nothing at the server.
        retry = Retry(
            RETRIES, read=1, backoff_factor=0.5, status_forcelist=_BUSY, allowed_methods=None, raise_on_status=False
        )
        adapter = HTTPAdapter(pool_maxsize=4 * TOGETHER, max_retries=retry)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        if key := os.environ.get(KEY):
            session.headers["Authorization"] = f"Bearer {key}"
        return session

    def _trouble(self, error: requests.RequestException) -> str:
        reason = getattr(error.args[0] if error.args else None, "reason", error)
        if isinstance(reason, ReadTimeoutError) or isinstance(error, requests.ReadTimeout):
            return f"no answer within {self._timeout[1]:g} seconds; ask for less at one time (--batch-size)"
        if isinstance(reason, NewConnectionError) or isinstance(error, requests.ConnectTimeout):
            return "nobody answers there; start it, or correct --server"
        return f"the connection broke ({one_line(reason)}); see what the server says"

    def _odd(self, what: str) -> InputError:
        return InputError(
            f"server {self.address}: it answers with {what}; give the address of OpenAI's protocol, which ends in /v1"
        )


def _refusal(response: requests.Response, path: str) -> str:
    status = f"{response.status_code} {response.reason}"
    if response.status_code in (401, 403):
        return f"it asks for a key ({status}); put it into the environment variable {KEY}"
    if response.status_code in _BUSY:
        return f"it answers {status} again and again; try later, or ask for less at one time (--batch-size)"
    try:
        content = response.json()
        said = content.get("error", content)
        said = said.get("message") or said.get("detail") if isinstance(said, dict) else said
    except (ValueError, AttributeError):
        said = None
    why = " ".join(str(said).split())[:300] if said else "without a word"
    return f"it refuses {path} ({status}): {why}"


def _scored(text: str, logprobs: Any) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Where the tokens of an answer end and how likely they were; nothing, where that cannot be told."""
    try:
        if "content" in logprobs:  # of the chat interface
            pairs = [(entry["token"], float(entry["logprob"])) for entry in logprobs["content"]]
        else:
            pairs = list(zip(logprobs["tokens"], map(float, logprobs["token_logprobs"]), strict=True))
    except (TypeError, KeyError, ValueError):
        return (), ()
    ends, scores, place = [], [], 0
    for token, score in pairs:
        if place == len(text):  # the token that ended the answer is not part of it
            break
        if not text.startswith(token, place):  # a part of a character has no text of its own
            return (), ()
        place += len(token)
        ends.append(place)
        scores.append(score)
    return (tuple(ends), tuple(scores)) if place == len(text) else ((), ())
