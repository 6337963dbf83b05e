"""What each method of the comparison puts on a backbone, and what it trains."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from domains.point_cloud.model import attachments, bases
from domains.point_cloud.model.part_segmenter import PartSegmenter
from domains.point_cloud.model.point_gpt import PointGPT
from domains.point_cloud.model.point_m2ae import HierarchyConfig, PointM2AE
from domains.point_cloud.model.point_mae import PointTransformer
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Recipe:
    """What one method attaches.

    Attributes:
        methods: settings of adapter methods, for `suite.adapters.attach`.
        train: globs over parameters that train in place.
        tie_groups: globs over saved keys whose parameters are one.
    """

    methods: tuple[Mapping[str, Any], ...] = ()
    train: tuple[str, ...] = ()
    tie_groups: tuple[list[str], ...] = ()


HEAD = ("*cls*",)


SEGMENTATION_HEAD = ("label_conv.*", "propagation_0.*", "convs*", "bns*")


def _blocks(model: nn.Module) -> str:
    return r"blocks\.layers\.\d+" if isinstance(model, PointGPT) else r"blocks\.blocks\.\d+"


def _pointgst(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    if isinstance(model, PointM2AE):
        raise InputError("pointgst is defined on blocks over one set of patches, and Point-M2AE has several scales")
    gpt = {"between": "ln_2", "sequence_first": True} if isinstance(model, PointGPT) else {}
    return Recipe(({"method": "pcsa", "targets": _blocks(model), **gpt, **options},))


BIASES = ("attn.proj", "mlp.fc1", "mlp.fc2", "norm1", "norm2")
"""Modules of a block whose biases Point-PEFT trains."""


def _point_peft(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    if isinstance(model, PointM2AE):
        return _point_peft_scales(model.config, options)
    if not isinstance(model, PointTransformer):
        raise InputError(f"point_peft is defined on Point-MAE's classifier, not on {type(model).__name__}")
    biases = tuple(f"blocks.blocks.*.{name}.bias" for name in BIASES)
    settings = {"prompted": min(6, model.config.depth), "group_size": model.config.group_size, **options}
    return Recipe(({"method": "point_peft", "targets": "blocks", **settings},), ("norm.*", *biases))


def _point_peft_scales(config: HierarchyConfig, options: Mapping[str, Any]) -> Recipe:
    """One adapter a scale: pooled as the next scale is, with prompts in shared places; only the last has the prior."""
    methods, last = [], len(config.num_groups) - 1
    for level in range(last + 1):
        coarse = config.num_groups[level + 1] if level < last else config.num_groups[level] // 2
        settings = {"prompts": 16, "prompted": config.encoder_depths[level], "spread": 0.2, "class_tokens": 0}
        settings |= {"gated": True, "level": level, "coarse": coarse, "prior": level == last}
        settings |= {"members": config.group_sizes[min(level + 1, last)], "heads": config.num_heads}
        target = rf"blocks\.{level}"
        methods.append({"method": "point_peft", "name": f"scale{level}", "targets": target, **settings, **options})
    biases = tuple(f"blocks.*.blocks.*.{name}.bias" for name in BIASES)
    return Recipe(tuple(methods), ("norm.*", *biases), (["*prompt_cor"],))


def _lora(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    return Recipe(({"method": "lora", "targets": ["qkv", "proj"], "r": 8, "lora_alpha": 16, **options},))


def _bottleneck(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    settings = {"bottleneck_size": 16, "init": "mam_adapter", "non_linearity": "gelu", **options}
    return Recipe(
        ({"method": "series_adapter", "targets": ["fc2", "proj"], "output_modules": ["fc2", "proj"], **settings},)
    )


def _bitfit(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    biased = [
        re.escape(name)
        for name, module in model.named_modules()
        if name.startswith(("blocks.", "norm")) and "cls_" not in name and "bias" in module._parameters
        if module._parameters["bias"] is not None
    ]
    return Recipe(({"method": "bitfit", "targets": "|".join(biased), **options},))


def _visual_prompt(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    if isinstance(model, PointGPT | PointM2AE):
        raise InputError(f"visual_prompt is defined on Point-MAE's blocks, not on {type(model).__name__}")
    prefix = 0 if isinstance(model, PartSegmenter) else 1
    settings = {"tokens": 10, "prefix_tokens": prefix, "width": model.config.trans_dim, **options}
    return Recipe(({"method": "visual_prompt", "targets": _blocks(model), **settings},))


def _dapt(model: nn.Module, options: Mapping[str, Any]) -> Recipe:
    if isinstance(model, PointGPT | PointM2AE):
        raise InputError(f"dapt is defined on Point-MAE's blocks, not on {type(model).__name__}")
    affine = {"method": "ssf", "targets": rf"{_blocks(model)}\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)"}
    prefix = 0 if isinstance(model, PartSegmenter) else 1
    return Recipe(({"method": "dapt", "targets": "blocks", "prefix_tokens": prefix, **options}, affine))


PRESETS: Mapping[str, Callable[[nn.Module, Mapping[str, Any]], Recipe]] = {
    "pointgst": _pointgst,
    "point_peft": _point_peft,
    "dapt": _dapt,
    "visual_prompt": _visual_prompt,
    "lora": _lora,
    "bottleneck": _bottleneck,
    "bitfit": _bitfit,
    "linear": lambda model, options: Recipe(),
    "full": lambda model, options: Recipe(train=("*",)),
}
"""Every method also trains the head, and the class token where there is one."""

BARE = ("linear", "full")
"""Presets that have no settings."""


def attach(
    model: nn.Module, method: str, *, freeze_bn: bool = True, name: str = "default", **options: Any
) -> nn.Module:
    """Put a method of the comparison on a backbone; return the model to use.

    Args:
        method: a key of `PRESETS`.
        freeze_bn, name: as in `attach_section`.
        options: settings of the method, e.g. `rank`, `local`, `basis` for pointgst.

    Raises:
        InputError: the method is unknown, or does not fit the backbone.
    """
    section = AdapterSection.of({"preset": method, **options}, PRESETS)
    return attach_section(model, section, freeze_bn=freeze_bn, name=name)


def attach_section(
    model: nn.Module, section: AdapterSection, *, freeze_bn: bool = True, name: str = "default"
) -> nn.Module:
    """Put on a backbone what a recipe's section says, and let the head train; return the model to use.

    Args:
        freeze_bn: keep the frozen patch encoder's BatchNorm statistics. The released code lets them drift, so
            that they belong to its adapters (`False`).

    Raises:
        InputError: a setting is unknown, or the method does not fit the backbone.
    """
    if section.preset in BARE:
        section.refuse(section.settings)
    recipe = PRESETS[section.preset](model, section.settings) if section.preset else Recipe((section.spec(),))
    head = SEGMENTATION_HEAD if isinstance(model, PartSegmenter) else HEAD
    train = recipe.train if "*" in recipe.train else (*recipe.train, *head)
    if getattr(model.config, "channels", 0) and "*" not in train:
        train = (*train, bases.FIRST)
    kept = head if freeze_bn and section.preset != "full" else ("*",)
    buffers = tuple(f"{pattern}{statistic}" for pattern in kept for statistic in STATISTICS)
    present = [n for n, _ in model.named_buffers()]
    buffers = tuple(pattern for pattern in buffers if any(fnmatchcase(n, pattern) for n in present))
    return adapters.attach(
        model, *recipe.methods, train=list(train), buffers=list(buffers), tie_groups=recipe.tie_groups, name=name
    )


def count_trained(method: str, architecture: Mapping[str, Any], **options: Any) -> adapters.ParameterCount:
    """Trainable and all parameters of a method on an architecture, without memory for them."""
    with torch.device("meta"):
        return adapters.count(attachments.attach(bases.build(architecture), method, **options))
