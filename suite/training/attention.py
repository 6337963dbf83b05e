"""Attention over packed rows: each text by itself through torch's varlen kernel, or masked where that cannot run.

transformers' models look an attention function and a mask function up by the name in their configuration. Under the
name of this file they get both: rows that come with the texts' boundaries go through `torch.nn.attention.varlen`, which
never sees a pair of tokens of two texts, and need no mask; all else is their SDPA, with their mask.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "suite_packed"
BOUNDARIES = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
"""Where the texts of a batch begin and end, under the names that transformers hands on to attention functions."""

HALF = (torch.float16, torch.bfloat16)
_GROUPED = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}
"""torch 2.11 shares heads of keys without being told."""

_masks = {"wanted": True}


@contextmanager
def packed_inputs(model: nn.Module, inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The inputs to call `model` with: the boundaries only where it can use them, and then without masks.

    Args:
        model: a causal language model of transformers, with or without adapters.
        inputs: keywords of its forward, of `suite.training.packing.collate`.
    """
    if any(name not in inputs for name in BOUNDARIES):
        yield dict(inputs)
    elif not (_kernel_runs(model, inputs["input_ids"].device) and _is_ours(model)):
        # From positions that begin anew, transformers makes the mask; it knows about windows.
        yield {name: value for name, value in inputs.items() if name not in BOUNDARIES}
    else:
        # The number of texts differs from batch to batch; compiled blocks shall not be compiled for each.
        torch._dynamo.maybe_mark_dynamic(inputs["cu_seq_lens_q"], 0)
        torch._dynamo.maybe_mark_dynamic(inputs["cu_seq_lens_k"], 0)
        _masks["wanted"] = False
        try:
            yield dict(inputs)
        finally:
            _masks["wanted"] = True


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each text, in the form that transformers calls.

    Args:
        module: the attention layer.
        query: (batch, heads, length, size).
        key, value: (batch, key heads, length, size).
        attention_mask: the model's mask; with one, or without boundaries, this is transformers' SDPA.
        dropout: of the attention weights.
        scaling: of the scores; None is 1 / sqrt(size).
        kwargs: the boundaries over the flattened (batch * length), and `sliding_window`, how many tokens see each
            other.

    Returns:
        (batch, length, heads, size), and None for the weights.
    """
    if attention_mask is not None or any(name not in kwargs for name in BOUNDARIES):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if torch.is_autocast_enabled(query.device.type):
        # Autocast knows SDPA and casts for it, but not the kernel; rotary embeddings may have given float32.
        query, key, value = (part.to(torch.get_autocast_dtype(query.device.type)) for part in (query, key, value))
    boundaries, window = kwargs["cu_seq_lens_q"], kwargs.get("sliding_window")
    if dropout or not _kernel_takes(query, value):
        # Checkpointed blocks come here a second time; what decides has come with them, so they do the same again.
        mask = document_mask(boundaries, query.shape[0], query.shape[2], window)
        return sdpa_attention_forward(module, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs)
    output = varlen_attn(
        *(part.transpose(1, 2).flatten(0, 1) for part in (query, key, value)),  # (batch * length, heads, size)
        boundaries,
        kwargs["cu_seq_lens_k"],
        kwargs["max_length_q"],
        kwargs["max_length_k"],
        scale=scaling,
        # torch counts the tokens before the query, transformers counts the query too.
        window_size=(-1 if window is None else window - 1, 0),
        **_GROUPED,
    )
    return output.unflatten(0, (query.shape[0], -1)), None


def document_mask(boundaries: Tensor, batch: int, length: int, window: int | None = None) -> Tensor:
    """(batch, 1, length, length) bool, True where a query may look.

    Args:
        boundaries: (texts + 1,) where texts begin in the flattened (batch * length).
        window: how many tokens of its own text a query sees, itself included; None is all before it.
    """
    places = torch.arange(batch * length, device=boundaries.device)
    text = torch.bucketize(places, boundaries[1:].to(places.dtype), right=True).view(batch, length)
    apart = places[:length, None] - places[None, :length]  # (length, length), queries down, keys across
    near = apart >= 0 if window is None else (apart >= 0) & (apart < window)
    return ((text[:, :, None] == text[:, None, :]) & near)[:, None]


def _is_ours(model: nn.Module) -> bool:
    """Whether the model's attention is ours by now.

    Models that may use FlashAttention get windows and scales as arguments and need no mask. Those on `eager` (soft
    caps, sinks, or by their user's choice), `flex_attention` and FlashAttention itself stay as they are.
    """
    config = getattr(model, "config", None)
    able = getattr(model, "_supports_flash_attn", False) and getattr(config, "is_causal", True)
    if able and getattr(config, "_attn_implementation", None) == "sdpa":
        model.set_attn_implementation(NAME)
    return getattr(config, "_attn_implementation", None) == NAME


def _kernel_runs(model: nn.Module, device: torch.device) -> bool:
    """Whether torch's FlashAttention runs on the device, in the precision that the model computes in."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    return torch.is_autocast_enabled("cuda") or getattr(model, "dtype", None) in HALF


def _kernel_takes(query: Tensor, value: Tensor) -> bool:
    size = query.shape[-1]
    return query.dtype in HALF and query.is_cuda and size == value.shape[-1] and size <= 256 and size % 8 == 0


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """transformers' mask for SDPA; none while texts are kept apart by their boundaries."""
    if not _masks["wanted"] and not kwargs.get("use_vmap"):
        return None
    return sdpa_mask(*args, **kwargs)


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, _mask)
