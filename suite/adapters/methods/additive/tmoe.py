"""TMoE: one compression, a router and several up-projections beside every linear layer.

Cai et al., SPMTrack, arXiv 2503.18338, section 3.3. For a token x, with s = alpha / r, or alpha / sqrt(r):

    g = softmax(R x)                                 R: (E, in), per token, dense
    y = W x + b + s sum_i g_i B_i A x                A: (r, in), B_i: (out, r)

Two other forms: `shared_expert` adds s B_s A x without a gate; `route_compression` has an A_i for each B_i. The paper
calls the frozen W the shared expert and A the compression expert. The gates depend on the token, so there is no merged
weight, but for E = 1, where the only gate is 1.

Two exact rewrites compute it. With the outer product of g and h = A x, (E r) numbers a token, and the B_i side by side,
all experts are one product, and nothing is as large as E outputs. And since the gates sum to one,

    sum_i g_i B_i h = B_E h + sum_{i<E} g_i (B_i - B_E) h,

so that B_E A (and B_s A) can join W and E - 1 experts remain: cheaper where the tokens outnumber the inputs by far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.fused.frozen import (
    autocast_dtype,
    is_frozen_linear,
    is_plain_tensor,
    is_raised,
    is_transformed,
    multiplies,
)
from suite.adapters.handle import layers
from suite.adapters.registry import MethodInfo

Form = Literal["default", "shared_expert", "route_compression"]

STD = 0.02
"""Of the truncated normal that `bert` draws from."""


@dataclass
class TmoeConfig(TunerConfig):
    """Settings of TMoE; the defaults are those of SPMTrack's published models."""

    r: int = field(default=64, metadata={"help": "Rank: rows of A."})
    alpha: float = field(
        default=64.0, metadata={"help": "The branch is scaled by alpha / r.", "live": True, "strength": True}
    )
    num_experts: int = field(default=4, metadata={"help": "E, how many up-projections are mixed."})
    dropout: float = field(
        default=0.0, metadata={"help": "On what A reads, not on what the router reads.", "live": True}
    )
    use_rslora: bool = field(default=False, metadata={"help": "Scale by alpha / sqrt(r) instead.", "live": True})
    init: Literal["bert", "lora", "gaussian"] = field(
        default="bert",
        metadata={
            "help": (
                "`bert` draws A and every B from N(0, 0.02), cut at 2, and does not start at the identity; `lora` "
                "(A uniform as in LoRA) and `gaussian` (A from N(0, 1 / r)) start with B = 0 and do."
            ),
            "live": True,
        },
    )
    form: Form = field(
        default="default",
        metadata={"help": "`shared_expert` adds an expert without a gate, `route_compression` has an A for each B."},
    )
    fused: dict[str, int] = field(
        default_factory=lambda: {"qkv": 3},
        metadata={
            "help": (
                "Layers, by the end of their name, that are several in one: each part of their output has a branch "
                "of its own."
            )
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("r", "num_experts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} must be in [0, 1)")
        if wrong := [name for name, parts in self.fused.items() if parts < 1]:
            raise ValueError(f"fused: {wrong[0]!r} is {self.fused[wrong[0]]} layers in one; give at least 1")

    def no_merging(self) -> str | None:
        if self.num_experts == 1:
            return None
        return (
            f"the gates of its {self.num_experts} experts depend on the token, so that no one weight does what it "
            "does; keep it attached (with num_experts 1 it merges)"
        )


class Experts(NamedTuple):
    """The tensors of one layer's branch; P parts of the output have branches of their own, mostly P = 1."""

    compress: Tensor  # (P, C, r, in), C = E for route_compression, else 1
    router: Tensor  # (P, E, in)
    up: Tensor  # (P, out / P, E, r)
    shared: Tensor | None  # (P, out / P, r)

    def to(self, dtype: torch.dtype) -> Experts:
        shared = None if self.shared is None else self.shared.to(dtype)
        return Experts(self.compress.to(dtype), self.router.to(dtype), self.up.to(dtype), shared)

    def mixed(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        """What the stacked up-projections read: of tokens (n, in), (n, P, E [+ 1], r)."""
        down, gates = self.read(x, dropout)
        mixed = gates.unsqueeze(-1) * down  # (n, P, E, r)
        return mixed if self.shared is None else torch.cat([mixed, down], 2)

    def read(self, x: Tensor, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        """Of tokens (n, in), what they are compressed to, (n, P, C, r), and their gates, (n, P, E)."""
        parts, count, rank, size = self.compress.shape
        down = self.compress.reshape(-1, size)  # (P * C * r, in)
        router = self.router.reshape(-1, size)  # (P * E, in)
        if dropout:
            low, logits = functional.linear(functional.dropout(x, dropout), down), functional.linear(x, router)
        else:
            # One pass over x for both.
            low, logits = functional.linear(x, torch.cat([down, router])).split([len(down), len(router)], dim=1)
        # No length of x: in a traced graph that would be the example's for ever.
        gates = logits.reshape(-1, parts, self.router.shape[1]).softmax(-1, dtype=_wide(logits.dtype))
        return low.reshape(-1, parts, count, rank), gates.to(low.dtype)

    def stacked(self) -> Tensor:
        """The up-projections side by side, (P, out / P, E [+ 1] * r)."""
        up = self.up if self.shared is None else torch.cat([self.up, self.shared.unsqueeze(2)], 2)
        return up.flatten(2)

    def ungated(self) -> Tensor:
        """B_E A, with B_s A where there is one: what may join the weight, (out, in). Of a single compression."""
        last = self.up[:, :, -1] if self.shared is None else self.up[:, :, -1] + self.shared  # (P, out / P, r)
        return (last @ self.compress[:, 0]).flatten(0, 1)

    def differences(self) -> Experts:
        """The E - 1 experts that remain once `ungated` has joined the weight; the last gate is not theirs."""
        return Experts(self.compress, self.router, self.up[:, :, :-1] - self.up[:, :, -1:], None)


class Product(NamedTuple):
    """What a forward without gradients multiplies with."""

    weight: Tensor  # (out, in), with the ungated part where that joined it
    down: Tensor  # (P * C * r + P * E, in), the compressions and the router
    up: Tensor  # (P, K * r, out / P), the experts that remain
    compressions: int  # C
    gated: int  # how many of the K have gates; the last one then has none
    rank: int

    @classmethod
    def of(cls, weight: Tensor, experts: Experts, scaling: float, joins: bool) -> Product:
        """For a weight (out, in); `joins` says whether the ungated part joins it."""
        down = torch.cat([experts.compress.flatten(0, 2), experts.router.flatten(0, 1)])
        if joins:
            weight = torch.add(weight, experts.ungated(), alpha=scaling)
            experts = experts.differences()
        gated = experts.up.shape[2]
        up = experts.stacked().transpose(1, 2)
        return cls(weight, down, up, experts.compress.shape[1], gated, experts.compress.shape[2])

    def settled(self, dtype: torch.dtype) -> Product:
        """Of this type, and laid out for the product."""
        weight, down, up = (each.to(dtype).contiguous() for each in (self.weight, self.down, self.up))
        return self._replace(weight=weight, down=down, up=up)

    def add_to(self, y: Tensor, x: Tensor, scaling: float) -> None:
        """Add the branch of tokens x (n, in) to y (n, out), in place: nothing else is as large as y."""
        parts, width = self.up.shape[:2]
        if not width:
            return
        low, logits = functional.linear(x, self.down).tensor_split([parts * self.compressions * self.rank], dim=1)
        down = low.reshape(len(x), parts, self.compressions, self.rank)
        gates = logits.reshape(len(x), parts, -1).softmax(-1, dtype=_wide(logits.dtype)).to(low.dtype)
        mixed = gates[:, :, : self.gated, None] * down  # (n, P, E or E - 1, r)
        if width > self.gated * self.rank:
            mixed = torch.cat([mixed, down], 2)
        for part, columns in enumerate(y.chunk(parts, 1)):
            columns.addmm_(mixed[:, part].flatten(1), self.up[part], alpha=scaling)


class Kept:
    """Products that stay from one forward to the next, by adapter. A copy of a layer has none."""

    def __init__(self, wanted: bool = False) -> None:
        self.wanted = wanted
        self.products: dict[str, Product] = {}
        # The tensors themselves are held: the place of one that is gone may be given to another.
        self._made_of: dict[str, tuple[tuple[Any, ...], list[Tensor]]] = {}

    def holds(self, adapter: str, settings: tuple[Any, ...], tensors: list[Tensor]) -> bool:
        """Whether the product of an adapter was made of these very tensors as they are."""
        known, held = self._made_of.get(adapter, ((), []))
        same = len(held) == len(tensors) and all(one is two for one, two in zip(held, tensors, strict=True))
        return same and known == settings

    def put(self, adapter: str, settings: tuple[Any, ...], tensors: list[Tensor], product: Product) -> None:
        self._made_of[adapter], self.products[adapter] = (settings, tensors), product

    def __deepcopy__(self, memo: dict[int, Any]) -> Kept:
        return Kept(self.wanted)

    def __reduce__(self) -> tuple[type[Kept], tuple[bool]]:
        return Kept, (self.wanted,)


@tuner(
    MethodInfo(
        "tmoe",
        paper="2503.18338",
        trainable="experts of rank r and their routers",
        identity_at_start=False,
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
    ),
    TmoeConfig,
)
class Tmoe(WeightChange):
    """W x + s sum_i g_i B_i A x, by the product that costs least."""

    parameter_names: ClassVar = ("compress", "router", "up", "shared")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored = Kept()

    def create(self, adapter: str, config: TmoeConfig) -> dict[str, Tensor]:
        parts = config.fused.get(self.target.rpartition(".")[2], 1)
        if self.out_features % parts:
            raise ValueError(
                f"{self.target}: its {self.out_features} outputs are no {parts} equal parts; set fused to say what "
                "it is made of, e.g. {} for one layer"
            )
        count = config.num_experts if config.form == "route_compression" else 1
        compress = torch.empty(parts, count, config.r, self.in_features)
        router = torch.empty(parts, config.num_experts, self.in_features)
        up = torch.zeros(parts, self.out_features // parts, config.num_experts, config.r)
        created = {"compress": compress, "router": router, "up": up}
        if config.form == "shared_expert":
            created["shared"] = torch.zeros(parts, self.out_features // parts, config.r)
        # In the order in which they stand, so that a seed gives the same numbers on every run.
        _draw(compress, config)
        nn.init.uniform_(router, -(self.in_features**-0.5), self.in_features**-0.5)
        for name in ("up", "shared"):
            if name in created and (config.init == "bert" or not config.init_weights):
                nn.init.trunc_normal_(created[name], std=STD if config.init_weights else 5 * STD)
        return created

    def experts(self, adapter: str) -> Experts:
        """An adapter's tensors on this layer."""
        shared = self.tensor("shared", adapter) if self.settings[adapter].form == "shared_expert" else None
        compress, router, up = (self.tensor(name, adapter) for name in ("compress", "router", "up"))
        return Experts(compress, router, up, shared)

    def scaling(self, adapter: str) -> float:
        """s, times the adapter's strength."""
        config = self.settings[adapter]
        return self.factor(adapter) / (math.sqrt(config.r) if config.use_rslora else config.r)

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        if reason := self.settings[adapter].no_merging():
            raise ValueError(f"{self.target}: tmoe is no change of the weight: {reason}")
        return weight + self.scaling(adapter) * self.experts(adapter).to(weight.dtype).ungated(), bias

    def gates(self, x: Tensor, adapter: str) -> Tensor:
        """How much each expert counts for tokens (..., in), in each part of the layer: (..., P, E)."""
        found = self.experts(adapter).to(x.dtype).read(x.reshape(-1, x.shape[-1]))[1]  # (n, P, E)
        return found.reshape(*x.shape[:-1], *found.shape[1:])

    def _adapted(self, x: Tensor, adapters: Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or len(adapters) != 1 or not self._is_plain(x):
            return super()._adapted(x, adapters, *args, **kwargs)
        x = x.to(autocast_dtype(x) or x.dtype)
        rows, bias = x.reshape(-1, x.shape[-1]), self.get_base_layer().bias
        product = self._product(rows, adapters[0])
        y = functional.linear(rows, product.weight, None if bias is None else bias.to(x.dtype))
        product.add_to(y, rows, self.scaling(adapters[0]))
        return y.reshape(*x.shape[:-1], -1)

    def _product(self, x: Tensor, adapter: str) -> Product:
        """What to multiply tokens (n, in) with: made for them, or kept from the last forward."""
        weight, experts = self.get_base_layer().weight, self.experts(adapter)
        tensors = [weight, *(tensor for tensor in experts if tensor is not None)]
        # Of a tensor that was made for inference alone nobody tells whether it has changed.
        if not self._stored.wanted or any(tensor.is_inference() for tensor in tensors):
            joins = folds(len(x), experts)
            return Product.of(weight.to(x.dtype), experts.to(x.dtype), self.scaling(adapter), joins)
        settings = (x.dtype, self.scaling(adapter), *(each._version for each in tensors))
        if not self._stored.holds(adapter, settings, tensors):
            joins = experts.compress.shape[1] == 1
            product = Product.of(weight, experts, self.scaling(adapter), joins).settled(x.dtype)
            self._stored.put(adapter, settings, tensors, product)
        return self._stored.products[adapter]

    def keep(self, wanted: bool) -> None:
        """Keep what a forward without gradients multiplies with for the next one, or no more; see `keep_products`."""
        self._stored = Kept(wanted)

    def _is_plain(self, x: Tensor) -> bool:
        """Whether the layer's product is ours to make and its output ours to write into."""
        drops = self.training and any(config.dropout for config in self.settings.values())
        if torch.is_grad_enabled() or drops or is_transformed() or not is_plain_tensor(x):
            return False
        return is_frozen_linear(self.base_layer) and multiplies(x, self.base_layer.weight)

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        experts = self.experts(adapter)
        if is_raised(x, experts.compress):
            experts = experts.to(x.dtype)
        x = self._cast_input_dtype(x, experts.compress.dtype)
        dropout = self.settings[adapter].dropout if self.training else 0.0
        mixed = experts.mixed(x.reshape(-1, x.shape[-1]), dropout).flatten(2)  # (n, P, E [+ 1] * r)
        stacked = experts.stacked()
        parts = [functional.linear(mixed[:, part], stacked[part]) for part in range(len(stacked))]
        delta = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return torch.add(y, delta.reshape(y.shape), alpha=self.scaling(adapter))


def folds(tokens: int, experts: Experts) -> bool:
    """Whether the ungated part, joined to the weight anew in every forward, costs less than one expert for each token.

    Joining costs `in` products a column of B_E, and passes over the weight; it saves the tokens' own, twice those with
    a shared expert.
    """
    _, count, _, size = experts.compress.shape
    saved = 1 if experts.shared is None else 2
    return count == 1 and saved * tokens >= FOLD_FROM * size


FOLD_FROM = 2.0
"""Tokens an input from which joining pays, measured on one core: reading and writing the weight is not free."""


def keep_products(model: nn.Module, wanted: bool = True) -> None:
    """Let every TMoE layer keep what it multiplies with while its weights stay as they are, for many predictions.

    The ungated part then joins each weight once. It costs the memory of the adapted weights once more; a changed weight
    is noticed.
    """
    for _, layer in layers(model, "tmoe"):
        layer.keep(wanted)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """At least float32: the gates of half precision would not sum to 1."""
    return torch.promote_types(dtype, torch.float32)


def _draw(compress: Tensor, config: TmoeConfig) -> None:
    """Every compression, as the config says it starts."""
    if config.init == "bert":
        nn.init.trunc_normal_(compress, std=STD)
    elif config.init == "gaussian":
        nn.init.normal_(compress, std=1 / config.r)
    else:
        for each in compress.flatten(0, 1):  # (r, in)
            nn.init.kaiming_uniform_(each, a=math.sqrt(5))


@dataclass(frozen=True)
class Gates:
    """How a layer's router spread the tokens over the experts.

    Attributes:
        mean: (P, E), the mean gate of each expert in each part of the layer.
        entropy: of a token's gates, in nats, the mean over tokens; log E is no preference.
        last: gates of the last forward, (..., P, E).
    """

    mean: Tensor
    entropy: float
    last: Tensor


@contextmanager
def recorded_gates(model: nn.Module, adapter: str | None = None) -> Iterator[dict[str, list[Tensor]]]:
    """Inside the block, the gates of every layer in every forward, by the layer's name; `summarised` sums them up.

    Args:
        model: a model with TMoE on it.
        adapter: the attached adapter that is asked; the first one where left out.
    """
    found: dict[str, list[Tensor]] = {}
    hooks = []

    def record(place: str, layer: Tmoe, args: tuple[Any, ...]) -> None:
        name = adapter or next(iter(layer.settings))
        with torch.no_grad():
            found.setdefault(place, []).append(layer.gates(args[0].detach(), name).float())

    for place, layer in layers(model, "tmoe", adapter):
        hooks.append(layer.register_forward_pre_hook(partial(_recorded, record, place)))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _recorded(record: Any, place: str, layer: Tmoe, args: tuple[Any, ...]) -> None:
    record(place, layer, args)


def summarised(gates: Sequence[Tensor]) -> Gates:
    """The gates (..., P, E) of one layer, of one forward or several."""
    tokens = torch.cat([each.flatten(0, -3) for each in gates])  # (n, P, E)
    entropy = torch.special.entr(tokens).sum(-1).mean()
    return Gates(tokens.mean(0), float(entropy), gates[-1])


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors of one branch as ours, a layer of one part.

    Args:
        state: `compress_expert` (or `compress_expert.0`, ...), `routed_experts.0`, ..., `expert_route.weight` and,
            in its form, `shared_expert`.
    """
    up = [state[f"routed_experts.{number}"] for number in range(len(state["expert_route.weight"]))]
    compress = [state[name] for name in sorted(state, key=_number) if name.startswith("compress_expert")]
    ours = {
        "compress": torch.stack(compress)[None],  # (1, C, r, in)
        "router": state["expert_route.weight"][None],  # (1, E, in)
        "up": torch.stack(up, 1)[None],  # (1, out, E, r)
    }
    return ours if "shared_expert" not in state else {**ours, "shared": state["shared_expert"][None]}


def to_official(tensors: Mapping[str, Tensor], part: int = 0) -> dict[str, Tensor]:
    """The other way round: one part of our layer as the authors' branch, in their order."""
    compress, up = tensors["compress"][part], tensors["up"][part]
    state = {f"compress_expert.{number}": each for number, each in enumerate(compress)}
    state = state if len(compress) > 1 else {"compress_expert": compress[0]}
    state |= {f"routed_experts.{number}": up[:, number] for number in range(up.shape[1])}
    state["expert_route.weight"] = tensors["router"][part]
    if "shared" in tensors:
        state["shared_expert"] = tensors["shared"][part]
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _number(name: str) -> int:
    tail = name.rpartition(".")[2]
    return int(tail) if tail.isdigit() else 0
