"""Backbones by name, and what each method of the comparison puts on them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from domains.point_cloud.model.masked_autoencoder import PointMAE
from domains.point_cloud.model.part_segmenter import PartSegmenter, SegmentationConfig
from domains.point_cloud.model.point_m2ae import HierarchyConfig, PointM2AE, Scales
from domains.point_cloud.model.point_mae import BackboneConfig, PointGPT, PointTransformer
from suite import adapters
from suite.errors import InputError
from suite.files import atomic_folder
from suite.hub import weights

BACKBONES: Mapping[str, type[nn.Module]] = {
    "point_mae": PointTransformer,
    "point_gpt": PointGPT,
    "point_m2ae": PointM2AE,
    "part_segmenter": PartSegmenter,
}
"""ACT and ReCon share Point-MAE's class and differ in their weights."""

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def build(architecture: Mapping[str, Any]) -> nn.Module:
    """A backbone from `{"class": name, **BackboneConfig fields, "head": SegmentationConfig fields}`.

    Point-M2AE takes the fields of HierarchyConfig.

    Raises:
        InputError: the class or a field is unknown.
    """
    settings = _tuples(architecture)
    name, head = settings.pop("class", "point_mae"), settings.pop("head", None)
    if name not in BACKBONES:
        raise InputError(f"unknown point-cloud backbone {name!r}; choose from {', '.join(BACKBONES)}")
    try:
        if name == "point_m2ae":
            return PointM2AE(HierarchyConfig(**settings))
        config = BackboneConfig(**settings)
        if name == "part_segmenter":
            return PartSegmenter(config, SegmentationConfig(**_tuples(head or {})))
    except TypeError as error:
        raise InputError(f"architecture of {name}: {str(error).split(') ', 1)[-1]}") from None
    return BACKBONES[name](config)


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with what JSON and YAML made lists of as the tuples that frozen dataclasses hold."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}


def save_base(model: nn.Module, folder: str | Path, card: str = "", canonical: bool = False) -> Path:
    """Write a pre-trained backbone as a base folder: `config.json`, `model.safetensors`, `README.md`.

    The state is that of the backbone without class token and head, which every adapter brings itself.

    Args:
        canonical: state the default number of patches and classes, whatever this model has: weights that are the same
            shall be the same base.
    """
    encoder = model.MAE_encoder if isinstance(model, PointMAE) else model
    own = {PointGPT: "point_gpt", PointM2AE: "point_m2ae"}
    kind = next((name for kind, name in own.items() if isinstance(model, kind)), "point_mae")
    state = {key: value for key, value in encoder.state_dict().items() if "cls_" not in key and ".suite_" not in key}
    with atomic_folder(folder) as target:
        config = model.config
        if canonical:
            fields = ("num_group", "group_size", "cls_dim")
            config = config.with_(**{name: getattr(BackboneConfig, name) for name in fields})
        architecture = {"class": kind, **dataclasses.asdict(config)}
        (target / "config.json").write_text(json.dumps(architecture, indent=2) + "\n", encoding="utf-8")
        weights.write(state, target / "model.safetensors")
        if card:
            (target / "README.md").write_text(card, encoding="utf-8")
    return Path(folder)


def load_base_folder(folder: str | Path, **changes: Any) -> nn.Module:
    """The backbone of a base folder.

    Args:
        changes: fields of the architecture that the task decides: `cls_dim`, `drop_path_rate`, `num_group`,
            `class` and `head` for part segmentation.

    Raises:
        InputError: the folder holds no base of this family.
    """
    folder = Path(folder)
    model = build({**read_architecture(folder), **changes})
    # Imported here: the checkpoints' names are a topic of their own, which builds on this one.
    from domains.point_cloud import official

    official.load_base(model, weights.read(folder / "model.safetensors"), where=str(folder))
    # The base is known by its files: class token and head start at random and are no part of it.
    model.name_or_path = str(folder)
    return model


