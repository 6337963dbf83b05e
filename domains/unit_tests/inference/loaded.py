"""A base with its adapter, loaded on first use, and its answers to sources. Imports no torch before that."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from domains.unit_tests.model import encoding
from domains.unit_tests.model.manifest import Manifest
from domains.unit_tests.types import WriterQuery
from suite import hub
from suite.errors import InputError
from suite.prediction.loading import Chosen

if TYPE_CHECKING:
    from torch import nn

    from suite.generation.engine import Engine
    from suite.generation.vocabulary import Vocabulary

DOMAIN = "unit_tests"
_ROOM = 2048
"""Tokens that a base takes whose configuration does not say so."""

IMPLAUSIBLE = 0.6
"""Of what chance would; the shipped base is at 0.16, one with random weights at 1."""
_PLAIN = """def largest(values):
    best = values[0]
    for value in values:
        if value > best:
            best = value
    return best
"""

Ends = Callable[[str], bool]
"""Whether an answer that begins with this text is over."""


@dataclass(frozen=True)
class Answer:
    """What the model made of a source.

    Attributes:
        text: behind the source.
        complete: False where it was cut at the most tokens.
        logprob: mean of its tokens' (nats); 0 where there is none.
    """

    text: str
    complete: bool
    logprob: float = 0.0

    @property
    def finish_reason(self) -> Literal["stop", "length"]:
        return "stop" if self.complete else "length"


class LoadedWriter:
    """A base and its adapter; the base is loaded on first use.

    Attributes:
        adapter, base: references, as they were given or found.
        manifest: how the adapter was trained.
    """

    def __init__(
        self,
        chosen: Chosen | None,
        *,
        adapter: str,
        base: str,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self.chosen, self.adapter, self.base = chosen, adapter, base
        self.manifest = Manifest() if chosen is None else Manifest.from_dict(chosen.settings, chosen.folder)
        self._device, self._dtype = device, dtype
        if (device, dtype) != ("auto", "auto"):  # what can be wrong is told now
            _ = self._placed

    def frozen(self) -> Self:
        """The base alone, asked in the very same way."""
        bare = type(self)(None, adapter="none", base=self.base, device=self._device, dtype=self._dtype)
        bare.manifest = self.manifest
        return bare

    def use_blocks(self, blocks: int | None) -> None:
        """Take a CodeGen's fused projections as so many blocks; None: as the adapter was trained.

        Raises:
            InputError: the adapter was trained with another number.
        """
        if blocks is None or blocks == self.manifest.qkv_blocks:
            return
        if self.chosen is not None and self.chosen.settings:
            raise InputError(
                f"--qkv-blocks {blocks}: the adapter {self.adapter} was trained with {self.manifest.qkv_blocks}; leave "
                "it out"
            )
        self.manifest = replace(self.manifest, qkv_blocks=blocks)
        self.__dict__.pop("model", None)  # it is loaded anew

    @cached_property
    def _placed(self) -> tuple[str, Any]:
        from suite.devices import choose_device, choose_dtype

        device = choose_device(self._device)
        return device, choose_dtype(self._dtype, device)

    @cached_property
    def tokenizer(self) -> Any:
        from suite.generation.tokenizer import load_tokenizer

        return load_tokenizer(hub.resolve(self.base, DOMAIN, kind="base"))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        from suite.generation.vocabulary import Vocabulary

        return Vocabulary(self.tokenizer)

    @cached_property
    def model(self) -> nn.Module:
        """The base with its adapter.

        Raises:
            InputError: they do not belong together.
        """
        from domains.unit_tests.model.bases import load_base
        from suite import adapters

        device, dtype = self._placed
        model, _ = load_base(self.base, qkv_blocks=self.manifest.qkv_blocks, dtype=dtype, device=device)
        if self.chosen is None:
            return model
        return adapters.load(model, self.chosen.folder, trainable=False).to(device).eval()

    def prepare(self) -> None:
        """Load the model now: what is wrong with it is no fault of the first file that needs it."""
        if (surprise := self.surprise()) > IMPLAUSIBLE:
            line = (
                f"note: plain code surprises this model at {surprise:.0%} of what chance would; is it trained, and is "
                "its architecture the one that the weights were made for?"
            )
            if getattr(self.model.config, "model_type", "") == "codegen":
                line += f" Its fused projections were read as {self.manifest.qkv_blocks} blocks: try --qkv-blocks"
            print(line, file=sys.stderr, flush=True)

    def surprise(self) -> float:
        """Mean loss on a few lines of plain code, as a share of the loss of a model that knows nothing.

        Weights that are read as another architecture than their own load without an error: the blocks of a fused
        projection, say, whose number no configuration tells.
        """
        import torch

        ids = torch.tensor([self._ids(_PLAIN)], device=next(self.model.parameters()).device)
        with torch.inference_mode():
            logits = self.model(ids).logits[:, -ids.shape[1] :].float()  # prompts put tokens in front
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
        return float(loss) / math.log(logits.shape[-1])

    @cached_property
    def room(self) -> int:
        """Tokens of source and answer together that the base takes, beside virtual ones."""
        config: Any = self.model.config
        most = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or _ROOM
        virtual = getattr(getattr(self.model, "active_peft_config", None), "num_virtual_tokens", None) or 0
        return int(most) - int(virtual)

    def length(self, source: str) -> int:
        """Tokens of a source."""
        return len(self._ids(source))

    def answers(
        self,
        sources: Sequence[str],
        query: WriterQuery,
        ends: Sequence[Ends],
        attempt: int = 0,
    ) -> list[list[Answer]]:
        """What the model makes of every source, `query.samples` times each.

        Args:
            ends: of each source, whether an answer is over.
            attempt: number of the round; every one draws anew.
        """
        from suite.generation.engine import Request
        from suite.generation.sampling import Sampling

        requests = []
        for source, over in zip(sources, ends, strict=True):
            ids = self._ids(source)
            for sample in range(query.samples):
                digest = hashlib.sha256(f"{query.seed}/{attempt}/{sample}/{source}".encode()).digest()
                requests.append(Request(ids, None, int.from_bytes(digest[:7], "big"), self._ends(over)))
        sampling = Sampling(query.temperature, top_p=query.top_p) if query.temperature else None
        engine = self.engine(query)
        found = []
        for answer in engine.generate(requests, sampling):
            text, _ = self.vocabulary.decode(answer.tokens)
            mean = sum(answer.logprobs) / len(answer.logprobs) if answer.logprobs else 0.0
            found.append(Answer(text, answer.complete, mean))
        return [found[start : start + query.samples] for start in range(0, len(found), query.samples)]

    def engine(self, query: WriterQuery) -> Engine:
        """The engine that answers; samples of one source share its keys and values."""
        from suite.generation.engine import Engine

        backend: Any = "sequential" if getattr(self.model.config, "sliding_window", None) else "prefix"
        stops = [] if self.tokenizer.eos_token_id is None else [int(self.tokenizer.eos_token_id)]
        return Engine(
            self.model,
            stops,
            self.vocabulary,
            backend=backend,
            batch_size=query.batch_size,
            max_new_tokens=query.max_new_tokens,
        )

    def _ids(self, source: str) -> list[int]:
        return encoding.prompt(self.tokenizer, source, self.manifest.begin)

    def _ends(self, over: Ends) -> Callable[[Sequence[int]], bool]:
        return lambda tokens: over(self.vocabulary.decode(tokens)[0])
