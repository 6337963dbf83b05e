"""What adapters on sequences of states share: where they sit, and what causal ones remember between cached steps.

Such an adapter reads the states h (B, T, d) of its host, its output by default, and puts others in their place. On a
language model it must be causal, and in cached generation it sees one step at a time: what it needs of the steps
before lives in a `Stream`, given as side information of the forward:

    stream = Stream()
    with adapters.context(model, stream=stream):
        for step in steps:
            model(step, past_key_values=cache)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from suite.adapters.carriers import Site, TunerConfig
from suite.adapters.carriers.weights import channel_axis, kind_of, sizes
from suite.errors import InputError

State = dict[str, Tensor]
"""What one adapter remembers; the first axis of every tensor is the batch."""


class Stream:
    """The memory of the causal adapters of a model over the steps of one cached generation."""

    def __init__(self) -> None:
        self.states: dict[Hashable, State] = {}
        self.seen: dict[Hashable, int] = {}

    def state(self, key: Hashable, make: Callable[[], State]) -> State:
        """What the adapter `key` remembers, changed in place by it; made at the first step."""
        if key not in self.states:
            self.states[key] = make()
        return self.states[key]

    def select(self, rows: Tensor) -> None:
        """Go on with these rows of the batch (n,): reordered, repeated or left out, as beam search does."""
        for state in self.states.values():
            for name, tensor in state.items():
                state[name] = tensor.index_select(0, rows.to(tensor.device))

    def advance(self, key: Hashable, steps: int) -> int:
        """Count the steps of the adapter `key`; returns how many there were before."""
        before = self.seen.get(key, 0)
        self.seen[key] = before + steps
        return before


class Point(nn.Identity):
    """A named place in a network of ours where adapters may sit; without one it changes nothing.

    Args:
        width: channels of what flows through.
        axis: the axis of the channels.
    """

    def __init__(self, width: int, axis: int = -1) -> None:
        super().__init__()
        self.width, self.axis = width, axis


@dataclass
class SequenceConfig(TunerConfig):
    """Settings that all adapters on sequences have."""

    bottleneck_size: int = field(default=64, metadata={"help": "Width in the middle."})
    dropout: float = field(default=0.1, metadata={"help": "On what is added to the states.", "live": True})
    at: Literal["output", "input"] = field(
        default="output", metadata={"help": "Whether the host's output or its first input is adapted."}
    )
    width: int | None = field(
        default=None, metadata={"help": "Width of the states, where the host does not tell (a block of an odd kind)."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bottleneck_size < 1:
            raise ValueError(f"bottleneck_size={self.bottleneck_size} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must be at least 0 and less than 1")


class SequenceSite(Site):
    """A module of the method's own, `make`, in the way of the states of its host."""

    module_names: ClassVar = ("branch",)

    def make(self, width: int, config: Any) -> nn.Module:
        """The module of a new adapter for states of this width."""
        raise TypeError(f"{type(self).__name__} must define make")

    def change(self, h: Tensor, adapter: str) -> Tensor:
        """Other states in the place of `h` (B, T, d)."""
        raise TypeError(f"{type(self).__name__} must define change")

    def create(self, adapter: str, config: SequenceConfig) -> dict[str, Tensor | nn.Module]:
        return {"branch": self.make(config.width or self._width(config), config)}

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any], adapter: str) -> tuple[tuple[Any, ...], dict]:
        if self.settings[adapter].at == "output":
            return args, kwargs
        if not args:
            raise InputError(f"{self.target}: its states are no positional argument; adapt its output")
        x, *rest = args
        return (self._changed_states(x, adapter), *rest), kwargs

    def after(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, adapter: str) -> Any:
        if self.settings[adapter].at == "input":
            return output
        if isinstance(output, tuple):
            return (self._changed_states(output[0], adapter), *output[1:])
        return self._changed_states(output, adapter)

    def _changed_states(self, x: Tensor, adapter: str) -> Tensor:
        """`change` of states of any layout: channels in front, several axes of positions, or a position a row."""
        axis = getattr(self.host, "axis", channel_axis(self.host)) % x.dim()
        channels_last = x.movedim(axis, -1)
        h = channels_last.unsqueeze(1) if x.dim() == 2 else channels_last.flatten(1, -2)  # (B, T, d)
        dtype = next(self.tensor("branch", adapter).parameters()).dtype
        new = self.change(self._cast_input_dtype(h, dtype), adapter)
        return new.to(x.dtype).reshape(channels_last.shape).movedim(-1, axis)

    def _width(self, config: SequenceConfig) -> int:
        host = self.host
        if isinstance(host, Point):
            return host.width
        if kind_of(host) is not None:
            return sizes(host)[0 if config.at == "input" else 1]
        norms = (child.normalized_shape[-1] for child in host.children() if isinstance(child, nn.LayerNorm))
        width = next(norms, None)
        if width is None:
            raise InputError(f"{self.target}: a {type(host).__name__} does not tell how wide its states are; set width")
        return width

    def memory(self, adapter: str, make: Callable[[], State]) -> tuple[State | None, int]:
        """What this adapter remembers of the steps before (None without a stream), and how many `seen` say there were.

        The caller counts the steps by `stream.advance`.
        """
        stream: Stream | None = self.context.get("stream")
        if stream is None:
            return None, 0
        key = (self.method, self.target, adapter)
        return stream.state(key, make), stream.seen.get(key, 0)

    def advance(self, adapter: str, steps: int) -> None:
        """Count the steps that this adapter saw, where there is a stream."""
        stream: Stream | None = self.context.get("stream")
        if stream is not None:
            stream.advance((self.method, self.target, adapter), steps)


def keep(state: State, name: str, tensor: Tensor) -> None:
    """Remember a tensor, in the place of the one before where it fits: a recorded step finds it there again."""
    if state[name].shape == tensor.shape:
        state[name].copy_(tensor)
    else:
        state[name] = tensor


def start_at_identity(down: nn.Linear, up: nn.Linear, init_weights: bool) -> None:
    """Down Xavier-uniform, up zero, biases zero; with `init_weights=False` up is drawn as well."""
    nn.init.xavier_uniform_(down.weight)
    nn.init.zeros_(down.bias)
    nn.init.zeros_(up.bias)
    if init_weights:
        nn.init.zeros_(up.weight)
    else:
        nn.init.normal_(up.weight, std=0.3)


def masked(h: Tensor, valid: Tensor | None) -> Tensor:
    """States (B, T, d) with zeros where `valid` (B, T) says that there is padding."""
    return h if valid is None else h * valid[..., None].to(h.dtype)


def fit_rows(valid: Tensor | None, h: Tensor) -> Tensor | None:
    """The mask (B, T) of the states (B, T, d) at hand, on their device; None where it speaks of another sequence."""
    if valid is None or tuple(valid.shape) != tuple(h.shape[:2]):
        return None
    return valid.to(h.device).to(torch.bool)
