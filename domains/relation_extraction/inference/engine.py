"""Run the calls of a step through a language model: one by one, in batches, or in batches with shared prefixes.

The three back ends give the same greedy answers in fp32; they differ in how much goes through the model:

- `sequential`: one call at a time, the reference;
- `batched`: calls of different lengths side by side; a call that ends makes room for the next one;
- `prefix`: the same, and what the prompts of the step have in common is forwarded once.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from transformers import (
    InfNanRemoveLogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from domains.relation_extraction.inference.constraints import Constraint, State, advance
from domains.relation_extraction.inference.kvcache import Rows, join, left_pad
from domains.relation_extraction.inference.prefix import Group, share_prefixes
from domains.relation_extraction.inference.vocabulary import Vocabulary
from domains.relation_extraction.model.encoding import ChatTemplate
from domains.relation_extraction.model.protocol import Layout
from domains.relation_extraction.model.protocol import Protocol as PromptProtocol
from domains.relation_extraction.types import Call, Generation
from suite.errors import InputError

Backend = Literal["sequential", "batched", "prefix"]
Decoding = Literal["greedy", "official"]
Constrain = Callable[[Call], Constraint]


class Engine(Protocol):
    """What answers calls."""

    def generate(
        self, calls: Sequence[Call], *, constraint: Constrain | None = None, attempt: int = 0
    ) -> list[Generation]:
        """Answer the calls of ONE step, in their order."""
        ...


@dataclass
class Counters:
    """What a run cost.

    Attributes:
        prompt_tokens: tokens of all prompts, as if each were forwarded whole.
        prefilled_tokens: prompt tokens that really went through the model.
    """

    calls: int = 0
    prompt_tokens: int = 0
    prefilled_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0


@dataclass
class _Request:
    """One call on its way: what is asked, and what was answered so far."""

    index: int
    prompt: list[int]
    constraint: Constraint | None
    seed: int
    prefix: int = 0
    group: int = -1
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    state: State = None
    generator: torch.Generator | None = None

    def restart(self) -> None:
        self.tokens, self.logprobs = [], []
        self.state = self.constraint.start if self.constraint else None
        self.generator = torch.Generator().manual_seed(self.seed)


class ModelEngine:
    """Answers calls with a causal language model and its adapters.

    Args:
        model: a transformers causal language model, adapters attached.
        activate: switches to the adapter of that name; None: the model is used as it is.
        max_new_tokens: longest answer; the official limit is 1,024.
        decoding: `greedy`, or `official`: sampled with the values of the official code (spec section 6.1).
        seed: of the sampling; an answer depends on it and on the prompt, not on the batch it is in.
        notify: told what the user should know, e.g. that the batch was halved.

    Raises:
        InputError: the batch size is not positive, or the base attends through a sliding window, whose extent is
            counted in columns and so would be wrong with padding (use the sequential back end).
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        template: ChatTemplate,
        protocol: PromptProtocol,
        *,
        layout: Layout = "three",
        activate: Callable[[str], None] | None = None,
        backend: Backend = "prefix",
        batch_size: int = 16,
        max_new_tokens: int = 1024,
        decoding: Decoding = "greedy",
        seed: int = 0,
        notify: Callable[[str], None] = lambda line: None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"a batch size of {batch_size} holds nothing; give 1 or more")
        if backend != "sequential" and getattr(model.config, "sliding_window", None):
            raise InputError(
                f"back end {backend!r} pads, which a sliding attention window does not allow; use backend=sequential"
            )
        self.model, self.tokenizer, self.template, self.protocol = model, tokenizer, template, protocol
        self.layout, self.activate, self.backend = layout, activate, backend
        self.batch_size = 1 if backend == "sequential" else batch_size
        self.max_new_tokens, self.decoding, self.seed, self.notify = max_new_tokens, decoding, seed, notify
        self.counters = Counters()
        self.vocabulary = Vocabulary(tokenizer)
        self._stops = frozenset(template.stop_ids(tokenizer))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

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
        requests = [self._request(index, call, constraint, attempt) for index, call in enumerate(calls)]
        warpers = _official_warpers() if attempt or self.decoding == "official" else None
        started = time.perf_counter()
        answers: dict[int, Generation] = {}
        with _evaluating(self.model):
            while pending := [request for request in requests if request.index not in answers]:
                try:
                    self._run(pending, warpers, answers)
                except torch.OutOfMemoryError:
                    if self.batch_size == 1:
                        raise
                    self._halve_batch()
        self.counters.calls += len(calls)
        self.counters.prompt_tokens += sum(len(request.prompt) for request in requests)
        self.counters.generated_tokens += sum(len(request.tokens) for request in requests)
        self.counters.seconds += time.perf_counter() - started
        return [answers[index] for index in range(len(calls))]

    def _request(self, index: int, call: Call, constraint: Constrain | None, attempt: int) -> _Request:
        prompt = self.encode(call)
        digest = hashlib.sha256(f"{self.seed}/{attempt}/{prompt}".encode()).digest()
        automaton = constraint(call) if constraint else None
        return _Request(index, prompt, automaton, int.from_bytes(digest[:7], "big"))

    def _halve_batch(self) -> None:
        self.batch_size //= 2
        self.notify(f"out of memory: going on with batches of {self.batch_size}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _run(
        self, requests: Sequence[_Request], warpers: LogitsProcessorList | None, answers: dict[int, Generation]
    ) -> None:
        """Answer `requests`, each as soon as a row of the batch is free."""
        for request in requests:
            request.restart()
        prefill = _Prefill(self.model, self.device, self._plan(requests), self.counters)
        queue = deque(prefill.order)
        rows: Rows | None = None
        logits: Tensor | None = None
        active: list[_Request] = []
        while queue or active:
            free = self.batch_size - len(active)
            if queue and free >= (self.batch_size + 1) // 2:
                admitted = [queue.popleft() for _ in range(min(free, len(queue)))]
                new_rows, new_logits, admitted = prefill(admitted)
                rows = new_rows if rows is None else join([rows, new_rows])
                logits = new_logits if logits is None else torch.cat([logits, new_logits])
                active += admitted
            assert rows is not None and logits is not None
            going_on = self._append(active, logits, warpers, answers)
            if len(going_on) < len(active):
                active = [active[place] for place in going_on]
                if not active:
                    rows, logits = None, None
                    continue
                rows = rows.select(going_on)
            ids, real = left_pad([[request.tokens[-1]] for request in active], self.device)
            logits = rows.forward(self.model, ids, real)

    def _plan(self, requests: Sequence[_Request]) -> list[_Request]:
        """Order the requests and mark the prefixes they share: long prompts first, so that rows are of like length."""
        if self.backend == "prefix":
            groups = share_prefixes([request.prompt for request in requests])
        else:
            groups = [Group((row,)) for row in range(len(requests))]
        longest = {group: max(len(requests[row].prompt) for row in group.rows) for group in groups}
        ordered = []
        for number, group in enumerate(sorted(groups, key=lambda group: (-longest[group], group.rows))):
            for row in group.rows:
                requests[row].prefix, requests[row].group = group.length, number
                ordered.append(requests[row])
        return ordered

    def _append(
        self,
        active: Sequence[_Request],
        logits: Tensor,  # (B, V)
        warpers: LogitsProcessorList | None,
        answers: dict[int, Generation],
    ) -> list[int]:
        """Choose each row's next token; return the rows that go on, and put the answers of the others away."""
        masked = self._mask(active, logits)
        chosen = masked.argmax(dim=-1).tolist() if warpers is None else self._sample(active, masked, warpers)
        # Scores are the model's own, before any constraint or warping.
        logprobs = torch.log_softmax(logits, dim=-1)[torch.arange(len(active)), chosen].tolist()
        dead = torch.isneginf(masked).all(dim=-1).tolist()
        going_on = []
        for place, (request, token, logprob) in enumerate(zip(active, chosen, logprobs, strict=True)):
            if dead[place] or token in self._stops:
                answers[request.index] = self._answer(request, complete=not dead[place])
                continue
            if request.constraint is not None:
                piece = self.vocabulary.piece(token, first=not request.tokens)
                request.state = advance(request.constraint, request.state, piece)
            request.tokens.append(token)
            request.logprobs.append(logprob)
            if len(request.tokens) == self.max_new_tokens:
                answers[request.index] = self._answer(request, complete=False)
            else:
                going_on.append(place)
        return going_on

    def _mask(self, active: Sequence[_Request], logits: Tensor) -> Tensor:
        if all(request.constraint is None for request in active):
            return logits
        allowed = torch.zeros(logits.shape, dtype=torch.bool)
        for row, request in zip(allowed, active, strict=True):
            if request.constraint is None:
                row[:] = True
                continue
            row[self.vocabulary.allowed(request.constraint, request.state, first=not request.tokens)] = True
            if request.constraint.accepts(request.state):
                row[list(self._stops)] = True
        return logits.masked_fill(~allowed.to(logits.device), -torch.inf)

    def _sample(self, active: Sequence[_Request], logits: Tensor, warpers: LogitsProcessorList) -> list[int]:
        probabilities = warpers(None, logits).softmax(dim=-1).nan_to_num().cpu()
        return [
            int(torch.multinomial(row, 1, generator=request.generator)) if row.any() else 0
            for row, request in zip(probabilities, active, strict=True)
        ]

    def _answer(self, request: _Request, complete: bool) -> Generation:
        text, ends = self.vocabulary.decode(request.tokens)
        if request.constraint is not None and not complete:
            text = text[: text.rfind("\n") + 1]  # the line that was being written is not well-formed
            ends = tuple(min(end, len(text)) for end in ends)
        return Generation(text, complete, ends, tuple(request.logprobs))


