"""A base with its adapters, asked about hunks: does it need a review, what is to be said, how should it be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from domains.code_review.data.languages import language_of
from domains.code_review.model.encoding import code_prompt, hunk_prompt, prompt_ids, text_of, yes_and_no
from domains.code_review.model.wording import Task, Template
from domains.code_review.types import Hunk
from suite import adapters
from suite.generation.engine import Engine, Request, Sampling
from suite.generation.vocabulary import Vocabulary

LONGEST = 2048
"""Tokens of a prompt with its answer: what the published adapters were trained on."""

_SLACK = 48
"""Tokens by which revised code may be longer than the code."""


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    Attributes:
        logprob: mean over its tokens. complete: it ended by itself.
    """

    text: str
    logprob: float
    complete: bool


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen; see `ReviewQuery`."""

    max_new_tokens: int = 128
    batch_size: int = 16
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def sampling(self) -> Sampling | None:
        """None takes the likeliest token."""
        return Sampling(self.temperature, top_p=self.top_p) if self.temperature else None


class Session:
    """Asks the adapters of a model.

    Args:
        model: the base with the adapters on it, each named as its task.
        templates: the words of each adapter; a task without one cannot be asked.
        room: tokens that the base takes.
        bare: ask the base alone; its adapters must be off (`suite.adapters.disabled`).
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        templates: Mapping[Task, Template],
        room: int = LONGEST,
        decoding: Decoding = Decoding(),
        notify: Callable[[str], None] = lambda line: None,
        bare: bool = False,
    ) -> None:
        self.model, self.tokenizer, self.templates = model, tokenizer, templates
        self.room, self.decoding, self.notify = min(room, LONGEST), decoding, notify
        self.bare, self.vocabulary = bare, Vocabulary(tokenizer)

    def chances(self, prompts: Sequence[str]) -> list[float]:
        """The chance of yes against no behind each prompt about necessity, from one forward a prompt."""
        if not prompts:
            return []
        asked = [yes_and_no(self.tokenizer, prompt) for prompt in prompts]
        engine = self._engine("necessity", 1)
        if all(len(answer) == 1 for _, answers in asked for answer in answers):
            logits = engine.next_logits([ids for ids, _ in asked])  # (prompts, vocabulary)
            pairs = torch.tensor([[yes[0], no[0]] for _, (yes, no) in asked], device=logits.device)
            scores = logits.gather(1, pairs)
        else:
            ids = [ids for ids, _ in asked for _ in range(2)]
            scores = torch.tensor(engine.logprobs(ids, [answer for _, both in asked for answer in both])).view(-1, 2)
        return [float(chance) for chance in scores.softmax(-1)[:, 0]]

    def written(self, task: Task, prompts: Sequence[str], most: int | None = None) -> list[Written]:
        """What the task's adapter writes behind each prompt.

        Args:
            most: tokens; those of a comment where it is left out.
        """
        seed = self.decoding.seed
        requests = [Request(self._ids(prompt), seed=seed + number) for number, prompt in enumerate(prompts)]
        longest = max((len(request.prompt) for request in requests), default=0)
        most = self.decoding.max_new_tokens if most is None else most
        engine = self._engine(task, max(1, min(most, self.room - longest)))
        found = engine.generate(requests, self.decoding.sampling())
        words = self.templates[task]
        texts = [words.answered(task, self.vocabulary.decode(one.tokens)[0]) for one in found]
        return [Written(text, _mean(one.logprobs), one.complete) for text, one in zip(texts, found, strict=True)]

    def refined(self, prompts: Sequence[str], codes: Sequence[str]) -> list[Written | None]:
        """What the refinement's adapter makes of each code; None where there is no room for both."""
        budgets = [len(self._ids(code)) + _SLACK for code in codes]
        fit = [n for n, (prompt, most) in enumerate(zip(prompts, budgets, strict=True)) if self._holds(prompt, most)]
        found: list[Written | None] = [None] * len(prompts)
        if fit:
            written = self.written("refinement", [prompts[n] for n in fit], max(budgets[n] for n in fit))
            for number, one in zip(fit, written, strict=True):
                found[number] = one
        return found

    def logprobs(self, task: Task, prompts: Sequence[str], answer: str) -> list[float]:
        """How likely one answer is behind each prompt, the sum over its tokens."""
        ids = [self._ids(prompt) for prompt in prompts]
        answers = [self._ids(prompt + answer)[len(own) :] for prompt, own in zip(prompts, ids, strict=True)]
        return self._engine(task, 1).logprobs(ids, answers)

    def fits(self, hunk: Hunk, path: str) -> bool:
        """Whether a hunk with its answer has room, whichever task is asked about it."""
        about: tuple[Task, ...] = ("necessity", "comment")
        most = min(self.decoding.max_new_tokens, self.room // 4)
        return all(self._holds(self.about(task, hunk, path), most) for task in about if task in self.templates)

    def leaves_room(self, prompt: str) -> bool:
        """Whether an answer has room behind a prompt."""
        return self._holds(prompt, min(self.decoding.max_new_tokens, self.room // 4))

    def about(self, task: Task, hunk: Hunk, path: str) -> str:
        """The prompt about a hunk of a file, whose ending tells the language."""
        return hunk_prompt(self.templates[task], task, text_of(hunk), language_of(path))

    def answering(self, code: str, comment: str, path: str) -> str:
        """The prompt about code that is to answer a comment."""
        return code_prompt(self.templates["refinement"], "refinement", code, comment, language_of(path))

    def _engine(self, task: Task, most: int) -> Engine:
        if not self.bare:
            adapters.activate(self.model, task)
        stops = [int(self.tokenizer.eos_token_id)]
        options: dict[str, Any] = {"batch_size": self.decoding.batch_size, "max_new_tokens": most}
        return Engine(self.model, stops, self.vocabulary, notify=self.notify, **options)

    def _ids(self, prompt: str) -> list[int]:
        return prompt_ids(self.tokenizer, prompt)

    def _holds(self, prompt: str, most: int) -> bool:
        return len(self._ids(prompt)) + most <= self.room


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
