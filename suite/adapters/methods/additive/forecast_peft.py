"""Forecast-PEFT's block: an adapter beside attention and one beside the MLP, each on what its norm gives.

Wang et al., Forecast-PEFT: Parameter-Efficient Fine-Tuning for Pre-trained Motion Forecasting Models, arXiv 2407.19564,
section 3.3. With f(h) = up(gelu(down(h))):

    x <- x + drop_path(attention(norm1(x)) + f(norm1(x)))
    x <- x + drop_path(mlp(norm2(x))) + f'(norm2(x))

The last linear layer of f starts at 0, so that training starts at the pretrained function; the authors' code means to
and overwrites it with its global initialisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.blocks import block_names
from suite.adapters.carriers import Site, TunerConfig, tuner
from suite.adapters.carriers.child import ChildTuner, exactly
from suite.adapters.registry import MethodInfo
from suite.errors import InputError

PARTS = ("norm1", "attn", "norm2", "mlp")
PLACES = ("attention", "mlp")
PIECES = ("down", "down_bias", "up", "up_bias")


@dataclass
class ForecastPeftConfig(TunerConfig):
    """Settings of Forecast-PEFT. Without `target_modules` the model's largest block list is meant."""

    r: int = field(default=64, metadata={"help": "Width in the middle of the adapters."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r < 1:
            raise ValueError(f"r={self.r} must be at least 1")


class _ForecastTuner(ChildTuner):
    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        if peft_config.target_modules is None:
            peft_config.target_modules = exactly(block_names(self.model))
        return peft_config


@tuner(
    MethodInfo(
        "forecast_peft",
        paper="2407.19564",
        half=False,
        trainable="2 * (2 * hidden * r + r + hidden)",
        mergeable=False,
        quantizable=True,
        layers=("PreNormBlock",),
    ),
    ForecastPeftConfig,
)
class ForecastPeft(Site):
    """f beside attention, f' beside the MLP."""

    tuner_base = _ForecastTuner
    parameter_names: ClassVar = tuple(f"{place}_{part}" for place in PLACES for part in PIECES)

    def create(self, adapter: str, config: ForecastPeftConfig) -> dict[str, Tensor | nn.Module]:
        if not all(hasattr(self.host, part) for part in PARTS):
            raise InputError(f"{self.target}: {type(self.host).__name__} has no {', '.join(PARTS)}; target such blocks")
        self.watch(self.host.attn, after=self._beside_attention)
        self.watch(self.host.norm2, after=self._normed)
        width = self.host.norm2.weight.shape[-1]
        tensors: dict[str, Tensor | nn.Module] = {}
        for place in PLACES:
            down, up = nn.Linear(width, config.r), nn.Linear(config.r, width)
            if config.init_weights:
                nn.init.zeros_(up.weight)
                nn.init.zeros_(up.bias)
            made = (down.weight, down.bias, up.weight, up.bias)
            tensors |= {f"{place}_{part}": tensor.detach() for part, tensor in zip(PIECES, made, strict=True)}
        return tensors

    def branch(self, h: Tensor, adapter: str, place: str) -> Tensor:
        """f(h) of the adapter beside `place`, in float32."""
        down, down_bias, up, up_bias = (self.tensor(f"{place}_{part}", adapter) for part in PIECES)
        return functional.linear(functional.gelu(functional.linear(h.float(), down, down_bias)), up, up_bias)

    def _beside_attention(self, _module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        x = args[0] if args else kwargs["query"]
        y, *rest = output if isinstance(output, tuple) else (output,)
        for adapter in [] if self.disable_adapters else self.present():
            y = y + self.branch(x, adapter, "attention").to(y.dtype)
        return (y, *rest) if isinstance(output, tuple) else y

    def _normed(self, _module: nn.Module, _args: Any, _kwargs: Any, output: Tensor) -> None:
        self.scratch.normed = output

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, adapter: str) -> Any:
        y, *rest = output if isinstance(output, tuple) else (output,)
        y = y + self.branch(self.scratch.normed, adapter, "mlp").to(y.dtype)
        return (y, *rest) if isinstance(output, tuple) else y


def official_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`prompt_adapter_Attn` and `prompt_adapter_Mlp` of one block of the authors' files as our tensors."""
    pieces = {"0.weight": "down", "0.bias": "down_bias", "2.weight": "up", "2.bias": "up_bias"}
    starts = {"attention": "prompt_adapter_Attn.", "mlp": "prompt_adapter_Mlp."}
    return {f"{place}_{ours}": state[start + key] for place, start in starts.items() for key, ours in pieces.items()}
