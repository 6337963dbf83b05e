"""What the ReFT methods share: where in the sequence hidden states are edited, and low-rank edits of them.

Wu et al., ReFT: Representation Finetuning for Language Models, arXiv 2404.03592, section 3. At the output of chosen
blocks, hidden states h (d,) at the first N and the last M tokens of the prompt become h + edit(h); every method has its
own `edit`. Tokens that are generated after the prompt stay as they are.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from suite.adapters.blocks import block_names, token_width
from suite.adapters.carriers import Site, TunerConfig
from suite.adapters.carriers.child import ChildTuner, exactly
from suite.adapters.registry import MethodInfo

PROMPT = "prompt_span"
"""The context's key for where every row's prompt begins and ends, (batch, 2): padding to the left, answers behind."""


def parse_positions(text: str) -> tuple[int, int] | None:
    """`f7+l7`, `f3` or `l1` as how many of the first and of the last tokens; None for `all`.

    Raises:
        ValueError: it is none of these.
    """
    found = re.fullmatch(r"(?:f(\d+))?\+?(?:l(\d+))?", text.strip())
    if text != "all" and (found is None or not any(found.groups())):
        raise ValueError(f"positions {text!r} must be all, or first and last tokens such as f7+l7, f3 or l1")
    return None if text == "all" or found is None else (int(found[1] or 0), int(found[2] or 0))


def locations(first: int, last: int, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Which tokens of each prompt are edited, (batch, first) and (batch, last), -1 where there is none.

    A prompt of n tokens has at most floor(n / 2) first ones and as many last ones.

    Args:
        begin, end: of every row's prompt, (batch,).
    """
    half = (end - begin)[:, None] // 2
    ahead, behind = (torch.arange(count, device=begin.device)[None] for count in (first, last))
    taken = half.clamp(max=last)
    prefix = torch.where(ahead < half, begin[:, None] + ahead, -1)
    return prefix, torch.where(behind < taken, end[:, None] - taken + behind, -1)


@dataclass
class ReftConfig(TunerConfig):
    """Settings of the ReFT methods. Without `target_modules` the model's largest block list is meant."""

    r: int = field(default=8, metadata={"help": "Rank of the edit."})
    positions: str = field(
        default="f7+l7",
        metadata={"help": "First and last tokens of the prompt that are edited, or `all`.", "live": True},
    )
    tied: bool = field(
        default=True, metadata={"help": "First and last tokens share one edit; False gives each its own."}
    )
    activation: str = field(
        default="linear", metadata={"help": "On the learned source, by transformers' name.", "live": True}
    )
    dropout: float = field(default=0.0, metadata={"help": "In training, where `dropout_on` says.", "live": True})
    dropout_on: Literal["edit", "state"] = field(
        default="edit",
        metadata={"help": "On the edit, or on the whole edited state as the authors' code.", "live": True},
    )
    width: int | None = field(default=None, metadata={"help": "Channels of a hidden state; None asks the model."})

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_positions(self.positions)
        if self.r < 1:
            raise ValueError(f"r={self.r} must be at least 1")
        if self.activation not in ACT2FN:
            raise ValueError(f"activation {self.activation!r} is none that transformers knows, such as relu or linear")


class ReftTuner(ChildTuner):
    """Finds the blocks and their width."""

    def _prepare_adapter_config(self, peft_config: ReftConfig, model_config: dict[str, Any]) -> ReftConfig:
        if peft_config.target_modules is None:
            peft_config.target_modules = exactly(block_names(self.model))
        if peft_config.width is None:
            peft_config.width = token_width(self.model, model_config, peft_config.method)
        return peft_config


def reft_info(name: str, trainable: str, half: bool = False) -> MethodInfo:
    """What all of them declare."""
    return MethodInfo(
        name,
        paper="2404.03592",
        trainable=trainable,
        identity_at_start=False,
        half=half,
        mergeable=False,
        quantizable=True,
        scalable=True,
        layers=("TransformerBlock",),
        procedure="prompt_span",
    )