class _Prefill:
    """Forwards prompts, each shared prefix once.

    Args:
        order: the requests in the order in which they will be admitted, those of a group together.
    """

    def __init__(self, model: nn.Module, device: torch.device, order: Sequence[_Request], counters: Counters) -> None:
        self.model, self.device, self.order, self.counters = model, device, order, counters
        self._waiting = Counter(request.group for request in order)
        self._prefixes: dict[int, Rows] = {}

    def __call__(self, requests: Sequence[_Request]) -> tuple[Rows, Tensor, list[_Request]]:
        """Return the rows of `requests`, the logits (B, V) of their first token, and the order they stand in."""
        parts, logits, order = [], [], []
        for shared in (True, False):
            if chosen := [request for request in requests if (request.prefix > 0) == shared]:
                rows = self._shared(chosen) if shared else Rows.empty(len(chosen), self.device)
                logits.append(self._forward(rows, [request.prompt[request.prefix :] for request in chosen]))
                parts.append(rows)
                order += chosen
        return join(parts), torch.cat(logits), order

    def _shared(self, requests: Sequence[_Request]) -> Rows:
        """The keys and values of each request's prefix; computed now where they are not there yet."""
        missing = {request.group: request for request in requests if request.group not in self._prefixes}
        if missing:
            rows = Rows.empty(len(missing), self.device)
            self._forward(rows, [request.prompt[: request.prefix] for request in missing.values()])
            self._prefixes |= {group: rows.select([place]) for place, group in enumerate(missing)}
        joined = join([self._prefixes[request.group] for request in requests])
        for request in requests:
            self._waiting[request.group] -= 1
            if not self._waiting[request.group]:
                del self._prefixes[request.group]
        return joined

    def _forward(self, rows: Rows, sequences: Sequence[Sequence[int]]) -> Tensor:
        self.counters.prefilled_tokens += sum(map(len, sequences))
        return rows.forward(self.model, *left_pad(sequences, self.device))


def _official_warpers() -> LogitsProcessorList:
    """Sampling as the official code has it, in the order in which transformers applies it."""
    warpers = (
        InfNanRemoveLogitsProcessor(),
        TemperatureLogitsWarper(0.95),
        TopKLogitsWarper(50),
        TopPLogitsWarper(0.6),
    )
    return LogitsProcessorList(warpers)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradients, and the model's mode as it was afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
