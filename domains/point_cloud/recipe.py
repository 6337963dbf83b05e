"""The recipes: adapt a frozen point-cloud backbone to classes, or to the parts of shapes.

PointGST (arXiv 2410.08114) and Point-PEFT (arXiv 2310.03059) with the baselines they are compared with; what each
puts on the backbone is in `model/attachments.py`.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from domains.point_cloud.data.datasets.cloud_set import NO_PART
from domains.point_cloud.metrics import PartIoU
from domains.point_cloud.model import attachments, bases, forward
from domains.point_cloud.model.manifest import BANK, Stated
from domains.point_cloud.model.prior import prior_of
from suite import hub
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.hub import weights
from suite.training import AdapterModule, Outputs

Rates = Literal["trainer", "published"]


DOMAIN = "point_cloud"
POINTGST: dict[str, Any] = {"preset": "pointgst"}


class _PointCloudRecipe(AdapterModule):
    """What both tasks share: the backbone, the method on it, the published rates, what prediction needs."""

    task: str
    renamed = {
        "method": lambda value: f"adapter: {{preset: {value}}}",
        "options": lambda value: f"adapter: {{{', '.join(['preset: ...', *(f'{k}: {v}' for k, v in value.items())])}}}",
    }

    def __init__(
        self,
        base: str,
        architecture: Mapping[str, Any] | None,
        adapter: Mapping[str, Any],
        freeze_bn: bool,
        rates: Rates,
        warmup_epochs: int,
    ) -> None:
        super().__init__(base, architecture)
        self.adapter, self.freeze_bn = AdapterSection.of(adapter, attachments.PRESETS), freeze_bn
        self.rates, self.warmup_epochs = rates, warmup_epochs
        self.classes: list[str] = []
        self.preprocessing: dict[str, Any] = {}
        self.eval_modules = ("encoder*",) if freeze_bn and self.adapter.preset != "full" else ()

    @abstractmethod
    def changes(self) -> dict[str, Any]:
        """Fields of the architecture that the task and its data decide."""

    def backbone(self) -> nn.Module:
        """The base with the task's head; on the meta device its shape alone."""
        changes = {**(self.architecture or {}), **self.changes()}
        if self.preprocessing.get("inputs"):
            changes["channels"] = len(self.preprocessing["inputs"])
        if torch.get_default_device().type != "meta":
            return bases.load_base_folder(hub.resolve(self.base, DOMAIN, kind="base"), **changes)
        # A whole architecture needs no base at hand; a few fields of one change the base's.
        whole = "class" in (self.architecture or {})
        known = {} if whole else bases.read_architecture(hub.resolve(self.base, DOMAIN, kind="base"))
        return bases.build({**known, **changes})

    def build(self) -> nn.Module:
        return attachments.attach_section(self.backbone(), self.adapter, freeze_bn=self.freeze_bn)

    def bind(self, data: Any) -> None:
        """The head is as wide as the data have classes; one that is already built stays."""
        if not hasattr(self, "model"):
            self.learn_names(data)

    def learn_names(self, data: Any) -> None:
        """Take over the names of the classes, and how the clouds are prepared."""
        data.setup("fit")
        self.classes = list(data.classes)
        self.preprocessing = {
            "npoints": data.npoints,
            "normalise": data.samples("train").normalise,
            "up": "y",
            "selected_on": data.selected_on,
            "block": data.sets["train"].side,
            "inputs": data.options.inputs,
        }

    def stated(self) -> Stated:
        """What the adapter says of itself."""
        kind = next(name for name, cls in bases.BACKBONES.items() if type(self.model) is cls)
        return Stated(
            classes=tuple(self.classes),
            task=self.task,
            backbone={"class": kind, **dataclasses.asdict(self.model.config)},
            method=self.adapter.name,
            freeze_bn=self.freeze_bn,
            **self.preprocessing,
        )

    def extra(self) -> dict[str, Any]:
        return self.stated().to_dict()

    def next_steps(self, run: Path) -> list[str]:
        where = self.adapter_and_base_of(run)
        task = "" if self.task == "classification" else f" --task {self.task}"
        return [f"suite point_cloud predict FILE{task} --adapter {where} --out out/"]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        configured: Any = super().configure_optimizers()
        optimizer = configured["optimizer"]
        spare_tokens(self, optimizer)
        if self.rates == "published":
            peak, epochs = self.settings.lr, self.settings.max_epochs - 1
            factor = lambda epoch: learning_rate(epoch, peak, epochs, self.warmup_epochs) / peak  # noqa: E731
            configured["lr_scheduler"] = {"scheduler": LambdaLR(optimizer, factor), "interval": "epoch"}
        return configured