def read_architecture(folder: str | Path) -> dict[str, Any]:
    """The architecture that a base folder states.

    Raises:
        InputError: there is none.
    """
    file = Path(folder) / "config.json"
    try:
        architecture = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = type(error).__name__
        raise InputError(f"{folder} is no base of point clouds: no readable config.json ({reason})") from None
    if architecture.get("class") not in BACKBONES:
        raise InputError(f"{file}: class {architecture.get('class')!r} is none of {', '.join(BACKBONES)}")
    return architecture


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


METHODS: Mapping[str, Callable[[nn.Module, Mapping[str, Any]], Recipe]] = {
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
    buffers = tuple(pattern for pattern in buffers if any(fnmatchcase(n, pattern) for n in present))
    return adapters.attach(
        model, *recipe.methods, train=list(train), buffers=list(buffers), tie_groups=recipe.tie_groups, name=name
    )


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
def cloud_feature(model: nn.Module, patches: Tensor | Scales, centers: Tensor) -> Tensor:
    """The frozen backbone's own feature of each cloud, (B, C), without class token and adapters."""
    modes = [(module, module.training) for module in model.modules()]
    # Stochastic depth would make another feature of the same cloud at every step.
    model.eval()
    try:
        with adapters.disabled(model):
            return model.summary(patches, centers)
    finally:
        for module, training in modes:  # frozen batch norms stay in evaluation mode while the rest trains
            module.training = training


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


def prior_of(model: nn.Module, bank: Tensor) -> PointPrior:
    """The prior of a model with Point-PEFT on it, for as many prompts as its adapter has."""
    settings = (getattr(module, "settings", None) or {} for module in model.modules())
    prompts = [config.prompts for own in settings for config in own.values() if getattr(config, "prior", False)]
    return PointPrior(bank, prompts[-1])


def build_bank(model: nn.Module, clouds: Iterable[Tensor], batch: int = 64) -> Tensor:
    """Point-PEFT's bank (C, M): one normalised feature of the frozen backbone for each cloud (N, 3)."""
    columns: list[Tensor] = []
    waiting: list[Tensor] = []
    device = next(model.parameters()).device

    def flush() -> None:
        if waiting:
            feature = cloud_feature(model, *model.group(torch.stack(waiting).to(device)))
            columns.append(nn.functional.normalize(feature, dim=-1).T)
            waiting.clear()

    for cloud in clouds:
        waiting.append(cloud)
        if len(waiting) == batch:
            flush()
    flush()
    return torch.cat(columns, 1)


@contextmanager
def head_inputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """A block in which a list gathers what the classification head sees of every batch, (B, 2C) on the CPU."""
    head = next(part for name, part in model.named_modules() if name.endswith("cls_head_finetune"))
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, args: seen.append(args[0].float().cpu()))
    try:
        yield seen
    finally:
        hook.remove()


def predict_logits(
    model: nn.Module, points: Tensor, category: Tensor | None = None, prior: PointPrior | None = None
) -> Tensor:
    """Points (B, N, 3) through a backbone and its adapters: logits (B, classes), or log-probabilities (B, N, parts).

    Args:
        category: one-hot (B, categories), for part segmentation.
        prior: of a Point-PEFT adapter that was trained with one.
    """
    patches, centers = model.group(points)
    extra = {} if prior is None else {"prior": prior.prompt(cloud_feature(model, patches, centers))}
    if isinstance(patches, Scales):
        extra["levels"] = patches.centers
    with clouds_context(model, SideInformation(points, centers, extra)):
        if isinstance(model, PartSegmenter):
            return model(points, category, groups=(patches, centers))
        return model(points, groups=(patches, centers))


def from_manifest(adapter: str | Path, base: str | Path) -> nn.Module:
    """The model of a saved adapter on its base, in evaluation mode.

    Raises:
        InputError: the adapter is of another domain or of another base.
    """
    stated = adapters.read_manifest(adapter)["domain"]
    if "backbone" not in stated:
        raise InputError(f"{adapter} says nothing of a point-cloud backbone; it is an adapter of something else")
    model = load_base_folder(base, **stated["backbone"])
    return adapters.load(model, adapter).eval()
