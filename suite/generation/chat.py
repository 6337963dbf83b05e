"""How a base model is asked: question and answer to token ids and labels, exactly as it was trained.

A prompt is a sequence of pieces that are tokenised separately, without special tokens, and concatenated; special tokens
go in by id. Text that looks like a special token (`</s>`, `<|user|>`) stays text. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from suite.errors import InputError

IGNORED = -100
"""Label of the positions without loss: prompt and padding."""

_LEAST_RESPONSE = 16  # tokens of the answer that cutting always keeps


@dataclass(frozen=True)
class Special:
    """A token put in by id: `bos`, `eos`, or a token's own name."""

    name: str


@dataclass(frozen=True)
class Encoded:
    """One training sample.

    Attributes:
        input_ids: prompt, answer, end of sequence.
        labels: of the same length; `IGNORED` on the prompt.
        truncated: whether anything was cut to fit.
    """

    input_ids: list[int]
    labels: list[int]
    truncated: bool = False


@dataclass(frozen=True)
class ChatTemplate:
    """How a base model frames question and answer.

    Attributes:
        opening: pieces before the question.
        before, after: text in the question's own first and last piece.
        closing: pieces between question and answer, part of the prompt.
        answering: pieces that open the answer, part of what is learnt.
        counts_eos: whether the end token counts as part of the answer when a sample is cut; otherwise it is appended
            after cutting, and a cut sample is one token longer than the cutoff.
        stops: tokens besides the end token that end an answer.
    """

    name: str
    opening: tuple[str | Special, ...] = ()
    before: str = ""
    after: str = ""
    closing: tuple[str | Special, ...] = ()
    answering: tuple[str, ...] = ()
    counts_eos: bool = True
    stops: tuple[str, ...] = ()

    def frame(self, question: Sequence[str]) -> tuple[str | Special, ...]:
        """Put the pieces of a question into the template."""
        framed = list(question)
        framed[0] = self.before + framed[0]
        framed[-1] += self.after
        return (*self.opening, *framed, *self.closing)

    def cut(self, tokenizer: Any, prompt: list[int], answer: str, cutoff: int) -> Encoded:
        """Join an encoded prompt and its answer, both cut from the right in proportion to their lengths.

        With `p` prompt and `t` answer tokens the answer keeps `max(int(cutoff * t / (p + t)), 16)` and the
        prompt the rest, even where both would have fitted.
        """
        response = self.response(tokenizer, answer)
        response, end = (response, []) if self.counts_eos else (response[:-1], response[-1:])
        for_response = max(int(cutoff * (len(response) / (len(prompt) + len(response)))), _LEAST_RESPONSE)
        for_prompt = cutoff - for_response
        truncated = len(prompt) > for_prompt or len(response) > for_response
        return labelled(prompt[:for_prompt], response[:for_response] + end, truncated)

    def stop_ids(self, tokenizer: Any) -> list[int]:
        """Ids of the tokens that end an answer, the end-of-sequence token first."""
        return [_special_id(tokenizer, name, self.name) for name in ("eos", *self.stops)]

    def response(self, tokenizer: Any, answer: str) -> list[int]:
        """The token ids of an answer with its end token: what is learnt."""
        return [*self.encode(tokenizer, (*self.answering, answer)), _special_id(tokenizer, "eos", self.name)]

    def encode(self, tokenizer: Any, pieces: Sequence[str | Special]) -> list[int]:
        """Tokenise the pieces one by one and join the ids.

        Raises:
            InputError: the tokenizer lacks a special token of the template.
        """
        ids: list[int] = []
        for piece in pieces:
            if isinstance(piece, Special):
                ids.append(_special_id(tokenizer, piece.name, self.name))
            else:
                ids.extend(encode_text(tokenizer, piece))
        return ids


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Tokenise `text` as plain text: nothing is added, and nothing in it is taken for a special token."""
    if not text:
        return []
    added = tokenizer.get_added_vocab()
    lookalikes = [token for token in added if token in text]
    if not lookalikes:
        return list(tokenizer.encode(text, add_special_tokens=False))
    ids = list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))
    parsed = {added[token] for token in lookalikes} - {tokenizer.unk_token_id}
    if parsed.isdisjoint(ids):
        return ids
    # Added tokens that are not marked special are parsed all the same; broken up they are not seen any more.
    inside = "|".join(f"(?<={re.escape(token[0])})(?={re.escape(token[1:])})" for token in lookalikes if len(token) > 1)
    parts = re.split(inside, text) if inside else [text]
    return [
        index for part in parts for index in tokenizer.encode(part, add_special_tokens=False, split_special_tokens=True)
    ]


def shorten(passage: str, fits: Callable[[str], bool]) -> str:
    """Return the longest beginning of `passage`, in sentences and otherwise in words, that `fits`.

    `fits` must hold for every shorter beginning too.
    """
    sentences = [match.end() for match in re.finditer(r"[.!?](?=\s|$)|[。！？]", passage)]
    words = [match.end() for match in re.finditer(r"\S+", passage)]
    return _beginning(passage, sentences, fits) or _beginning(passage, words, fits)


def _beginning(passage: str, ends: list[int], fits: Callable[[str], bool]) -> str:
    count = longest(len(ends), lambda number: fits(passage[: ends[number - 1]]))
    return passage[: ends[count - 1]] if count else ""


def longest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest count in [0, most] that fits, by bisection; 0 always does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def labelled(prompt: list[int], response: list[int], truncated: bool = False) -> Encoded:
    """Prompt and answer as one sample, the prompt without loss."""
    return Encoded(prompt + response, [IGNORED] * len(prompt) + response, truncated)


def _special_id(tokenizer: Any, name: str, template: str) -> int:
    token = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}.get(name)
    if token is None and name not in ("bos", "eos"):
        token = tokenizer.convert_tokens_to_ids(name)
        if token == getattr(tokenizer, "unk_token_id", None):
            token = None
    if token is None:
        raise InputError(f"template {template} needs the token {name!r}, which the tokenizer lacks; choose another")
    return int(token)


TEMPLATES = {
    template.name: template
    for template in (
        ChatTemplate("suite", opening=(Special("bos"),)),
        ChatTemplate("mistral", opening=(Special("bos"),), before="[INST] ", after=" [/INST]"),
        # No BOS and no space before `USER:`: the adapters were trained so.
        ChatTemplate(
            "vicuna",
            opening=(
                "A chat between a curious user and an artificial intelligence assistant. "
                "The assistant gives helpful, detailed, and polite answers to the user's questions.",
            ),
            before="USER: ",
            after=" ASSISTANT:",
        ),
        ChatTemplate(
            "chatglm3",
            opening=(
                Special("[gMASK]"),
                Special("sop"),
                Special("<|system|>"),
                "\n",
                "You are ChatGLM3, a large language model trained by Zhipu.AI. "
                "Follow the user's instructions carefully. Respond using markdown.",
                Special("<|user|>"),
                "\n",
            ),
            closing=(Special("<|assistant|>"),),
            answering=("\n",),
            counts_eos=False,
            stops=("<|user|>", "<|observation|>"),
        ),
    )
}


def chat_template(name: str) -> ChatTemplate:
    """Return the template `suite`, `mistral`, `vicuna` or `chatglm3`.

    Raises:
        InputError: there is no such template.
    """
    try:
        return TEMPLATES[name]
    except KeyError:
        raise InputError(f"unknown chat template {name!r}; choose one of {', '.join(TEMPLATES)}") from None
