"""The methods of the comparison on one recipe: KronA, LoRA, LoKr, LoHa, SVDiff and full DreamBooth."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import nn

from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError

PROJECTIONS: Mapping[str, str] = {"k": "to_k", "q": "to_q", "v": "to_v", "o": r"to_out\.0"}


TEXT_PROJECTIONS: Mapping[str, str] = {"k": "k_proj", "q": "q_proj", "v": "v_proj", "o": "out_proj"}


Factors = tuple[int, int]


def targets(projections: str = "kqvo", names: Mapping[str, str] = PROJECTIONS) -> str:
    """The regular expression over module names for projections given by letter, e.g. `kqvo` or `kv`.

    Diffusers' transformers (SD3, Flux) name their attention the same way; their joint projections are left alone.

    Raises:
        InputError: a letter is unknown, repeated, or none is given.
    """
    unknown = sorted(set(projections) - set(names))
    if not projections or unknown or len(set(projections)) < len(projections):
        what = f"unknown letters {', '.join(unknown)}" if unknown else "each letter once, at least one"
        raise InputError(f"projections {projections!r}: {what}; choose among {', '.join(names)}")
    return rf".*({'|'.join(names[letter] for letter in projections)})"


def krona(
    factors: Factors | Mapping[str, Factors] = (4, 64),
    projections: str = "kqvo",
    names: Mapping[str, str] = PROJECTIONS,
    **settings: Any,
) -> dict[str, Any]:
    """Settings of KronA on attention for `suite.adapters.attach`.

    Args:
        factors: (a1, a2) of every projection, or by letter.
        settings: further settings of the method, e.g. `layout`, `scaling`.
    """
    where = targets(projections, names)
    chosen = {letter: factors[letter] for letter in projections} if isinstance(factors, Mapping) else {}
    first = factors[projections[0]] if isinstance(factors, Mapping) else factors
    pattern = {names[letter]: list(pair) for letter, pair in chosen.items()}
    return {"method": "krona", "targets": where, "a1": first[0], "a2": first[1], "a_pattern": pattern, **settings}


def lora(rank: int = 4, projections: str = "kqvo", names: Mapping[str, str] = PROJECTIONS) -> dict[str, Any]:
    """LoRA-DreamBooth on the same projections, alpha = rank as in diffusers' script."""
    return {"method": "lora", "targets": targets(projections, names), "r": rank, "lora_alpha": rank}


def adapted(model: nn.Module, where: str | None = None) -> list[str]:
    """Names of the linear layers of `model` that a regular expression reaches; by default all of attention's."""
    pattern = re.compile(where or targets())
    return [n for n, module in model.named_modules() if isinstance(module, nn.Linear) and pattern.fullmatch(n)]


Method = Literal["krona", "lora", "lokr", "loha", "svdiff", "full"]


Layout = Literal["kron", "official"]


SMALL = 8
"""Factors of which both are at most this are warned of: the paper's ablation finds them poor."""


METHODS: tuple[Method, ...] = ("krona", "lora", "lokr", "loha", "svdiff", "full")


OWN: Mapping[Method, tuple[str, ...]] = {
    "krona": ("factors", "projections", "targets", "layout"),
    "lora": ("rank", "projections", "targets"),
    "lokr": ("rank", "projections", "targets"),
    "loha": ("rank", "projections", "targets"),
    "svdiff": ("projections", "targets"),
    "full": (),
}
"""What a preset's section may say beside settings of the method itself."""


PRESETS: Mapping[str, Method] = {"diffusekrona": "krona", **{method: method for method in METHODS[1:]}}


def section_of(method: Method, section: Mapping[str, Any]) -> dict[str, Any]:
    """The section with which a method takes part in a comparison: its preset, and what it shares with `section`."""
    preset = next(name for name, known in PRESETS.items() if known == method)
    names = {name for own in OWN.values() for name in own}
    kept = set(section) - names if section.get("preset") == preset else set()
    return {"preset": preset, **{name: value for name, value in section.items() if name in {*kept, *OWN[method]}}}


