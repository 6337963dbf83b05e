"""From a call and its answer to token ids and labels, exactly as the adapters were trained (spec section 3.2).

Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.model.protocol import Protocol
from suite.errors import InputError
from suite.generation import chat
from suite.generation.chat import ChatTemplate, Encoded, Special, labelled, longest, shorten

Truncation = Literal["suite", "official"]


@dataclass(frozen=True)
class CallTemplate(ChatTemplate):
    """A base's chat template that takes the calls of a protocol.

    Attributes:
        shots: solved examples that stand before every question.
    """

    shots: str = ""

    def pieces(self, protocol: Protocol, call: Call) -> tuple[str | Special, ...]:
        """What is tokenised piece by piece for `call`: the framed question without the answer."""
        question = protocol.pieces(call)
        return self.frame((self.shots, *question) if self.shots else question)

    def encode_prompt(self, tokenizer: Any, protocol: Protocol, call: Call) -> list[int]:
        """Return the token ids after which the answer to `call` is generated.

        Raises:
            InputError: the tokenizer lacks a special token of the template.
        """
        return self.encode(tokenizer, self.pieces(protocol, call))

    def encode_sample(
        self,
        tokenizer: Any,
        protocol: Protocol,
        call: Call,
        answer: str,
        cutoff: int,
        truncation: Truncation = "suite",
    ) -> Encoded:
        """Encode one training sample of at most `cutoff` tokens.

        Args:
            truncation: `suite` drops trailing sentences of the passage, so that the instruction survives, and whole
                trailing lines of an answer that fills more than half of the cutoff (the end token then goes too:
                the list does not end there). `official` cuts question and answer from the right in proportion to
                their lengths, instruction and end token included.

        Raises:
            InputError: the tokenizer lacks a special token, or the instruction alone does not fit.
        """
        prompt = self.encode_prompt(tokenizer, protocol, call)
        if truncation == "official":
            return self.cut(tokenizer, prompt, answer, cutoff)
        response = self.response(tokenizer, answer)
        if len(prompt) + len(response) <= cutoff:
            return labelled(prompt, response)
        return self._shorten(tokenizer, protocol, call, answer, cutoff)

    def _shorten(self, tokenizer: Any, protocol: Protocol, call: Call, answer: str, cutoff: int) -> Encoded:
        def prompt(passage: str) -> list[int]:
            return self.encode_prompt(tokenizer, protocol, replace(call, passage=passage))

        # The answer may take half of the cutoff, or what the whole question leaves if that is more.
        room = cutoff - min(len(prompt(call.passage)), cutoff - cutoff // 2)
        response = self.response(tokenizer, answer)
        if len(response) > room:
            response = self._leading_lines(tokenizer, answer, room)
        budget = cutoff - len(response)
        if len(prompt("")) > budget:
            raise InputError(
                f"a cutoff of {cutoff} tokens has no room for the instruction of step {call.step}; raise it"
            )
        passage = shorten(call.passage, lambda text: len(prompt(text)) <= budget)
        return labelled(prompt(passage), response, truncated=True)

    def _leading_lines(self, tokenizer: Any, answer: str, room: int) -> list[int]:
        """The tokens of as many leading lines as fit, without end token; of a part of the first where none does."""
        lines = answer.split("\n")

        def leading(count: int) -> list[int]:
            return self.encode(tokenizer, (*self.answering, "\n".join(lines[:count]) + "\n"))

        count = longest(len(lines) - 1, lambda number: len(leading(number)) <= room)
        return leading(count) if count else self.response(tokenizer, answer)[:room]


class OwnTemplate(CallTemplate):
    """The chat template that a tokenizer brings along; text as it is where it brings none."""

    def encode_prompt(self, tokenizer: Any, protocol: Protocol, call: Call) -> list[int]:
        question = "".join(piece for piece in self.pieces(protocol, call) if isinstance(piece, str))
        before, after = self._frame(tokenizer)
        opening, closing = (list(tokenizer.encode(text, add_special_tokens=False)) for text in (before, after))
        # The question apart: what looks like a special token in a user's text stays text.
        return [*opening, *chat.encode_text(tokenizer, question), *closing]

    def _frame(self, tokenizer: Any) -> tuple[str, str]:
        """What the tokenizer puts before and after a question."""
        if not getattr(tokenizer, "chat_template", None):
            return tokenizer.bos_token or "", ""
        message = [{"role": "user", "content": _QUESTION}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        before, found, after = text.partition(_QUESTION)
        if not found:
            raise InputError("the base's chat template does not show the user's message; choose another base")
        return before, after


_QUESTION = "QUESTION-GOES-HERE"

OWN = "own"


def chat_template(name: str) -> CallTemplate:
    """Return the template `suite`, `mistral`, `vicuna` or `chatglm3`, or `own`: what the tokenizer brings along.

    Raises:
        InputError: there is no such template.
    """
    if name == OWN:
        return OwnTemplate(OWN)
    return CallTemplate(**vars(chat.chat_template(name)))
