"""Bases: causal language models of transformers, loaded frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from suite import hub
from suite.errors import InputError, first_line
from suite.generation.tokenizer import load_tokenizer
from suite.hub.pretrained import bars_for_people

Quantize = Literal["nf4"]


def load_base(
    reference: str,
    domain: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    quantize: Quantize | None = None,
    model_class: Any = AutoModelForCausalLM,
) -> tuple[nn.Module, Any]:
    """Return the base model, frozen and in eval mode, and its tokenizer.

    Args:
        reference: of the base, in the hub's grammar. domain: that a name without one belongs to.
        quantize: `nf4` keeps the weights of the linear layers in 4 bit (QLoRA).
        model_class: whose `from_pretrained` loads it.

    Raises:
        InputError: there is no such base, or transformers cannot load it without code of its own.
    """
    folder = hub.resolve(reference, domain, kind="base")
    _check_loadable(folder, reference)
    tokenizer = load_tokenizer(folder)
    with bars_for_people():
        model = model_class.from_pretrained(folder, dtype=dtype)
    if quantize == "nf4":
        from suite.adapters.nf4 import quantize_model  # with all of the core; a configuration is read without

        quantize_model(model)
    return model.requires_grad_(False).to(device).eval(), tokenizer


def base_config(reference: str, domain: str) -> Any:
    """The configuration of a base, without its weights."""
    folder = hub.resolve(reference, domain, kind="base")
    _check_loadable(folder, reference)
    return AutoConfig.from_pretrained(folder)


def base_skeleton(reference: str, domain: str) -> nn.Module:
    """A base by its configuration alone, on the device that is current (`meta`: no memory)."""
    return AutoModelForCausalLM.from_config(base_config(reference, domain))


def _check_loadable(folder: Path, reference: str) -> None:
    try:
        AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise InputError(
                f"base {reference} needs code of its own (remote code), which is never run; choose another base"
            ) from error
        raise InputError(
            f"base {reference}: {folder} is no model folder of transformers ({first_line(error)})"
        ) from error
