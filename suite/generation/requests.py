"""What an engine is asked and answers: requests, tokens as they come, completions, and a row of the batch for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from suite.generation.constraints import Constraint, State


@dataclass(frozen=True)
class Request:
    """One prompt.

    Attributes:
        constraint: the well-formed answers; None: any.
        seed: of the sampling; an answer depends on it and on the prompt, not on the batch that it is in.
        ends: whether an answer of these tokens is over; asked after every token.
        adapter: that answers it, beside others in one batch (`suite.adapters.rows`); None: what is active, or, beside
            requests that name theirs, the base alone.
    """

    prompt: Sequence[int]
    constraint: Constraint | None = None
    seed: int = 0
    ends: Callable[[Sequence[int]], bool] | None = None
    adapter: str | None = None


@dataclass(frozen=True)
class Completion:
    """What the model answered.

    Attributes:
        tokens: without the one that ended the answer.
        logprobs: of each token (nats), the model's own, before any constraint or warping.
        complete: False where it reached `max_new_tokens`, or no token was allowed.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    complete: bool


@dataclass(frozen=True)
class Event:
    """One token of the request `index`, or with its last token or in place of one, the whole answer."""

    index: int
    token: int | None
    answer: Completion | None = None


@dataclass
class Row:
    """One request on its way: what was answered so far, and which prefix it shares with its group.

    Attributes:
        prompt: what of its prompt stands behind the frame. prefix: how much of that its group shares.
    """

    index: int
    request: Request
    prompt: Sequence[int] = ()
    prefix: int = 0
    group: int = -1
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    state: State = None
    generator: torch.Generator | None = None
    sent: int = 0

    def restart(self) -> None:
        """Begin anew; the same seed gives the same tokens, of which those already sent are not sent again."""
        self.tokens, self.logprobs = [], []
        self.state = self.request.constraint.start if self.request.constraint else None
        self.generator = torch.Generator().manual_seed(self.request.seed)

    def answer(self, complete: bool) -> Completion:
        return Completion(tuple(self.tokens), tuple(self.logprobs), complete)
