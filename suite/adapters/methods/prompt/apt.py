"""APT: what deep prompts do to an attention, approximated without making the sequence longer.

Wu et al., Approximated Prompt Tuning for Vision-Language Pre-trained Models, arXiv 2306.15706, section 3.2, as in the
authors' code. With x what goes into the output projection and h what came into the attention:

    T(P) = U2 U1 P,    a = relu(h (P + T(P))^T),    x' = (x + max_n(a) * a P) exp(scale)

max_n(a) is taken as a constant. P: n x d, U1: 4 x d, U2: d x 4 = 0 at the start, scale: a number that starts at 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from suite.adapters.carriers import Site, TunerConfig, tuner
from suite.adapters.carriers.branch import first_tensor
from suite.adapters.registry import MethodInfo
from suite.errors import InputError

PROJECTIONS = ("proj", "o_proj", "out_proj", "wo", "o")


@dataclass
class AptConfig(TunerConfig):
    """Settings of approximated prompts."""

    tokens: int = field(default=200, metadata={"help": "n, the prompts of an attention."})
    hidden: int = field(default=4, metadata={"help": "Channels between U1 and U2."})
    projection: str | None = field(
        default=None, metadata={"help": "What the output projection is called; None tries the usual names."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens < 1 or self.hidden < 1:
            raise ValueError(f"tokens={self.tokens} and hidden={self.hidden} must be at least 1")


@tuner(
    MethodInfo(
        "apt",
        paper="2306.15706",
        trainable="prompts, two maps and a scale",
        identity_at_start=False,
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Attention", "TransformersAttention"),
    ),
    AptConfig,
)
class Apt(Site):
    """(x + max(a) * a P) exp(scale), before the output projection."""

    parameter_names: ClassVar = ("mm_tokens", "mm_0", "mm_1", "scale")

    def create(self, adapter: str, config: AptConfig) -> dict[str, Tensor]:
        projection = self._projection(config)
        self.watch(self.host, before=self._enter)
        self.watch(projection, before=self._leave)
        width = int(projection.in_features)
        return {
            "mm_tokens": 0.02 * torch.randn(config.tokens, width),
            "mm_0": torch.randn(config.hidden, width),
            "mm_1": torch.zeros(width, config.hidden),
            "scale": torch.zeros(1),
        }

    def _projection(self, config: AptConfig) -> Any:
        names = PROJECTIONS if config.projection is None else (config.projection,)
        found = next((child for name in names if (child := getattr(self.host, name, None)) is not None), None)
        if not hasattr(found, "in_features"):
            raise InputError(
                f"{self.target}: {type(self.host).__name__} has no output projection called {' or '.join(names)}; "
                "name it by projection="
            )
        return found

    def _enter(self, _host: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.scratch.entered = first_tensor(args, kwargs)

    def _leave(self, _projection: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> Any:
        if self.disable_adapters:
            return None
        given, (x, *rest) = self.scratch.entered, args

        def change(state: tuple[Tensor, Tensor], adapter: str) -> tuple[Tensor, Tensor]:
            entered, x = state
            return entered, self.prompted(entered, x, adapter).to(x.dtype)

        return (self._changed((given, x), given, change)[1], *rest), kwargs

    def prompted(self, entered: Tensor, x: Tensor, adapter: str) -> Tensor:
        """What goes into the projection, with prompts: (B, N, d), from what came into the attention, (B, N, d)."""
        prompts, down, up, scale = (self.tensor(name, adapter) for name in self.parameter_names)
        if entered.shape[-1] != x.shape[-1]:
            raise InputError(
                f"{self.target}: {entered.shape[-1]} channels come in and {x.shape[-1]} go out; apt needs one"
            )
        keys = prompts + prompts @ down.T @ up.T
        scores = torch.relu(self._cast_input_dtype(entered, prompts.dtype) @ keys.T)  # (B, N, n)
        weight = scores.amax(-1, keepdim=True).detach()
        return (x + weight * (scores @ prompts)) * scale.exp()


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `mm_tokens`, `mm.0.weight`, `mm.1.weight` and `scale` of one attention as our tensors."""
    names = {"mm_tokens": "mm_tokens", "mm.0.weight": "mm_0", "mm.1.weight": "mm_1", "scale": "scale"}
    return {ours: state[theirs] for theirs, ours in names.items()}
