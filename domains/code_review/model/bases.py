"""The models that code review adapts: causal language models, and T5s as CodeReviewer is one."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from torch import nn

from domains.code_review.model import marks
from domains.code_review.model.encoder_decoder import HEAD, CodeReviewerT5, add_tokens
from suite.errors import InputError
from suite.generation import base
from suite.generation.base import Quantize

DOMAIN = "code_review"

base_config = partial(base.base_config, domain=DOMAIN)

NEW_HEAD = (
    f"note: {{base}} has no {HEAD}: decisions start at random, and mean nothing until the head is trained "
    "(no released CodeReviewer has a trained one)"
)


def load_base(
    reference: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu", quantize: Quantize | None = None
) -> tuple[nn.Module, Any]:
    """Return a base, frozen and in eval mode, and its tokenizer; of a T5 with the tokens of CodeReviewer.

    Raises:
        InputError: there is no such base, or it is an encoder-decoder but no T5.
    """
    if not is_pair(reference):
        return base.load_base(reference, DOMAIN, dtype=dtype, device=device, quantize=quantize)
    model, tokenizer = base.load_base(
        reference, DOMAIN, dtype=dtype, device="cpu", quantize=quantize, model_class=CodeReviewerT5
    )
    add_tokens(model, tokenizer, marks.ALL)
    return model.requires_grad_(False).to(device).eval(), tokenizer


def base_skeleton(reference: str) -> nn.Module:
    """A base by its configuration alone, on the device that is current."""
    if is_pair(reference):
        return CodeReviewerT5(base_config(reference))
    return base.base_skeleton(reference, DOMAIN)


def is_pair(reference: str) -> bool:
    """Whether a base is an encoder-decoder.

    Raises:
        InputError: it is one, but no T5.
    """
    config = base_config(reference)
    if not getattr(config, "is_encoder_decoder", False):
        return False
    if config.model_type != "t5":
        raise InputError(
            f"base {reference} is a {config.model_type}; reviews take causal language models and T5s such as "
            "hf:microsoft/codereviewer"
        )
    return True


def check_head(model: nn.Module, reference: str) -> None:
    """Say so where decisions come from a head that nobody has trained."""
    if model.decides_at_random:
        print(NEW_HEAD.format(base=reference), file=sys.stderr, flush=True)
