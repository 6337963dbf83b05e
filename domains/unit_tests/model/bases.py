"""The language models that write tests, and what the study attaches to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from domains.unit_tests.model import codegen, study
from suite.adapters.section import AdapterSection
from suite.generation import base
from suite.hub import pretrained

DOMAIN = "unit_tests"
NO_ADAPTER = "none"


def load_base(reference: str, *, qkv_blocks: int = codegen.BLOCKS, **how: Any) -> tuple[nn.Module, Any]:
    """The base and its tokenizer, as `suite.generation.base.load_base` gives them.

    Args:
        qkv_blocks: of a CodeGen, in how many blocks its fused projections lie.
        **how: `dtype`, `device`, `quantize`.

    Raises:
        InputError: there is no such base, or it does not lie in so many blocks.
    """
    model, tokenizer = base.load_base(reference, DOMAIN, **how)
    codegen.set_blocks(model, qkv_blocks)
    return model, tokenizer


def skeleton(reference: str, architecture: Mapping[str, Any] | None = None) -> nn.Module:
    """A base by its configuration alone; of the study's thirteen it is known here, and nothing is downloaded.

    Raises:
        InputError: there is no such base.
    """
    if architecture:
        return pretrained.build(architecture)
    known = study.BASES.get(reference.removeprefix("hf:"))
    return study.skeleton(known) if known else base.base_skeleton(reference, DOMAIN)


def attachment(section: AdapterSection, model: nn.Module) -> dict[str, Any]:
    """What `suite.adapters.attach` takes: a method of the study, its targets those of the base's family; or another.

    Raises:
        InputError: the study has no base of that family.
    """
    if not section.preset:
        return section.spec()
    kind = str(getattr(model.config, "model_type", ""))
    preset: Any = section.preset
    return section.spec({section.preset: study.settings(kind, preset)})