class PointCloudRecipe(_PointCloudRecipe):
    """Classification: cross-entropy of the class, the backbone frozen but for what the method trains.

    Args:
        base: reference of the pre-trained backbone.
        architecture: fields of its architecture, for counting without weights and to change what a task may change
            (`num_group`, `drop_path_rate`).
        adapter: what is attached: `{preset: ..., <settings>}` with pointgst, point_peft, dapt, visual_prompt, lora,
            bottleneck, bitfit, linear (the head alone) or full, e.g. `{preset: pointgst, rank: 36, local: 32}`; or
            `{method: ..., targets: ..., <settings>}` with any method of the core. The head trains always.
        freeze_bn: keep the statistics of the frozen patch encoder's batch norms. The released code lets them drift.
        prior: point_peft only: prompts also hold features of the training clouds nearest to each cloud.
        label_smoothing: of the cross-entropy; the papers use none.
        rates: `published` sets the learning rate per epoch as the papers' code does (cosine, `warmup_epochs`, epochs 0
            and 1 both at 1e-6), for `max_epochs` of one more than the paper's; `trainer` leaves it to the trainer.
        warmup_epochs: of the published rates.
    """

    task = "classification"

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = POINTGST,
        freeze_bn: bool = True,
        prior: bool = False,
        label_smoothing: float = 0.0,
        rates: Rates = "trainer",
        warmup_epochs: int = 10,
    ) -> None:
        super().__init__(base, architecture, adapter, freeze_bn, rates, warmup_epochs)
        if prior and self.adapter.preset != "point_peft":
            name = self.adapter.name
            raise InputError(f"recipe.prior belongs to point_peft, and recipe.adapter is {name}; remove one of them")
        self.prior, self.label_smoothing = prior, label_smoothing
        self.bank: Tensor | None = None

    def changes(self) -> dict[str, Any]:
        return {"cls_dim": len(self.classes)} if self.classes else {}

    def on_fit_start(self) -> None:
        if self.prior and self.bank is None:
            data: Any = self.trainer
            self.bank = forward.build_bank(self.model, data.datamodule.clouds("train"))

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        prior = None if self.bank is None else prior_of(self.model, self.bank.to(self.device))
        logits = forward.predict_logits(self.model, batch["points"], prior=prior)
        losses = functional.cross_entropy(
            logits.float(), batch["label"], reduction="none", label_smoothing=self.label_smoothing
        )
        return Outputs(losses.mean(), losses, logits, batch["label"])

    def labels(self) -> dict[str, str]:
        return {
            "train/loss": "loss on training clouds",
            "val/loss": "loss on held-out clouds",
            "val/accuracy": "share of held-out clouds named right",
            "val/mean_class_accuracy": "the same share, mean over classes",
        }

    def metrics(self) -> MetricCollection:
        classes = self.model.config.cls_dim
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(classes, average="micro"),
                "mean_class_accuracy": MulticlassAccuracy(classes, average="macro"),
            }
        )

    def stated(self) -> Stated:
        return dataclasses.replace(super().stated(), prior=self.prior)

    def save_adapter(self, folder: Path) -> None:
        super().save_adapter(folder)
        if self.bank is not None:
            weights.write({"bank": self.bank.cpu()}, folder / BANK)

    def load_adapter(self, folder: Path) -> None:
        super().load_adapter(folder)
        if (folder / BANK).is_file():
            self.bank = weights.read(folder / BANK)["bank"]


