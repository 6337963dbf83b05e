"""Backbones by name, and what each method of the comparison puts on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from domains.point_cloud import geometry
from domains.point_cloud.backbone import BackboneConfig, PointGPT, PointTransformer
from domains.point_cloud.segmentation import PartSegmenter, SegmentationConfig
from suite import adapters
from suite.errors import InputError

BACKBONES: Mapping[str, type[nn.Module]] = {
    "point_mae": PointTransformer,
    "point_gpt": PointGPT,
    "part_segmenter": PartSegmenter,
}
"""ACT and ReCon share Point-MAE's class and differ in their weights."""

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """A backbone from `{"class": name, **BackboneConfig fields, "head": SegmentationConfig fields}`.

    Raises:
        InputError: the class or a field is unknown.
    """
    settings = dict(architecture)
    name, head = settings.pop("class", "point_mae"), settings.pop("head", None)
    if name not in BACKBONES:
        raise InputError(f"unknown point-cloud backbone {name!r}; choose from {', '.join(BACKBONES)}")
    try:
        config = BackboneConfig(**settings)
        if name == "part_segmenter":
            head = {key: tuple(v) if isinstance(v, list) else v for key, v in (head or {}).items()}
            return PartSegmenter(config, SegmentationConfig(**head))
    except TypeError as error:
        raise InputError(f"architecture of {name}: {str(error).split(') ', 1)[-1]}") from None
    return BACKBONES[name](config)


@dataclass(frozen=True)
class Recipe:
    """What one method attaches.

    Attributes:
        methods: settings of adapter methods, for `suite.adapters.attach`.
        train: globs over parameters that train in place.
    """

    methods: tuple[Mapping[str, Any], ...] = ()
    train: tuple[str, ...] = ()


HEAD = ("*cls*",)
SEGMENTATION_HEAD = ("label_conv.*", "propagation_0.*", "convs*", "bns*")


def _blocks(model: nn.Module) -> str:
    return r"blocks\.layers\.\d+" if isinstance(model, PointGPT) else r"blocks\.blocks\.\d+"


def _pointgst(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    gpt = {"between": "ln_2", "sequence_first": True} if isinstance(model, PointGPT) else {}
    return Recipe(({"method": "pcsa", "targets": _blocks(model), **gpt, **options},))


def _point_peft(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    if not isinstance(model, PointTransformer):
        raise InputError(f"point_peft is defined on Point-MAE's classifier, not on {type(model).__name__}")
    biases = tuple(f"blocks.blocks.*.{name}.bias" for name in ("attn.proj", "mlp.fc1", "mlp.fc2", "norm1", "norm2"))
    settings = {"prompted": min(6, model.config.depth), "group_size": model.config.group_size, **options}
    return Recipe(({"method": "point_peft", "targets": "blocks", **settings},), ("norm.*", *biases))


def _lora(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    return Recipe(({"method": "lora", "targets": ["qkv", "proj"], "r": 8, "lora_alpha": 16, **options},))


def _bottleneck(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    settings = {"bottleneck_size": 16, "init": "mam_adapter", "non_linearity": "gelu", **options}
    return Recipe(
        ({"method": "series_adapter", "targets": ["fc2", "proj"], "output_modules": ["fc2", "proj"], **settings},)
    )


def _bitfit(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    return Recipe(({"method": "bitfit", "targets": r"(blocks\.|norm).*", **options},))


METHODS: Mapping[str, Callable[[nn.Module, Mapping[str, Any]], Recipe]] = {
    "pointgst": _pointgst,
    "point_peft": _point_peft,
    "lora": _lora,
    "bottleneck": _bottleneck,
    "bitfit": _bitfit,
    "linear": lambda model, options: Recipe(),
    "full": lambda model, options: Recipe(train=("*",)),
}
"""Every method also trains the head, and the class token where there is one."""


def attach(
    model: nn.Module, method: str, *, freeze_bn: bool = True, name: str = "default", **options: Any
) -> nn.Module:
    """Put a method of the comparison on a backbone; return the model to use.

    Args:
        method: a key of `METHODS`.
        freeze_bn: keep the frozen patch encoder's BatchNorm statistics. The released code lets them drift, so
            that they belong to its adapters (`False`).
        options: settings of the method, e.g. `rank`, `local`, `basis` for pointgst.

    Raises:
        InputError: the method is unknown, or does not fit the backbone.
    """
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    recipe = METHODS[method](model, options)
    head = SEGMENTATION_HEAD if isinstance(model, PartSegmenter) else HEAD
    train = recipe.train if "*" in recipe.train else (*recipe.train, *head)
    kept = head if freeze_bn and method != "full" else ("*",)
    buffers = tuple(f"{pattern}{statistic}" for pattern in kept for statistic in STATISTICS)
    present = [n for n, _ in model.named_buffers()]
    buffers = tuple(pattern for pattern in buffers if any(_matches(n, pattern) for n in present))
    return adapters.attach(model, *recipe.methods, train=list(train), buffers=list(buffers), name=name)


def _matches(name: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase(name, pattern)


@dataclass(frozen=True)
class SideInformation:
    """What adapters may ask of one batch of clouds beside their tokens."""

    points: Tensor
    centers: Tensor
    extra: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def clouds_context(model: nn.Module, side: SideInformation) -> Iterator[None]:
    """A block in which the adapters of `model` see the centres and points of a batch."""
    with adapters.context(model, points=side.points, centers=side.centers, **side.extra):
        yield


@torch.no_grad()
def cloud_feature(model: nn.Module, patches: Tensor, centers: Tensor) -> Tensor:
    """The frozen backbone's feature of each cloud, (B, C): maximum over its normed patch tokens, no class token."""
    with adapters.disabled(model):
        x = model.blocks(model.encoder(patches), model.pos_embed(centers))
        return model.norm(x).max(1).values


class PointPrior:
    """Point-PEFT's memory: features of the training clouds, searched without training.

    Args:
        bank: (C, M), one normalised column a training cloud.
        prompts: how many prompts the adapter has.
    """

    def __init__(self, bank: Tensor, prompts: int = 10) -> None:
        if bank.shape[1] < prompts - 2:
            raise InputError(f"the bank holds {bank.shape[1]} clouds and {prompts - 2} neighbours are asked for")
        self.bank, self.prompts = bank, prompts

    def prompt(self, feature: Tensor) -> Tensor:
        """(B, C) to (B, prompts, C): the feature, the weighted mean of its nearest clouds, and those themselves."""
        scores = nn.functional.normalize(feature, dim=-1) @ self.bank.to(feature.dtype)
        nearest = scores.topk(self.prompts - 2, dim=-1)
        found = self.bank.T.to(feature.dtype)[nearest.indices]
        mean = nearest.values.softmax(-1)[:, None] @ found
        return torch.cat([feature[:, None], mean, found], 1)


def group(model: nn.Module, points: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbourhoods and centres of points (B, N, 3), as the backbone cuts them."""
    config = model.config
    if isinstance(model, PointGPT):
        return model.group(points)
    return geometry.group(points, config.num_group, config.group_size)
