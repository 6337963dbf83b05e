"""From what users hold to triples: files, folders, standard input or strings through a base and its adapters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from domains.relation_extraction.data.documents import plain_document
from domains.relation_extraction.inference.engine import ModelEngine
from domains.relation_extraction.inference.session import Running
from domains.relation_extraction.model.bases import (
    DOMAIN,
    MemoryEstimate,
    Quantize,
    Wording,
    base_config,
    cache_bytes,
    choose_device,
    choose_dtype,
    estimate_memory,
    gigabytes,
    load_base,
    load_bundle,
    load_tokenizer,
)
from domains.relation_extraction.model.bundle import Bundle, find_bundle
from domains.relation_extraction.model.protocol import protocol as find_protocol
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.types import ExtractionQuery, ExtractionResult, Triple
from suite import adapters, hub
from suite.errors import InputError

_LONGEST_PROMPT = 2048
"""The cutoff of training: longer prompts were never seen."""
_MOST_BATCH = 256


class RelationExtractor:
    """Documents in, triples out.

    >>> extractor = RelationExtractor.from_pretrained("tiny")
    >>> extractor("Marie Curie was born in Warsaw.")  # -> list[Triple]

    The base is loaded on first use, so that a dry run costs no memory.

    Attributes:
        wording: tokenizer, template, protocol, schema and layout that the adapters were trained with.
        bundle: where the adapters are.
    """

    cpu_batch = 16

    def __init__(
        self, wording: Wording, bundle: Bundle, *, adapter: str, base: str, device: str = "cpu", dtype: str = "auto"
    ) -> None:
        self.wording, self.bundle = wording, bundle
        self.adapter, self.base = adapter, base
        self.device, self.dtype = choose_device(device), dtype
        self._torch_dtype = choose_dtype(dtype, self.device)

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> RelationExtractor:
        """Find adapters and base; nothing big is loaded yet.

        Args:
            adapter: reference of the adapter, or of AutoRE's released bundle.
            base: reference of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N.
            dtype: auto, float32, bfloat16, float16, or nf4 (weights in 4 bit).

        Raises:
            InputError: adapter or base does not exist, a step's adapter is missing, or the base is not known.
        """
        bundle = find_bundle(hub.resolve(adapter, DOMAIN, kind="adapter"))
        reference = base or _base_of(bundle)
        tokenizer = load_tokenizer(hub.resolve(reference, DOMAIN, kind="base"))
        settings = bundle.settings
        if not settings.get("template"):
            raise InputError(
                f"{bundle.root}: its base does not tell the chat template; make it ours with "
                "domains.relation_extraction.official.convert(source, out, template=NAME)"
            )
        schema = settings.get("schema", "redocred")
        schema = Schema.load(schema) if isinstance(schema, str) else Schema.from_dict(schema)
        how = settings.get("pretokenize", "docred")
        protocol = find_protocol(settings["protocol"], settings.get("protocol_templates"))
        wording = Wording.of(tokenizer, settings["template"], protocol, schema, bundle.layout, how)
        return cls(wording, bundle, adapter=adapter, base=reference, device=device, dtype=dtype)

    @cached_property
    def model(self) -> nn.Module:
        """The base with its adapters.

        Raises:
            InputError: they do not belong together, or the GPU has no room for them.
        """
        self._check_room()
        quantize: Quantize | None = "nf4" if self.dtype == "nf4" else None
        model, _ = load_base(self.base, dtype=self._torch_dtype, device=self.device, quantize=quantize)
        return load_bundle(model, self.bundle)

    def __call__(self, text: str, **options: Any) -> list[Triple]:
        """The triples of one text; options are the fields of `ExtractionQuery`."""
        return self.batch([text], **options)[0]

    def batch(self, texts: Sequence[str], **options: Any) -> list[list[Triple]]:
        """The triples of each text; their calls share batches."""
        documents = [plain_document(text, f"text:{number}") for number, text in enumerate(texts, 1)]
        with self._running(ExtractionQuery(**options)) as run:
            return [list(triples) for _, triples, _ in run.documents(documents)]

    def predict(self, inputs: Any, **options: Any) -> Iterator[ExtractionResult]:
        """Yield one result an input, and one with `error` for every document that could not be read.

        Args:
            inputs: one or several of: paths of files and folders, `-` for standard input, strings of text. A string
                without any blank is a path.
            **options: the fields of `ExtractionQuery`.

        Raises:
            InputError: an option is wrong, or the adapters do not fit the base.
        """
        query = ExtractionQuery(**options)
        several = [inputs] if isinstance(inputs, str | Path) else list(inputs)
        with self._running(query, report=_to_stderr) as run:
            for one in several:
                yield from run.input(one)

    def engine(self, query: ExtractionQuery | None = None, **settings: Any) -> ModelEngine:
        """The engine that answers calls as `query` says; `settings` go to `ModelEngine` in their place."""
        query = query or ExtractionQuery()
        window = self.window(query)
        chosen: dict[str, Any] = {
            "layout": self.wording.layout,
            "activate": partial(adapters.activate, self.model),
            "backend": query.backend,
            "batch_size": query.batch_size or self._batch_size(sum(window)),
            "max_new_tokens": window[1],
            "decoding": query.decoding,
            "seed": query.seed,
            "notify": _to_stderr,
        }
        wording = self.wording
        return ModelEngine(self.model, wording.tokenizer, wording.template, wording.protocol, **chosen | settings)

    def bare(self) -> AbstractContextManager[Any]:
        """Within it the adapters are off: the frozen base, for comparison. Its engine needs `activate=None`."""
        return adapters.disabled(self.model)

    def window(self, query: ExtractionQuery) -> tuple[int, int]:
        """The most tokens of a prompt and of an answer.

        Raises:
            InputError: the base has no room for the asked prompts.
        """
        room = getattr(self._config, "max_position_embeddings", None) or _LONGEST_PROMPT + query.max_new_tokens
        prompt = query.max_length or min(_LONGEST_PROMPT, room * 3 // 4)
        if not 0 < prompt < room:
            raise InputError(f"--max-length {prompt}: the base has room for {room} tokens, the answer included")
        return prompt, min(query.max_new_tokens, room - prompt)

    def estimate(self) -> MemoryEstimate:
        """What base and adapters take, and a token of cache, before anything is loaded."""
        return estimate_memory(self._config, self.bundle, dtype=self._torch_dtype, quantize=self.dtype == "nf4")

    def _running(self, query: ExtractionQuery, report: Callable[[str], None] = lambda line: None) -> Running:
        return Running(self, query, report)

    @cached_property
    def _config(self) -> Any:
        return base_config(self.base)

    def _batch_size(self, tokens: int) -> int:
        if not self.device.startswith("cuda"):
            return self.cpu_batch
        _ = self.model
        free, _ = torch.cuda.mem_get_info(self.device)
        # Half of it: activations and the copies of growing caches want their share.
        rows = free // 2 // (cache_bytes(self._config, self._torch_dtype) * tokens)
        return max(1, min(_MOST_BATCH, rows))

    def _check_room(self) -> None:
        if not self.device.startswith("cuda"):
            return
        needed = self.estimate()
        free, _ = torch.cuda.mem_get_info(self.device)
        if needed.base + needed.adapters > free:
            raise InputError(
                f"base and adapters need {gigabytes(needed.base + needed.adapters)}, {self.device} has "
                f"{gigabytes(free)} free; use --dtype nf4, or --device cpu"
            )


def _base_of(bundle: Bundle) -> str:
    if not bundle.base:
        raise InputError(f"{bundle.root}: the adapter does not name its base; give one with --base")
    return (
        f"hf:{bundle.base}" if bundle.official and not bundle.base.startswith(("hf:", ".", "/", "~")) else bundle.base
    )


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
