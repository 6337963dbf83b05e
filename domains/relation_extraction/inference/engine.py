"""From calls to generations: the calls of a step become requests to the step's adapter, and token ids become text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from torch import nn

from domains.relation_extraction.model.calls import Call, Generation
from domains.relation_extraction.model.encoding import CallTemplate
from domains.relation_extraction.model.protocol import SAMPLING, Layout
from domains.relation_extraction.model.protocol import Protocol as PromptProtocol
from suite.generation.constraints import Constraint
from suite.generation.counters import Counters
from suite.generation.engine import Completion, Engine, Request
from suite.generation.sampling import Sampling
from suite.generation.vocabulary import Vocabulary

Decoding = Literal["greedy", "official"]
Constrain = Callable[[Call], Constraint]

OFFICIAL_SAMPLING = Sampling(temperature=SAMPLING["temperature"], top_k=int(SAMPLING["top_k"]), top_p=SAMPLING["top_p"])


class Answering(Protocol):
    """What answers calls."""

    def generate(
        self, calls: Sequence[Call], *, constraint: Constrain | None = None, attempt: int = 0
    ) -> list[Generation]:
        """Answer the calls of ONE step, in their order."""
        ...


class ModelEngine:
    """Answers calls with a causal language model and its adapters.

    Args:
        model: a transformers causal language model, adapters attached.
        activate: switches to the adapter of that name; None: the model is used as it is.
        decoding: `greedy`, or `official`: sampled with the values of the official code (spec section 6.1).
        seed: of the sampling; an answer depends on it and on the prompt, not on the batch it is in.
        **options: of `suite.generation.engine.Engine`: back end, batch size, longest answer, `notify`.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        template: CallTemplate,
        protocol: PromptProtocol,
        *,
        layout: Layout = "three",
        activate: Callable[[str], None] | None = None,
        decoding: Decoding = "greedy",
        seed: int = 0,
        **options: Any,
    ) -> None:
        self.tokenizer, self.template, self.protocol = tokenizer, template, protocol
        self.layout, self.activate, self.decoding, self.seed = layout, activate, decoding, seed
        self.vocabulary = Vocabulary(tokenizer)
        self.engine = Engine(model, template.stop_ids(tokenizer), self.vocabulary, **options)

    @property
    def counters(self) -> Counters:
        return self.engine.counters

    def encode(self, call: Call) -> list[int]:
        """The token ids of the prompt of `call`."""
        return self.template.encode_prompt(self.tokenizer, self.protocol, call)

    def generate(
        self, calls: Sequence[Call], *, constraint: Constrain | None = None, attempt: int = 0
    ) -> list[Generation]:
        """Answer the calls of one step, in their order.

        Args:
            constraint: gives each call the automaton of its well-formed answers.
            attempt: above 0 the answers are sampled with the official values, each attempt with a seed of its own:
                for asking again what could not be parsed.

        Raises:
            ValueError: the calls are of several steps, which several adapters answer.
            torch.OutOfMemoryError: not even one call fits.
        """
        if not calls:
            return []
        if len({call.step for call in calls}) > 1:
            raise ValueError("the calls of one generate() must be of one step: each step may have its own adapter")
        if self.activate is not None:
            self.activate(self.protocol.adapter(calls[0].step, self.layout))
        requests = [self._request(call, constraint, attempt) for call in calls]
        sampling = OFFICIAL_SAMPLING if attempt or self.decoding == "official" else None
        answers = self.engine.generate(requests, sampling)
        return [self._generation(*pair) for pair in zip(requests, answers, strict=True)]

    def _request(self, call: Call, constraint: Constrain | None, attempt: int) -> Request:
        prompt = self.encode(call)
        digest = hashlib.sha256(f"{self.seed}/{attempt}/{prompt}".encode()).digest()
        return Request(prompt, constraint(call) if constraint else None, int.from_bytes(digest[:7], "big"))

    def _generation(self, request: Request, answer: Completion) -> Generation:
        text, ends = self.vocabulary.decode(answer.tokens)
        if request.constraint is not None and not answer.complete:
            text = text[: text.rfind("\n") + 1]  # the line that was being written is not well-formed
            ends = tuple(min(end, len(text)) for end in ends)
        return Generation(text, answer.complete, ends, answer.logprobs)
