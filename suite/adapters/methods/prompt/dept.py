"""DePT: a short prompt before the input, and a low-rank change of the input's own embeddings.

Shi and Lipani, DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-tuning, arXiv 2309.05173, section 2.2:

    [P; E(x) + c A B],   P: m x d,   A: s x r,   B: r x d = 0 at the start,   c = alpha / sqrt(r)

The factor c is the authors' code's. Row t of A B is added to token t, padding included; an input may be shorter than
the s tokens that there are rows for, and must not be longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from suite.adapters.carriers import PromptConfig, PromptEncoder, prompt_tuner
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class DeptConfig(PromptConfig):
    """Settings of DePT, beside `num_virtual_tokens`, m."""

    r: int = field(default=45, metadata={"help": "Rank of the change of the embeddings."})
    lora_alpha: float = field(default=8.0, metadata={"help": "The change is scaled by alpha / sqrt(r)."})
    max_length: int = field(default=256, metadata={"help": "s: tokens that an input may have."})
    init_ids: list[int] | None = field(
        default=None, metadata={"help": "Tokens, of a text, whose embeddings the prompt starts with; None draws some."}
    )
    prompt_lr: float | None = field(
        default=None, metadata={"help": "Learning rate of the prompt (the paper: 0.3); None for that of the run."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r < 1 or self.max_length < 1:
            raise ValueError(f"r={self.r} and max_length={self.max_length} must be at least 1")


@prompt_tuner(
    MethodInfo(
        "dept",
        paper="2309.05173",
        trainable="prompts and a product of rank r",
        in_place=False,
        identity_at_start=False,
        mergeable=False,
        quantizable=True,
        layers=("TransformerModel",),
        procedure="dept",
    ),
    DeptConfig,
)
class Dept(PromptEncoder):
    """[P; E(x) + c A B]."""

    def create(self, config: DeptConfig, word_embeddings: nn.Module) -> dict[str, Tensor | nn.Module]:
        weight: Any = word_embeddings.weight
        count = config.num_virtual_tokens
        drawn = torch.randint(len(weight), (count,))
        ids = (
            drawn
            if config.init_ids is None
            else torch.tensor(config.init_ids).repeat(-(-count // len(config.init_ids)))
        )
        a = torch.empty(config.max_length, config.r)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        b = torch.zeros(config.r, config.token_dim)
        prompt = weight.detach()[ids[:count].to(weight.device)].float()
        return {"prompt_embeddings": prompt, "lora_embedding_A": a, "lora_embedding_B": b}

    def prompts(self) -> Tensor:
        return self.prompt_embeddings

    def embedded(self, embeddings: Tensor) -> Tensor:
        length, config = embeddings.shape[1], self.settings
        if length > config.max_length:
            raise InputError(f"dept: an input has {length} tokens, and the adapter is made for {config.max_length}")
        change = self.lora_embedding_A[:length] @ self.lora_embedding_B  # (L, d)
        return embeddings + (config.lora_alpha / math.sqrt(config.r) * change).to(embeddings.dtype)


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `prompt_embeddings` and `prompt_encoder.lora_embedding_{A,B}` as our tensors.

    Raises:
        InputError: the file lacks one, or holds others.
    """
    names = {"prompt_embeddings": "prompt_embeddings"}
    names |= {f"prompt_encoder.lora_embedding_{part}": f"lora_embedding_{part}" for part in "AB"}
    if missing := sorted(set(names) - set(state)):
        raise InputError(f"dept: the file lacks {', '.join(missing)}")
    if unexpected := sorted(set(state) - set(names)):
        raise InputError(f"dept: the file holds what is not DePT's: {', '.join(unexpected[:3])}")
    return {ours: state[theirs] for theirs, ours in names.items()}
