"""The language model of relation extraction: one base, and the adapters of its steps beside each other on it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from domains.relation_extraction.model.bundle import FAMILIES, Bundle
from domains.relation_extraction.model.encoding import ChatTemplate, chat_template
from domains.relation_extraction.model.protocol import Layout
from domains.relation_extraction.model.protocol import Protocol as PromptProtocol
from domains.relation_extraction.model.protocol import protocol as find_protocol
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.official import check_part
from suite import adapters, hub
from suite.adapters.nf4 import quantize_model
from suite.domain import load
from suite.errors import InputError

DOMAIN = "relation_extraction"
Quantize = Literal["nf4"]


@dataclass(frozen=True)
class Wording:
    """How a base is asked: everything between a document and token ids.

    Attributes:
        pretokenize: the shape of the passages: `docred` (tokens joined by single spaces) or `none`.
    """

    tokenizer: Any
    template: ChatTemplate
    protocol: PromptProtocol
    schema: Schema
    layout: Layout = "three"
    pretokenize: str = "docred"

    @classmethod
    def of(
        cls,
        tokenizer: Any,
        template: str,
        protocol: str | PromptProtocol,
        schema: Schema,
        layout: Layout,
        pretokenize: str = "docred",
    ) -> Wording:
        """Look the names up.

        Raises:
            InputError: there is no such template or protocol.
        """
        found = find_protocol(protocol) if isinstance(protocol, str) else protocol
        return cls(tokenizer, chat_template(template), found, schema, layout, pretokenize)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a base.

    Raises:
        InputError: the folder holds none that transformers can read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(f"{folder}: no tokenizer that transformers reads ({_first_line(error)})") from error
    # Long documents are cut into chunks before they reach the model; the warning would only mislead.
    tokenizer.model_max_length = int(1e9)
    return tokenizer


def load_base(
    reference: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu", quantize: Quantize | None = None
) -> tuple[nn.Module, Any]:
    """Return the base model, frozen and in eval mode, and its tokenizer.

    Args:
        reference: of the base, in the hub's grammar.
        quantize: `nf4` keeps the weights of the linear layers in 4 bit (QLoRA).

    Raises:
        InputError: there is no such base, or transformers cannot load it without code of its own.
    """
    folder = hub.resolve(reference, DOMAIN, kind="base")
    _check_loadable(folder, reference)
    tokenizer = load_tokenizer(folder)
    with _bars_for_people():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    if quantize == "nf4":
        quantize_model(model)
    return model.requires_grad_(False).to(device).eval(), tokenizer


def base_config(reference: str) -> Any:
    """The configuration of a base, without its weights."""
    folder = hub.resolve(reference, DOMAIN, kind="base")
    _check_loadable(folder, reference)
    return AutoConfig.from_pretrained(folder)


def base_skeleton(reference: str) -> nn.Module:
    """A base by its configuration alone, on the device that is current (`meta`: no memory)."""
    return AutoModelForCausalLM.from_config(base_config(reference))


def build_base(architecture: Mapping[str, Any]) -> nn.Module:
    """Make a base from an `architecture:` block, on the device that is current (`meta`: no memory).

    Args:
        architecture: `class`, an import string `package.module:Name`; `config`, the keywords of its configuration.

    Raises:
        InputError: the block does not name a class, or the class does not take the configuration.
    """
    if "class" not in architecture:
        raise InputError("architecture: no `class`; write e.g. class: transformers:MistralForCausalLM")
    try:
        kind = load(architecture["class"])
        settings = dict(architecture.get("config") or {})
        configuration = getattr(kind, "config_class", None)
        return kind(configuration(**settings)) if configuration else kind(**settings)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        raise InputError(f"architecture: {architecture['class']} cannot be built ({_first_line(error)})") from error


def load_bundle(model: nn.Module, bundle: Bundle) -> nn.Module:
    """Put the adapters of `bundle` side by side on `model`, frozen, named as the steps that they answer.

    Raises:
        InputError: an adapter belongs to another base, or its rank differs from what its configuration says.
    """
    for name, part in bundle.parts.items():
        config = check_part(part)
        _check_family(config.get("base_model_name_or_path"), model, part)
        with warnings.catch_warnings():
            # AutoRE's adapters carry no fingerprint; their family and shapes are checked instead.
            warnings.filterwarnings("ignore" if bundle.official else "default", message=".*cannot be checked.*")
            model = adapters.load(model, part, name=name)
    return model.eval()


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that prediction needs.

    Attributes:
        base, adapters: weights. cache: keys and values of one token of one row.
    """

    base: int
    adapters: int
    cache: int

    def total(self, tokens: int, batch: int) -> int:
        """Bytes with `batch` rows of `tokens` tokens (prompt and answer) in flight."""
        return self.base + self.adapters + self.cache * tokens * batch


def estimate_memory(
    config: Any, bundle: Bundle | None, *, dtype: torch.dtype, quantize: bool = False
) -> MemoryEstimate:
    """Estimate from the configuration alone, before anything is loaded."""
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    size = dtype.itemsize
    embeddings = {id(module.weight) for module in skeleton.modules() if isinstance(module, nn.Embedding)}
    head = skeleton.get_output_embeddings()
    embeddings |= {id(head.weight)} if head is not None else set()
    base = 0.0
    for parameter in skeleton.parameters():
        # 4-bit codes and a double-quantized scale: 4.127 bits a weight.
        quantized = quantize and parameter.dim() == 2 and id(parameter) not in embeddings
        base += parameter.numel() * (4.127 / 8 if quantized else size)
    parts = bundle.parts.values() if bundle else ()
    weights = sum(file.stat().st_size for part in parts for file in part.glob("adapter_model.*"))
    return MemoryEstimate(round(base), weights, cache_bytes(config, dtype))


def cache_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of keys and values a token: 2 x layers x heads of keys x their size (Mistral in 16 bit: 128 KiB)."""
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * head_size * dtype.itemsize


def gigabytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.2f} GB"


def choose_device(device: str) -> str:
    """`auto` is the GPU where there is one.

    Raises:
        InputError: no such device here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device}: no GPU that torch can use here; use --device cpu")
    return device


def choose_dtype(dtype: str, device: str) -> torch.dtype:
    """`auto` is bfloat16 on a GPU and float32 on a CPU; `nf4` computes in what `auto` gives.

    Raises:
        InputError: no such type.
    """
    if dtype in ("auto", "nf4"):
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    found = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}.get(dtype)
    if found is None:
        raise InputError(f"dtype {dtype!r} is unknown; choose auto, float32, bfloat16, float16 or nf4")
    return found


@contextmanager
def _bars_for_people() -> Iterator[None]:
    """Keep transformers' progress bars out of logs and pipes: a mistake there is one line."""
    if sys.stderr.isatty() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _check_family(trained_on: str | None, model: nn.Module, part: Path) -> None:
    kind = getattr(getattr(model, "config", None), "model_type", None)
    for key, (_, family) in FAMILIES.items():
        if key in (trained_on or "").lower() and kind != family:
            raise InputError(f"{part} was trained on {trained_on}, but the loaded base is a {kind}; load that base")


def _check_loadable(folder: Path, reference: str) -> None:
    try:
        AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise InputError(
                f"base {reference} needs code of its own (remote code), which is never run; choose another base"
            ) from error
        raise InputError(
            f"base {reference}: {folder} is no model folder of transformers ({_first_line(error)})"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
