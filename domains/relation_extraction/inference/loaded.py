"""A base with its adapters, loaded on first use, and what they have room for. Imports no torch before that."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domains.relation_extraction.inference.served import ServedEngine
from domains.relation_extraction.model.bundle import DOMAIN, Bundle, load_bundle
from domains.relation_extraction.model.wording import Wording
from domains.relation_extraction.types import ExtractionQuery
from suite import hub
from suite.errors import InputError
from suite.generation.memory import (
    MemoryEstimate,
    cache_bytes,
    estimate_memory,
    gigabytes,
    plain_config,
    stored_parameters,
)
from suite.generation.server import TOGETHER, Server

if TYPE_CHECKING:
    import torch
    from torch import nn

    from domains.relation_extraction.inference.engine import ModelEngine
    from suite.generation.base import Quantize

_LONGEST_PROMPT = 2048
"""The cutoff of training: longer prompts were never seen."""
_MOST_BATCH = 256


class LoadedExtractor:
    """A base and its adapters; the base is loaded on first use, so that a dry run costs no memory.

    Attributes:
        wording: tokenizer, template, protocol, schema and layout that the adapters were trained with.
        bundle: where the adapters are.
        server: what answers in place of a model on this machine.
    """

    cpu_batch = 16

    def __init__(
        self,
        wording: Wording,
        bundle: Bundle,
        *,
        adapter: str,
        base: str,
        device: str = "cpu",
        dtype: str = "auto",
        server: Server | None = None,
    ) -> None:
        self.wording, self.bundle, self.server = wording, bundle, server
        self.adapter, self.base = adapter, base
        self.dtype, self._device = dtype, device
        if server is None and (device, dtype) != ("auto", "auto"):  # what can be wrong is told now
            _ = self._torch_dtype

    @cached_property
    def device(self) -> str:
        """Where the base is, or will be."""
        from suite.devices import choose_device

        return choose_device(self._device)

    @cached_property
    def _torch_dtype(self) -> torch.dtype:
        from suite.devices import choose_dtype

        return choose_dtype(self.dtype, self.device, quantized=("nf4",))

    @cached_property
    def model(self) -> nn.Module:
        """The base with its adapters.

        Raises:
            InputError: they do not belong together, or the GPU has no room for them.
        """
        from domains.relation_extraction.model.bases import load_base

        self._check_room()
        quantize: Quantize | None = "nf4" if self.dtype == "nf4" else None
        model, _ = load_base(self.base, dtype=self._torch_dtype, device=self.device, quantize=quantize)
        return load_bundle(model, self.bundle)

    def engine(
        self, query: ExtractionQuery | None = None, *, bare: bool = False, **settings: Any
    ) -> ModelEngine | ServedEngine:
        """The engine that answers calls as `query` says.

        Args:
            bare: ask the base itself; on this machine its adapters must be off (see `bare`).
            **settings: of `ModelEngine`, which come before the query; `protocol` and `template` too.
        """
        if self.server is not None:
            return self._served(query or ExtractionQuery(), bare, **settings)
        from domains.relation_extraction.inference.engine import ModelEngine
        from suite import adapters

        query = query or ExtractionQuery()
        window, wording = self.window(query), self.wording
        protocol = settings.pop("protocol", wording.protocol)
        template = settings.pop("template", wording.template)
        chosen: dict[str, Any] = {
            "layout": wording.layout,
            "activate": None if bare else partial(adapters.activate, self.model),
            "backend": query.backend,
            "batch_size": query.batch_size or self._batch_size(sum(window)),
            "max_new_tokens": window[1],
            "decoding": query.decoding,
            "seed": query.seed,
            "notify": to_stderr,
        }
        return ModelEngine(self.model, wording.tokenizer, template, protocol, **chosen | settings)

    def _served(self, query: ExtractionQuery, bare: bool, **settings: Any) -> ServedEngine:
        assert self.server is not None
        wording = self.wording
        protocol = settings.pop("protocol", wording.protocol)
        template = settings.pop("template", wording.template)
        chosen: dict[str, Any] = {
            "layout": wording.layout,
            "bare": bare,
            "decoding": query.decoding,
            "seed": query.seed,
            "max_new_tokens": self.window(query)[1],
            "together": self.rows(query),
        }
        return ServedEngine(self.server, wording.tokenizer, template, protocol, **chosen | settings)

    def bare(self) -> AbstractContextManager[Any]:
        """Within it the adapters are off: the frozen base, for comparison."""
        if self.server is not None:
            return nullcontext()
        from suite import adapters

        return adapters.disabled(self.model)

    def window(self, query: ExtractionQuery) -> tuple[int, int]:
        """The most tokens of a prompt and of an answer.

        Raises:
            InputError: the base has no room for the asked prompts.
        """
        room = self._room or _LONGEST_PROMPT + query.max_new_tokens
        prompt = query.max_length or min(_LONGEST_PROMPT, room * 3 // 4)
        if not 0 < prompt < room:
            raise InputError(f"--max-length {prompt}: the base has room for {room} tokens, the answer included")
        return prompt, min(query.max_new_tokens, room - prompt)

    def rows(self, query: ExtractionQuery) -> int:
        """The most calls side by side, as far as that is known before anything is loaded."""
        if query.backend == "sequential":
            return 1
        if self.server is not None:
            return query.batch_size or TOGETHER
        return query.batch_size or (_MOST_BATCH if self.device.startswith("cuda") else self.cpu_batch)

    def estimate(self) -> MemoryEstimate:
        """What base and adapters take, and a token of cache, before anything is loaded."""
        packed, parts = self.dtype == "nf4", self.bundle.parts.values()
        parameters = None if packed else stored_parameters(self._folder)
        config = self._config if parameters else self._whole_config
        return estimate_memory(config, parts, dtype=self._torch_dtype, quantize=packed, parameters=parameters)

    @property
    def _room(self) -> int | None:
        """Tokens of prompt and answer together that the base takes."""
        if self.server is not None:
            return self.server.base.room
        return getattr(self._config, "max_position_embeddings", None)

    @cached_property
    def _folder(self) -> Path:
        return hub.resolve(self.base, DOMAIN, kind="base")

    @cached_property
    def _config(self) -> Any:
        return plain_config(self._folder) or self._whole_config

    @cached_property
    def _whole_config(self) -> Any:
        from domains.relation_extraction.model.bases import base_config

        return base_config(self.base)

    def _batch_size(self, tokens: int) -> int:
        if not self.device.startswith("cuda"):
            return self.cpu_batch
        import torch

        _ = self.model
        free, _ = torch.cuda.mem_get_info(self.device)
        # Half of it: activations and the copies of growing caches want their share.
        rows = free // 2 // (cache_bytes(self._config, self._torch_dtype) * tokens)
        return max(1, min(_MOST_BATCH, rows))

    def _check_room(self) -> None:
        if not self.device.startswith("cuda"):
            return
        import torch

        needed = self.estimate()
        free, _ = torch.cuda.mem_get_info(self.device)
        if needed.base + needed.adapters > free:
            raise InputError(
                f"base and adapters need {gigabytes(needed.base + needed.adapters)}, {self.device} has "
                f"{gigabytes(free)} free; use --dtype nf4, or --device cpu"
            )


def to_stderr(line: str) -> None:
    """Tell the user something that is not the answer."""
    print(line, file=sys.stderr, flush=True)
