"""The bases of commits: encoders that classify them, encoder-decoders that describe them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from domains.code_review.model import marks
from domains.code_review.model.bases import DOMAIN, base_config
from domains.code_review.model.change_encoding import ADDED, REMOVED
from domains.code_review.model.commit_classifier import FEATURES, CommitClassifier, Head
from domains.code_review.model.encoder_decoder import add_tokens
from suite.errors import InputError
from suite.generation import base
from suite.hub import pretrained
from suite.hub.pretrained import own_words


class _Whole:
    """A class of transformers whose `from_pretrained` takes no tensor at random.

    What the files have beside it (a head, a decoder) is not looked at; nor is the pooler, which nothing here reads.
    """

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def from_pretrained(self, folder: Any, **options: Any) -> nn.Module:
        with own_words():
            model, told = self.kind.from_pretrained(folder, output_loading_info=True, **options)
        if missing := sorted(key for key in told["missing_keys"] if "pooler." not in key):
            raise InputError(f"{folder}: its weights lack {len(missing)} tensors, e.g. {missing[0]}")
        return model


def load_encoder(reference: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Any]:
    """The encoder of a base, frozen and in eval mode, and its tokenizer with `[ADD]` and `[DEL]`.

    Raises:
        InputError: there is no such base, or it only decodes.
    """
    _check_reads(base_config(reference), reference)
    model, tokenizer = base.load_base(reference, DOMAIN, dtype=dtype, model_class=_Whole(AutoModel))
    add_tokens(model, tokenizer, (ADDED, REMOVED))
    return _encoder_of(model).requires_grad_(False).eval(), tokenizer


def load_describer(reference: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Any]:
    """An encoder-decoder, frozen and in eval mode, and its tokenizer with `<add>`, `<del>` and `<keep>`.

    Raises:
        InputError: there is no such base, or it is no encoder-decoder.
    """
    _check_writes(base_config(reference), reference)
    model, tokenizer = base.load_base(reference, DOMAIN, dtype=dtype, model_class=_Whole(AutoModelForSeq2SeqLM))
    add_tokens(model, tokenizer, (marks.ADDED, marks.REMOVED, marks.KEPT))
    return model.requires_grad_(False).eval(), tokenizer


def classifier_skeleton(reference: str, architecture: Mapping[str, Any] | None, head: Head) -> nn.Module:
    """A classifier by its configuration alone, on the device that is current."""
    if architecture:
        model = pretrained.build(architecture)
    else:
        config = base_config(reference)
        _check_reads(config, reference)
        model = AutoModel.from_config(config)
    return with_head(_encoder_of(model), head)


def describer_skeleton(reference: str, architecture: Mapping[str, Any] | None) -> nn.Module:
    """An encoder-decoder by its configuration alone, on the device that is current."""
    if architecture:
        return pretrained.build(architecture)
    config = base_config(reference)
    _check_writes(config, reference)
    return AutoModelForSeq2SeqLM.from_config(config)


def with_head(encoder: nn.Module, head: Head) -> CommitClassifier:
    """An encoder with a new head."""
    return CommitClassifier(encoder, FEATURES if head == "concat" else 0)


def _encoder_of(model: Any) -> nn.Module:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _check_reads(config: Any, reference: str) -> None:
    kinds = (AutoModelForSeq2SeqLM._model_mapping, AutoModelForMaskedLM._model_mapping)
    if not any(type(config) in kind for kind in kinds):
        raise InputError(
            f"base {reference} is a {config.model_type}, which reads from left to right; defects are told by "
            "an encoder (RoBERTa, UniXcoder) or an encoder-decoder (CodeT5, PLBart)"
        )


def _check_writes(config: Any, reference: str) -> None:
    if not getattr(config, "is_encoder_decoder", False) or type(config) not in AutoModelForSeq2SeqLM._model_mapping:
        raise InputError(
            f"base {reference} is a {config.model_type}; commit messages are written by an encoder-decoder such as "
            "hf:Salesforce/codet5-base"
        )
