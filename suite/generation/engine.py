"""Answer prompts with a causal language model, many side by side: token ids in, token ids out.

Three back ends give the same greedy answers in fp32; they differ in how much goes through the model:

- `sequential`: one prompt at a time, the reference;
- `batched`: prompts of different lengths side by side; an answer that ends makes room for the next prompt;
- `prefix`: the same, and what prompts have in common is forwarded once.

>>> engine = Engine(model, stops=[tokenizer.eos_token_id])
>>> [answer] = engine.generate([Request(tokenizer.encode("Once upon a time"))])
>>> for event in engine.stream([Request(prompt)]):  # tokens as they come
...     print(event.token)
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import LogitsProcessorList

from suite.errors import InputError
from suite.generation.attention import quick_single_tokens
from suite.generation.constraints import advance
from suite.generation.counters import Counters
from suite.generation.kvcache import Rows, join, left_pad, opened
from suite.generation.prefill import Frame, Prefill, acting
from suite.generation.prefix import PromptGroup, share_prefixes
from suite.generation.requests import Completion, Event, Request, Row
from suite.generation.sampling import Sampling
from suite.generation.vocabulary import Vocabulary

Backend = Literal["sequential", "batched", "prefix"]


class Engine:
    """Answers prompts with a causal language model of transformers.

    Args:
        model: the model, adapters attached and switched as they should be.
        stops: ids of the tokens that end an answer.
        vocabulary: what tokens are made of; constraints need it.
        backend: see the module.
        batch_size: prompts side by side; halved where memory runs out.
        max_new_tokens: longest answer.
        notify: told what the user should know, e.g. that the batch was halved.
        frame: of this model, where all prompts begin with it; others are forwarded whole.

    Raises:
        InputError: the batch size is not positive, or the base attends through a sliding window, whose extent is
            counted in columns and so would be wrong with padding (use the sequential back end).
    """

    def __init__(
        self,
        model: nn.Module,
        stops: Iterable[int],
        vocabulary: Vocabulary | None = None,
        *,
        backend: Backend = "prefix",
        batch_size: int = 16,
        max_new_tokens: int = 1024,
        notify: Callable[[str], None] = lambda line: None,
        frame: Frame | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"a batch size of {batch_size} holds nothing; give 1 or more")
        if backend != "sequential" and getattr(model.config, "sliding_window", None):
            raise InputError(
                f"back end {backend!r} pads, which a sliding attention window does not allow; use backend=sequential"
            )
        self.model, self.stops, self.vocabulary, self.backend = model, frozenset(stops), vocabulary, backend
        self.batch_size = 1 if backend == "sequential" else batch_size
        self.max_new_tokens, self.notify, self._frame = max_new_tokens, notify, frame
        self.counters = Counters()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def frame(self, tokens: Sequence[int]) -> Frame:
        """Forward what prompts will begin with, for engines of the same model with the same adapters."""
        with _evaluating(self.model):
            asked, opening = opened(self.model)
            row = opening.select([0])
            row.forward(asked, *left_pad([tokens], self.device))
        self.counters.prefilled_tokens += len(tokens)
        return Frame(tuple(tokens), row)

    def generate(self, requests: Sequence[Request], sampling: Sampling | None = None) -> list[Completion]:
        """Answer the requests, in their order.

        Raises:
            torch.OutOfMemoryError: not even one fits.
        """
        answers = {event.index: event.answer for event in self.stream(requests, sampling) if event.answer}
        return [answers[index] for index in range(len(requests))]

    # The decorator enters inference mode for each step alone: what reads the stream may train between two tokens.
    @torch.inference_mode()
    def stream(self, requests: Sequence[Request], sampling: Sampling | None = None) -> Iterator[Event]:
        """Yield the tokens of all requests as they come; each request's last event holds its whole answer.

        Raises:
            torch.OutOfMemoryError: not even one request fits.
        """
        rows = [Row(index, request) for index, request in enumerate(requests)]
        waiting = {row.index: row for row in rows}
        started = time.perf_counter()
        with _evaluating(self.model):
            while waiting:
                try:
                    for event in self._run(list(waiting.values()), sampling):
                        if event.answer is not None:
                            del waiting[event.index]
                        yield event
                except torch.OutOfMemoryError:
                    if self.batch_size == 1:
                        raise
                    self._halve_batch()
        self.counters.calls += len(rows)
        self.counters.prompt_tokens += sum(len(row.request.prompt) for row in rows)
        self.counters.generated_tokens += sum(len(row.tokens) for row in rows)
        self.counters.seconds += time.perf_counter() - started

    @torch.inference_mode()
    def next_logits(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Return the logits (prompts, V) of the token behind each prompt, in fp32: one forward, nothing generated.

        Raises:
            torch.OutOfMemoryError: not even one prompt fits.
        """
        rows = [Row(index, Request(prompt)) for index, prompt in enumerate(prompts)]
        found: dict[int, Tensor] = {}
        started = time.perf_counter()
        with _evaluating(self.model):
            while waiting := [row for row in rows if row.index not in found]:
                asked, opening = self._opened(waiting)
                prefill = Prefill(partial(acting, self.model, asked), opening, self._plan(waiting), self.counters)
                try:
                    for start in range(0, len(prefill.order), self.batch_size):
                        logits, order = prefill.logits(prefill.order[start : start + self.batch_size])
                        found |= {row.index: one for row, one in zip(order, logits, strict=True)}
                except torch.OutOfMemoryError:
                    if self.batch_size == 1:
                        raise
                    self._halve_batch()
        self.counters.calls += len(rows)
        self.counters.prompt_tokens += sum(map(len, prompts))
        self.counters.seconds += time.perf_counter() - started
        return torch.stack([found[index] for index in range(len(rows))])

    def logprobs(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[float]:
        """Return how likely each prompt's answer is, the sum over its tokens (nats)."""
        asked = [
            [*prompt, *answer[:at]]
            for prompt, answer in zip(prompts, answers, strict=True)
            for at in range(len(answer))
        ]
        wanted = torch.tensor([token for answer in answers for token in answer], device=self.device)
        each = self.next_logits(asked).log_softmax(-1).gather(1, wanted[:, None]).squeeze(1)  # (all tokens,)
        return [float(part.sum()) for part in each.split([len(answer) for answer in answers])]

    def _halve_batch(self) -> None:
        self.batch_size //= 2
        self.notify(f"out of memory: going on with batches of {self.batch_size}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _run(self, rows: Sequence[Row], sampling: Sampling | None) -> Iterator[Event]:
        """Answer `rows` from their beginning, each as soon as a place of the batch is free."""
        for row in rows:
            row.restart()
        warpers = sampling.warpers() if sampling else None
        asked, opening = self._opened(rows)
        ask = partial(acting, self.model, asked)
        prefill = Prefill(ask, opening, self._plan(rows), self.counters)
        queue = deque(prefill.order)
        cache: Rows | None = None
        logits: Tensor | None = None  # (B, V) behind the last token of each active row
        active: list[Row] = []
        while queue or active:
            # 1. Once half of the batch is free, forward new prompts and put them below the rows that go on: a
            #    prefill of several prompts costs little more than one of a single prompt.
            free = self.batch_size - len(active)
            if queue and free >= (self.batch_size + 1) // 2:
                admitted = [queue.popleft() for _ in range(min(free, len(queue)))]
                new_cache, new_logits, admitted = prefill(admitted)
                cache = new_cache if cache is None else join([cache, new_cache])
                logits = new_logits if logits is None else torch.cat([logits, new_logits])
                active += admitted
            assert cache is not None and logits is not None

            # 2. Choose the next token of each row.
            going_on = []
            for place, event in enumerate(self._choose(active, logits, warpers)):
                row = active[place]
                if event.answer is None:
                    going_on.append(place)
                if event.answer is not None or len(row.tokens) > row.sent:
                    row.sent = max(row.sent, len(row.tokens))
                    yield event

            # 3. Drop the rows whose answer ended, and the columns of the cache that only they used.
            if len(going_on) < len(active):
                active = [active[place] for place in going_on]
                if not active:
                    cache, logits = None, None
                    continue
                cache = cache.select(going_on)

            # 4. Forward the chosen tokens.
            ids, real = left_pad([[row.tokens[-1]] for row in active], self.device)  # (B, 1) each
            logits = cache.forward(ask(active), ids, real)  # (B, V)

    def _opened(self, rows: Sequence[Row]) -> tuple[Any, Rows]:
        """The model that is asked, and one row of what stands before the prompts, which are cut behind it."""
        asked, opening = opened(self.model)
        frame = self._frame
        framed = frame is not None and all(
            row.request.adapter is None and frame.begins(row.request.prompt) for row in rows
        )
        for row in rows:
            row.prompt = row.request.prompt[len(frame.tokens) :] if frame and framed else row.request.prompt
        return asked, frame.row if frame and framed else opening

    def _plan(self, rows: Sequence[Row]) -> list[Row]:
        """Order the rows and mark the prefixes they share: long prompts first, so that rows are of like length."""
        prompts = [row.prompt for row in rows]
        groups = [PromptGroup((number,)) for number in range(len(rows))]
        if self.backend == "prefix":
            # Keys and values depend on the adapter: only its own prompts share them.
            groups = []
            for adapter in dict.fromkeys(row.request.adapter for row in rows):
                own = [number for number, row in enumerate(rows) if row.request.adapter == adapter]
                for group in share_prefixes([prompts[number] for number in own]):
                    groups.append(PromptGroup(tuple(own[number] for number in group.rows), group.length))
        longest = {group: max(len(prompts[number]) for number in group.rows) for group in groups}
        ordered = []
        for number, group in enumerate(sorted(groups, key=lambda group: (-longest[group], group.rows))):
            for member in group.rows:
                rows[member].prefix, rows[member].group = group.length, number
                ordered.append(rows[member])
        return ordered

    def _choose(
        self,
        active: Sequence[Row],
        logits: Tensor,  # (B, V)
        warpers: LogitsProcessorList | None,
    ) -> list[Event]:
        """Choose each row's next token."""
        masked = self._mask(active, logits)  # (B, V), -inf where the constraint forbids
        chosen = masked.argmax(dim=-1).tolist() if warpers is None else _sample(active, masked, warpers)
        logprobs = torch.log_softmax(logits, dim=-1)[torch.arange(len(active)), chosen].tolist()
        dead = torch.isneginf(masked).all(dim=-1).tolist()  # nothing is allowed any more
        return [
            Event(row.index, None, row.answer(complete=not over))
            if over or token in self.stops
            else self._append(row, token, logprob)
            for row, token, logprob, over in zip(active, chosen, logprobs, dead, strict=True)
        ]

    def _append(self, row: Row, token: int, logprob: float) -> Event:
        if row.request.constraint is not None:
            assert self.vocabulary is not None
            piece = self.vocabulary.piece(token, first=not row.tokens)
            row.state = advance(row.request.constraint, row.state, piece)
        row.tokens.append(token)
        row.logprobs.append(logprob)
        over = row.request.ends is not None and row.request.ends(row.tokens)
        full = len(row.tokens) == self.max_new_tokens
        return Event(row.index, token, row.answer(complete=over) if over or full else None)

    def _mask(self, active: Sequence[Row], logits: Tensor) -> Tensor:
        if all(row.request.constraint is None for row in active):
            return logits
        if self.vocabulary is None:
            raise ValueError("constraints speak of bytes: give the engine a Vocabulary")
        allowed = torch.zeros(logits.shape, dtype=torch.bool)  # (B, V) on the CPU: filled row by row
        for flags, row in zip(allowed, active, strict=True):
            constraint = row.request.constraint
            if constraint is None:
                flags[:] = True
                continue
            flags[self.vocabulary.allowed(constraint, row.state, first=not row.tokens)] = True
            if constraint.accepts(row.state):
                flags[list(self.stops)] = True
        return logits.masked_fill(~allowed.to(logits.device), -torch.inf)


def _sample(active: Sequence[Row], logits: Tensor, warpers: LogitsProcessorList) -> list[int]:
    """Draw each row's token with the row's own generator, on the CPU: the same on every device, in every batch."""
    probabilities = warpers(None, logits).softmax(dim=-1).nan_to_num().cpu()  # (B, V)
    return [
        int(torch.multinomial(one, 1, generator=row.generator)) if one.any() else 0
        for one, row in zip(probabilities, active, strict=True)
    ]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout, attention as it is quickest, and the model's mode as it was afterwards."""
    training = model.training
    # Setting the mode costs as much as a small forward; mostly it is set.
    setting = any(module.training for module in model.modules())
    if setting:
        model.eval()
    try:
        with quick_single_tokens(model):
            yield
    finally:
        if setting:
            model.train(training)