class PartSegmentationRecipe(_PointCloudRecipe):
    """Part segmentation: the negative log-likelihood of each point's part; the head trains from scratch.

    Args:
        base: reference of the pre-trained backbone.
        architecture: fields of its architecture.
        adapter: as for classification, but point_peft, which is defined on the classifier.
        head: fields of the segmentation head (`fetch`, `propagation`, `head`); the number of parts and categories
            comes from the data.
        freeze_bn: keep the statistics of the frozen patch encoder's batch norms.
        rates: learning rates of the `trainer`, or `published`.
        warmup_epochs: of the published rates.
    """

    task = "segmentation"

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = POINTGST,
        head: dict[str, Any] | None = None,
        freeze_bn: bool = True,
        rates: Rates = "trainer",
        warmup_epochs: int = 10,
    ) -> None:
        super().__init__(base, architecture, adapter, freeze_bn, rates, warmup_epochs)
        self.head = dict(head or {})
        self.parts: dict[str, list[str]] = {}

    def learn_names(self, data: Any) -> None:
        super().learn_names(data)
        self.parts = {name: list(parts) for name, parts in data.parts.items()}

    def changes(self) -> dict[str, Any]:
        counted = {"parts": sum(map(len, self.parts.values())), "categories": len(self.parts)} if self.parts else {}
        known = dict((self.architecture or {}).get("head") or {})
        return {"class": "part_segmenter", "head": {**known, **self.head, **counted}}

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        categories = self.model.head_config.categories
        category = functional.one_hot(batch["category"], categories) if categories else None
        scores = forward.predict_logits(self.model, batch["points"], category)
        parts = batch["parts"]
        losses = functional.nll_loss(
            scores.float().transpose(1, 2), parts, reduction="none", ignore_index=NO_PART
        )  # (B, N)
        # Points without a part give 0; a factor of exactly 1 where every point has one.
        losses = losses.mean(1) * (parts.shape[1] / (parts != NO_PART).sum(1).clamp(min=1))
        return Outputs(losses.mean(), losses, scores, batch["parts"])

    def labels(self) -> dict[str, str]:
        return {
            "train/loss": "loss on training clouds",
            "val/loss": "loss on held-out clouds",
            "val/instance_miou": "IoU of parts, mean over held-out clouds",
            "val/class_miou": "IoU of parts, mean over categories",
        }

    def metrics(self) -> MetricCollection:
        if not self.parts:
            return MetricCollection({})
        names = {name: len(parts) for name, parts in self.parts.items()}
        return MetricCollection(
            {"instance_miou": PartIoU(names, over="instances"), "class_miou": PartIoU(names, over="classes")}
        )

    def update(self, metrics: MetricCollection, outputs: Outputs, batch: dict[str, Tensor]) -> None:
        metrics.update(outputs.logits, outputs.target, batch["category"])

    def stated(self) -> Stated:
        stated = super().stated()
        backbone = {**stated.backbone, "class": "part_segmenter", "head": dataclasses.asdict(self.model.head_config)}
        parts = {name: tuple(own) for name, own in self.parts.items()}
        return dataclasses.replace(stated, backbone=backbone, parts=parts)


def spare_tokens(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Take weight decay off the parameters with `token` in their names, as the published recipes do.

    Positions of the class token and prompts do decay.
    """
    tokens = {id(p) for name, p in module.named_parameters() if "token" in name and p.requires_grad}
    free = [group for group in optimizer.param_groups if not group["weight_decay"]]
    for group in optimizer.param_groups:
        moved = [p for p in group["params"] if id(p) in tokens]
        if group["weight_decay"] and moved and free:
            group["params"] = [p for p in group["params"] if id(p) not in tokens]
            free[0]["params"].extend(moved)


def learning_rate(
    epoch: int, base: float, epochs: int = 300, warmup: int = 10, floor: float = 1e-6, start: float = 1e-6
) -> float:
    """The rate used in `epoch` (0-based) of the published recipe: linear warm-up, cosine, stepped after each epoch.

    The released loop sets the rate of epoch e from e - 1, so epochs 0 and 1 both run at `start`.
    """
    step = max(0, epoch - 1)
    if step < warmup:
        return start + step * (base - start) / warmup
    return floor + 0.5 * (base - floor) * (1 + math.cos(math.pi * min(step, epochs) / epochs))
