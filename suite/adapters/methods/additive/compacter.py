"""Compacter: bottlenecks whose matrices are sums of Kronecker products, with one set of rules for the whole model.

Karimi Mahabadi et al., Compacter: Efficient Low-Rank Hypercomplex Adapter Layers, arXiv 2106.04647, equations 4 to 8.
On the output h of a layer, with x of n * (in / n) channels:

    h + U(act(D(h))),    D(x) = x H + b,    H = sum_{k<n} R_k kron (L_k Q_k),    R: n x n x n, of all adapters

`factorized=False` has one matrix W_k in the place of L_k Q_k, and with `shared_rule=False` every matrix rules of its
own: the PHM adapter. Behind attention and feed-forward it is Compacter, behind feed-forward alone Compacter++; both
train the layer norms along (`train=["*layer_norm*"]`). `low_rank_adapter` has H = L Q, the paper's other baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from suite.adapters.carriers import tuner
from suite.adapters.carriers.branch import Branch, BranchConfig
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class CompacterConfig(BranchConfig):
    """Settings of Compacter."""

    reduction: int = field(default=32, metadata={"help": "Channels by channels in the middle."})
    n: int = field(default=4, metadata={"help": "How many Kronecker products; divides both numbers of channels."})
    rank: int = field(default=1, metadata={"help": "Of L_k Q_k."})
    factorized: bool = field(default=True, metadata={"help": "L_k Q_k, instead of one matrix W_k."})
    shared_rule: bool = field(default=True, metadata={"help": "One set of rules for all adapters of the model."})
    factorized_rule: bool = field(default=False, metadata={"help": "Each rule is the product of two vectors."})
    non_linearity: str = field(default="gelu_new", metadata={"help": "The activation, as transformers calls it."})
    c_init: float = field(default=0.01, metadata={"help": "Spread of the rules at the start.", "live": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.non_linearity not in ACT2FN:
            raise ValueError(f"non_linearity {self.non_linearity!r} is no activation that transformers knows")
        if min(self.reduction, self.n, self.rank) < 1:
            raise ValueError(f"reduction={self.reduction}, n={self.n} and rank={self.rank} must be at least 1")


def _info(name: str) -> MethodInfo:
    return MethodInfo(
        name,
        paper="2106.04647",
        trainable="factors of two maps, shared ones once",
        identity_at_start=False,
        mergeable=False,
        quantizable=True,
        scalable=True,
        by_row=True,
        layers=("Linear", "Conv1D"),
    )


@tuner(_info("compacter"), CompacterConfig)
class Compacter(Branch):
    """h + U(act(D(h)))."""

    parameter_names: ClassVar = ("rule", "rule_up", *(f"{end}_{part}" for end in ("down", "up") for part in "LQb"))
    shared_names: ClassVar = ("rule",)

    def sharing(self, adapter: str) -> str:
        return "" if self.settings[adapter].shared_rule else self.target

    def is_behind(self, adapter: str) -> bool:
        return True

    def create(self, adapter: str, config: CompacterConfig) -> dict[str, Tensor]:
        _, width = self.connect(config)
        inner = width // config.reduction
        for size in (width, inner):
            if size < 1 or size % config.n:
                raise InputError(
                    f"{self.target}: n={config.n} does not divide {width} channels and {inner} in the middle; "
                    "choose another n or reduction"
                )
        shape = (config.n, 2, config.n) if config.factorized_rule else (config.n,) * 3
        tensors = {"rule": config.c_init * torch.randn(shape)}
        if not config.shared_rule:
            tensors["rule_up"] = config.c_init * torch.randn(shape)
        for end, read, made in (("down", width, inner), ("up", inner, width)):
            pair = _kronecker_part(config, read // config.n, made // config.n)
            tensors |= {f"{end}_{part}": tensor for part, tensor in pair.items()}
            tensors[f"{end}_b"] = torch.zeros(made)
        return tensors

    def branch(self, h: Tensor, adapter: str) -> Tensor:
        down, up = self.tensor("rule", adapter), self.tensor("rule", adapter)
        if not self.settings[adapter].shared_rule:
            up = self.tensor("rule_up", adapter)
        hidden = self._product(self._cast_input_dtype(h, down.dtype), "down", down, adapter)
        return self._product(ACT2FN[self.settings[adapter].non_linearity](hidden), "up", up, adapter)

    def _product(self, x: Tensor, end: str, rule: Tensor, adapter: str) -> Tensor:
        """x H + b of one end, without making H: (..., in) to (..., out)."""
        config = self.settings[adapter]
        if config.factorized_rule:
            rule = rule[:, 0, :, None] * rule[:, 1, None, :]
        blocks = x.unflatten(-1, (config.n, -1))  # (..., n, in / n)
        inner = torch.einsum("...ip,kpr->...kir", blocks, self.tensor(f"{end}_L", adapter))
        mixed = torch.einsum("...kir,kij->...kjr", inner, rule)
        if config.factorized:
            y = torch.einsum("...kjr,krq->...jq", mixed, self.tensor(f"{end}_Q", adapter))
        else:
            y = mixed.sum(-3)
        return y.flatten(-2) + self.tensor(f"{end}_b", adapter)


def _kronecker_part(config: CompacterConfig, rows: int, columns: int) -> dict[str, Tensor]:
    """L (n, rows, rank) and Q (n, rank, columns), or as L the whole matrices (n, rows, columns)."""
    shapes = {"L": (rows, config.rank), "Q": (config.rank, columns)} if config.factorized else {"L": (rows, columns)}
    return {
        name: torch.stack([nn.init.xavier_uniform_(torch.empty(shape)) for _ in range(config.n)])
        for name, shape in shapes.items()
    }


@dataclass
class LowRankAdapterConfig(BranchConfig):
    """Settings of low-rank adapters."""

    reduction: int = field(default=32, metadata={"help": "Channels by channels in the middle."})
    rank: int = field(default=1, metadata={"help": "Of each matrix; the authors' code means 1."})
    non_linearity: str = field(default="gelu_new", metadata={"help": "The activation, as transformers calls it."})


@tuner(_info("low_rank_adapter"), LowRankAdapterConfig)
class LowRankAdapter(Branch):
    """h + U(act(D(h))) with D(x) = x L Q + b."""

    parameter_names: ClassVar = tuple(f"{end}_{part}" for end in ("down", "up") for part in "LQb")

    def is_behind(self, adapter: str) -> bool:
        return True

    def create(self, adapter: str, config: LowRankAdapterConfig) -> dict[str, Tensor]:
        _, width = self.connect(config)
        inner = max(1, width // config.reduction)
        tensors = {}
        for end, read, made in (("down", width, inner), ("up", inner, width)):
            tensors[f"{end}_L"] = nn.init.xavier_uniform_(torch.empty(read, config.rank))
            tensors[f"{end}_Q"] = nn.init.xavier_uniform_(torch.empty(config.rank, made))
            tensors[f"{end}_b"] = torch.zeros(made)
        return tensors

    def branch(self, h: Tensor, adapter: str) -> Tensor:
        down, up = ([self.tensor(f"{end}_{part}", adapter) for part in "LQb"] for end in ("down", "up"))
        hidden = functional.linear(self._cast_input_dtype(h, down[0].dtype) @ down[0], down[1].T, down[2])
        return functional.linear(ACT2FN[self.settings[adapter].non_linearity](hidden) @ up[0], up[1].T, up[2])


def official_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' `{down,up}_sampler.*` of one adapter as our tensors; its `phm_rule`s, which may be one, included."""
    names = {"W_left": "L", "W": "L", "W_right": "Q", "b": "b"}
    found: dict[str, Tensor] = {}
    for end in ("down", "up"):
        part = {key.removeprefix(f"{end}_sampler."): state[key] for key in state if key.startswith(f"{end}_sampler.")}
        found |= {f"{end}_{names[key]}": value for key, value in part.items() if key in names}
        if "phm_rule" in part:
            found["rule" if end == "down" else "rule_up"] = part["phm_rule"]
    return found