@dataclass(frozen=True)
class MethodSettings:
    """Which method changes which projections, and how.

    Attributes:
        method: its name.
        factors: of krona, for all projections or by letter.
        projections: letters of the attention's projections.
        targets: regular expression over the denoiser's module names, in place of `projections`: feed-forward layers,
            convolutions (lora, lokr, loha), what other families call their attention.
        layout: of krona.
        rank: of lora, lokr and loha.
        options: further settings of the method.
        plain: a method of the adapter core as it is, in place of all the others.
    """

    method: str = "krona"
    factors: Factors | Mapping[str, Factors] = (4, 64)
    projections: str = "kqvo"
    targets: str | None = None
    layout: Layout = "kron"
    rank: int = 4
    options: Mapping[str, Any] = field(default_factory=dict)
    plain: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> MethodSettings:
        """From a recipe's section `adapter:`.

        Raises:
            InputError: it names no preset and no method, or a setting is of the wrong kind.
        """
        found = AdapterSection.of(section, PRESETS)
        if not found.preset:
            return cls(found.method, plain=found.spec())
        method, given = PRESETS[found.preset], dict(found.settings)
        others = {name for names in OWN.values() for name in names} - set(OWN[method])
        found.refuse(given if method == "full" else others)
        if "factors" in given:
            given["factors"] = factors_of(given["factors"])
        own = {name: given.pop(name) for name in OWN[method] if name in given}
        return cls(method, **own, options=given)

    def __post_init__(self) -> None:
        if self.plain is None and self.method not in METHODS:
            raise InputError(f"recipe.adapter: unknown {self.method!r}; choose from {', '.join(METHODS)}")
        if not isinstance(self.rank, int) or self.rank < 1:
            raise InputError(f"recipe.adapter.rank is {self.rank!r}; give a whole number of at least 1")
        if self.layout not in get_args(Layout):
            raise InputError(
                f"recipe.adapter.layout: unknown {self.layout!r}; choose from {', '.join(get_args(Layout))}"
            )
        targets(self.projections)
        if self.targets is not None:
            try:
                re.compile(self.targets)
            except (re.error, TypeError) as error:
                raise InputError(f"recipe.adapter.targets {self.targets!r} is no regular expression: {error}") from None

    def attach(self, network: nn.Module, name: str = "default", *, advise: bool = True) -> nn.Module:
        """Put the method on a denoiser, or on a container of one and its text encoders.

        Args:
            advise: warn of factors that are poor on real bases; the embedded one is too narrow for larger ones.

        Raises:
            InputError: settings do not fit the network; the message names the module.
        """
        if self.plain is not None:
            return adapters.attach(network, self.plain, name=name)
        if self.method == "full":
            return adapters.attach(network, train=["*"], name=name)
        specs = [self._spec(PROJECTIONS)]
        if isinstance(network, nn.ModuleDict):
            specs.append(self._spec(TEXT_PROJECTIONS))
        made = adapters.attach(network, *specs, name=name)
        if self.method == "krona" and advise:
            self._warn_of_small_factors(adapters.count(made).trainable)
        return made

    def _warn_of_small_factors(self, parameters: int) -> None:
        """Small factors look cheap and are not: the other two matrices grow as they shrink."""
        pairs = list(self.factors.values()) if isinstance(self.factors, Mapping) else [self.factors]
        small = [pair for pair in pairs if max(pair) <= SMALL]
        if small:
            print(
                f"recipe.adapter.factors {list(small[0])}: both at most {SMALL} make poor pictures and many parameters "
                f"({parameters:,}); [4, 64] is usual",
                file=sys.stderr,
                flush=True,
            )

    def _spec(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Settings for `suite.adapters.attach` on projections that are called so."""
        where = self.where(names)
        if self.method == "krona":
            made = krona(self.factors, self.projections, names, **{"layout": self.layout, **self.options})
            return {**made, "targets": where}
        if self.method == "lora":
            return {**lora(self.rank, self.projections, names), "targets": where, **self.options}
        if self.method == "svdiff":
            return {"method": "svdiff", "targets": where, **self.options}
        # Stock LoKr scales by alpha / r always, LoHa too: alpha = r leaves the change as it is.
        return {"method": self.method, "targets": where, "r": self.rank, "alpha": self.rank, **self.options}

    def where(self, names: Mapping[str, str] = PROJECTIONS) -> str:
        """The regular expression over names of the modules that change; text encoders keep their projections."""
        own = self.targets if names is PROJECTIONS else None
        return own or targets(self.projections, names)

    def reached(self, network: nn.Module) -> list[str]:
        """Names of the linear layers of a denoiser, or of one and its text encoders, that change."""
        text = [self.where(TEXT_PROJECTIONS)] if isinstance(network, nn.ModuleDict) else []
        return [name for where in [self.where(), *text] for name in adapted(network, where)]

    def record(self) -> dict[str, Any]:
        """What the saved adapter says of it."""
        described: dict[str, Any] = {"method": self.method, "layout": None, "factors": None}
        if self.plain is not None:
            return {**described, "projections": None}
        if self.method == "krona":
            described |= {"layout": self.layout, "factors": _plain(self.factors)}
        elif self.method in ("lora", "lokr", "loha"):
            described["rank"] = self.rank
        by_letter = self.method != "full" and self.targets is None
        return {**described, "projections": self.projections if by_letter else None, "targets": self.targets}


PAIRS: tuple[Factors, ...] = ((4, 64), (8, 64), (16, 64), (64, 64), (8, 128))
"""Factors worth knowing the price of: the larger their product, the fewer parameters, up to a point."""


def projection_sizes(network: nn.Module, change: MethodSettings) -> list[tuple[int, int]]:
    """Output and input size of every linear layer that `MethodSettings.attach` reaches."""
    layers = [network.get_submodule(name) for name in change.reached(network)]
    return [(layer.out_features, layer.in_features) for layer in layers]


def other_factors(sizes: Sequence[tuple[int, int]]) -> dict[Factors, int]:
    """KronA's parameters on projections of these sizes, for every pair of `PAIRS` that divides them."""
    return {
        (a1, a2): sum(a1 * a2 + out // a1 * (into // a2) for out, into in sizes)
        for a1, a2 in PAIRS
        if all(out % a1 == 0 and into % a2 == 0 for out, into in sizes)
    }


def factors_of(given: Sequence[int] | Mapping[str, Sequence[int]]) -> Factors | dict[str, Factors]:
    """Factors as a configuration writes them.

    Raises:
        InputError: they are no pairs of positive numbers, or a letter is unknown.
    """
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(PROJECTIONS))
        if unknown or not given:
            raise InputError(f"recipe.adapter.factors: {', '.join(unknown) or 'no letter'}; name some of k, q, v, o")
        return {letter: _pair(value) for letter, value in given.items()}
    return _pair(given)


def _pair(value: Sequence[int]) -> Factors:
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(isinstance(n, int) and n > 0 for n in value):
        raise InputError(f"recipe.adapter.factors is {value!r}; give two positive numbers, e.g. [4, 64]")
    return (value[0], value[1])


def _plain(factors: Factors | Mapping[str, Factors]) -> Any:
    if isinstance(factors, Mapping):
        return {letter: list(pair) for letter, pair in factors.items()}
    return list(factors)
