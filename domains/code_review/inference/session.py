"""A base with its adapters, asked about hunks: does it need a review, what is to be said, how should it be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from domains.code_review.data.languages import language_of
from domains.code_review.inference.answers import Answers
from domains.code_review.model.encoding import code_prompt, hunk_prompt, prompt_ids, shared, text_of, yes_and_no
from domains.code_review.model.wording import Task, Template
from domains.code_review.types import Hunk
from suite import adapters
from suite.generation.engine import Completion, Engine, Frame, Request
from suite.generation.kvcache import left_pad
from suite.generation.sampling import Sampling
from suite.generation.vocabulary import Vocabulary

LONGEST = 2048
"""Tokens of a prompt with its answer: what the published adapters were trained on."""

_LEAST_FRAME = 8
"""Tokens; a shorter beginning is not worth a forward of its own."""

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
    num_beams: int = 1
    repetition_penalty: float = 1.0

    @property
    def drawn(self) -> bool:
        """Whether chance has a part in it."""
        return bool(self.temperature)

    @property
    def searched(self) -> bool:
        """Whether it takes more than the likeliest token, or a draw, at every step."""
        return self.num_beams > 1 or self.repetition_penalty != 1.0

    def sampling(self) -> Sampling | None:
        """None takes the likeliest token."""
        return Sampling(self.temperature, top_p=self.top_p) if self.temperature else None


class Session:
    """Asks the adapters of a model.

    Args:
        model: the base with the adapters on it, each named as its task; or what loads it once it is needed.
        templates: the words of each adapter; a task without one cannot be asked.
        room: tokens that the base takes.
        bare: ask the base alone; its adapters must be off (`suite.adapters.disabled`).
        answers: what was answered before; None asks the model every time.
        frames: what every prompt of a task begins with, as far as it was forwarded before; grows.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[], nn.Module],
        tokenizer: Any,
        templates: Mapping[Task, Template],
        room: int = LONGEST,
        decoding: Decoding = Decoding(),
        notify: Callable[[str], None] = lambda line: None,
        bare: bool = False,
        answers: Answers | None = None,
        frames: dict[Task, Frame] | None = None,
    ) -> None:
        self._model, self.tokenizer, self.templates = model, tokenizer, templates
        self.room, self.decoding, self.notify = min(room, LONGEST), decoding, notify
        self.bare, self.vocabulary, self.answers = bare, Vocabulary(tokenizer), answers
        self.frames = {} if frames is None else frames

    @property
    def model(self) -> Any:
        """The base with the adapters."""
        if not isinstance(self._model, nn.Module):
            self._model = self._model()
        return self._model

    def chances(self, prompts: Sequence[str]) -> list[float]:
        """The chance of yes against no behind each prompt about necessity, from one forward a prompt."""
        if not prompts:
            return []
        return self._remembered(["chance"], prompts, self._chances, lambda chance: self._learnt())

    def _learnt(self) -> bool:
        """Whether what decides was trained; asked once the model is there."""
        return True

    def _chances(self, prompts: Sequence[str]) -> list[float]:
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
        most = self.decoding.max_new_tokens if most is None else most
        if self.decoding.drawn:
            return self._written(task, prompts, most)
        settings = [task, most, self.decoding.num_beams, self.decoding.repetition_penalty]
        # One that had to end for want of room would have gone on in a batch of shorter prompts.
        free = all(self._holds(prompt, most) for prompt in prompts)
        found = self._remembered(
            settings,
            prompts,
            lambda asked: [[one.text, one.logprob, one.complete] for one in self._written(task, asked, most)],
            lambda value: free or value[2],
        )
        return [Written(*one) for one in found]

    def _written(self, task: Task, prompts: Sequence[str], most: int) -> list[Written]:
        seed = self.decoding.seed
        requests = [Request(self._ids(prompt), seed=seed + number) for number, prompt in enumerate(prompts)]
        longest = max((len(request.prompt) for request in requests), default=0)
        most = max(1, min(most, self.room - longest))
        if self.decoding.searched:
            found = self._search(task, requests, most)
        else:
            found = self._engine(task, most).generate(requests, self.decoding.sampling())
        words = self.templates[task]
        texts = [words.answered(task, self.vocabulary.decode(one.tokens)[0]) for one in found]
        return [Written(text, _mean(one.logprobs), one.complete) for text, one in zip(texts, found, strict=True)]

    def _search(self, task: Task, requests: Sequence[Request], most: int) -> list[Completion]:
        """The same by transformers' own search: with beams, or a penalty on what was said before."""
        self._switch(task)
        own, model = self.decoding, self.model
        stop = int(self.tokenizer.eos_token_id)
        options: dict[str, Any] = {"num_beams": own.num_beams, "early_stopping": own.num_beams > 1}
        if own.drawn:
            options |= {"do_sample": True, "temperature": own.temperature, "top_p": own.top_p, "top_k": 0}
        found: list[Completion] = []
        rows = max(1, own.batch_size // own.num_beams)
        for start in range(0, len(requests), rows):
            prompts = [request.prompt for request in requests[start : start + rows]]
            ids, real = left_pad(prompts, next(model.parameters()).device)  # (B, S) each
            with torch.inference_mode(), torch.random.fork_rng():
                torch.manual_seed(own.seed + start)
                told = model.generate(
                    input_ids=ids,
                    attention_mask=real.long(),
                    max_new_tokens=most,
                    repetition_penalty=own.repetition_penalty,
                    eos_token_id=stop,
                    pad_token_id=stop,
                    return_dict_in_generate=True,
                    output_logits=True,
                    **options,
                )
                scores = model.compute_transition_scores(
                    told.sequences, told.logits, getattr(told, "beam_indices", None), normalize_logits=True
                )  # (B, new)
            for tokens, each in zip(told.sequences[:, ids.shape[1] :].tolist(), scores.tolist(), strict=True):
                length = tokens.index(stop) if stop in tokens else len(tokens)
                found.append(Completion(tuple(tokens[:length]), tuple(each[:length]), stop in tokens))
        return found

    def _remembered(
        self,
        settings: Sequence[Any],
        prompts: Sequence[str],
        make: Callable[[Sequence[str]], list[Any]],
        keeps: Callable[[Any], bool] = lambda value: True,
    ) -> list[Any]:
        """What `make` gives for the prompts, of which those that were answered before are not asked again."""
        if self.answers is None:
            return make(prompts)
        keys = {prompt: self.answers.key(*settings, prompt) for prompt in prompts}
        found = self.answers.find(list(keys.values()))
        if missing := [prompt for prompt, key in keys.items() if key not in found]:
            made = {keys[prompt]: value for prompt, value in zip(missing, make(missing), strict=True)}
            self.answers.keep({key: value for key, value in made.items() if keeps(value)})
            found |= made
        return [found[keys[prompt]] for prompt in prompts]

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
        self._switch(task)
        stops = [int(self.tokenizer.eos_token_id)]
        options: dict[str, Any] = {"batch_size": self.decoding.batch_size, "max_new_tokens": most}
        if task not in self.frames and len(begun := self._beginning(task)) >= _LEAST_FRAME:
            self.frames[task] = Engine(self.model, stops).frame(begun)
        frame = self.frames.get(task)
        return Engine(self.model, stops, self.vocabulary, notify=self.notify, frame=frame, **options)

    def _beginning(self, task: Task) -> list[int]:
        """The tokens that every prompt of a task begins with."""
        template = self.templates[task]
        if task == "refinement":
            prompts = [code_prompt(template, task, code, comment) for code, comment in (("a", "Why?"), ("    b", "no"))]
        else:
            prompts = [hunk_prompt(template, task, text) for text in ("@@ -1 +1,2 @@\n a", "@@ -20,3 +4 @@ def f\n-b")]
        first, second = (self._ids(prompt) for prompt in prompts)
        return first[: shared(first, second)]

    def _switch(self, task: Task) -> None:
        if not self.bare:
            adapters.activate(self.model, task)

    def _ids(self, prompt: str) -> list[int]:
        return prompt_ids(self.tokenizer, prompt)

    def _holds(self, prompt: str, most: int) -> bool:
        return len(self._ids(prompt)) + most <= self.room


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
