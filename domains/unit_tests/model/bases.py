"""The language models that write tests, and what the study attaches to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from domains.unit_tests.model import codegen, study
from suite.adapters.section import WHERE, AdapterSection
from suite.errors import InputError
from suite.generation import base
from suite.hub import pretrained

DOMAIN = "unit_tests"
NO_ADAPTER = "none"
INIT_TEXT = "init_text"
"""Setting of prompt tuning: what its virtual tokens begin as."""


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
        spec = section.spec()
        spec.pop(INIT_TEXT, None)
        return spec
    kind = str(getattr(model.config, "model_type", ""))
    preset: Any = section.preset
    spec = section.spec({section.preset: study.settings(kind, preset)})
    spec.pop(INIT_TEXT, None)
    return spec


def virtual_tokens(section: AdapterSection, tokenizer: Callable[[], Any]) -> int:
    """Tokens that an adapter puts before every source.

    Args:
        tokenizer: of the base; asked where the text that the tokens begin with tells their number.

    Raises:
        InputError: a text is said for another method than prompt tuning, or is empty.
    """
    text = section.settings.get(INIT_TEXT)
    if text is not None and section.name != "prompt_tuning":
        raise InputError(f"{WHERE}.{INIT_TEXT} is of prompt_tuning, not of {section.name}")
    if section.name not in ("prompt_tuning", "p_tuning"):
        return 0
    if "num_virtual_tokens" in section.settings:
        return int(section.settings["num_virtual_tokens"])
    return len(_ids(tokenizer(), text)) if text is not None else study.VIRTUAL_TOKENS


def begin_with(model: nn.Module, tokenizer: Any, text: str) -> None:
    """Let virtual tokens begin as the embeddings of a text; a short one is repeated, a long one cut."""
    found: Any = model
    weight = found.prompt_encoder[found.active_adapter].embedding.weight  # (tokens, width)
    ids = _ids(tokenizer, text)
    taken = torch.tensor([ids[place % len(ids)] for place in range(len(weight))], device=weight.device)
    embedding = found.get_base_model().get_input_embeddings()
    with torch.no_grad():
        weight.copy_(embedding(taken.to(embedding.weight.device)))


def _ids(tokenizer: Any, text: str) -> list[int]:
    if not (ids := list(tokenizer(text, add_special_tokens=False)["input_ids"])):
        raise InputError(f"{WHERE}.{INIT_TEXT} is empty; leave it out to begin at random")
    return ids