class Reft(Site):
    """Edits what comes out of a block, at some tokens. Its tensors begin with an axis of 1, of 2 for untied edits."""

    tuner_base = ReftTuner

    def edit(self, h: Tensor, adapter: str, part: int) -> Tensor:
        """What is added to hidden states h (..., d), by the edit number `part`."""
        raise TypeError(f"{type(self).__name__} must define edit")

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, adapter: str) -> Any:
        h, *rest = output if isinstance(output, tuple) else (output,)  # (batch, tokens, d)
        cache = kwargs.get("past_key_values")
        if cache is not None and cache.get_seq_length() > h.shape[1]:
            return output  # the prompt is over
        h = self._edited(h, kwargs.get("position_ids"), adapter)
        return (h, *rest) if isinstance(output, tuple) else h

    def _edited(self, h: Tensor, position_ids: Tensor | None, adapter: str) -> Tensor:
        config = self.settings[adapter]
        counts = parse_positions(config.positions)
        if counts is None:
            return self._changed_states(h, adapter, 0)
        found = locations(*counts, *self._prompt(h, position_ids))
        places = [torch.cat(found, 1)] if config.tied else [own for own in found if own.shape[1]]
        for part, chosen in enumerate(places):
            index = chosen.clamp(min=0)[..., None].expand(-1, -1, h.shape[-1])
            states = h.gather(1, index)
            change = (self._changed_states(states, adapter, part) - states) * (chosen >= 0)[..., None]
            h = h.scatter_add(1, index, change.to(h.dtype))
        return h

    def _prompt(self, h: Tensor, position_ids: Tensor | None) -> tuple[Tensor, Tensor]:
        """Where the prompts begin and end, (batch,) each: as the context says, else from the first real token on."""
        given = self.context.get(PROMPT)
        if given is not None:
            begin, end = given.to(h.device).clamp(max=h.shape[1]).unbind(1)
            return begin, end
        end = torch.full((h.shape[0],), h.shape[1], device=h.device)
        if position_ids is None:
            return torch.zeros_like(end), end
        steps = torch.arange(h.shape[1], device=h.device)
        begin = torch.where(position_ids == 0, steps, 0).amax(1)  # what pads to the left is before the last 0
        return begin.expand_as(end), end

    def _changed_states(self, h: Tensor, adapter: str, part: int) -> Tensor:
        """h + edit(h) in h's dtype; the edit is made in float32."""
        config = self.settings[adapter]
        p = config.dropout if self.training else 0.0
        change = self.edit(h.float(), adapter, part)
        if p and config.dropout_on == "state":
            return functional.dropout(h + change.to(h.dtype), p)
        return h + functional.dropout(change, p).to(h.dtype)

    def count_parts(self, config: ReftConfig) -> int:
        """How many edits there are: one, or one for the first and one for the last tokens."""
        counts = parse_positions(config.positions)
        return 1 if config.tied or counts is None or 0 in counts else 2

    def rotation(self, adapter: str, part: int) -> Tensor:
        """R^T (d, r) with orthonormal columns: X L^-T with L L^T = X^T X, which is X where that is orthonormal."""
        x = self.tensor("rotate", adapter)[part].float()  # (d, r)
        lower = torch.linalg.cholesky(x.T @ x)
        return torch.linalg.solve_triangular(lower, x.T, upper=False).T

    def source(self, h: Tensor, adapter: str, part: int, name: str = "weight") -> Tensor:
        """phi(W h + b), (..., r)."""
        bias = self.tensor("bias" if name == "weight" else f"{name}_bias", adapter)[part]
        y = functional.linear(h, self.tensor(name, adapter)[part], bias)
        return ACT2FN[self.settings[adapter].activation](y) if name == "weight" else y

    def create(self, adapter: str, config: ReftConfig) -> dict[str, Tensor | nn.Module]:
        """Rotations start orthogonal, linear maps as torch's, as the authors have it."""
        parts, width, r = self.count_parts(config), config.width, config.r
        assert width is not None  # known since the tuner prepared the config
        bound = 1 / math.sqrt(width)
        tensors: dict[str, Tensor | nn.Module] = {}
        for name in self.parameter_names:
            if name == "rotate":
                tensors[name] = torch.stack([nn.init.orthogonal_(torch.empty(width, r)) for _ in range(parts)])
            elif name == "learned":
                tensors[name] = torch.rand(parts, r)
            else:
                size = (parts, r) if name.endswith("bias") else (parts, r, width)
                tensors[name] = torch.empty(size).uniform_(-bound, bound)
        return tensors
