"""The recipe: TMoE on a frozen DINOv2, two search frames in turn against three templates (arXiv 2503.18338)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, MetricCollection

from domains.tracking.inference.decode import decode
from domains.tracking.model import attachments, bases
from domains.tracking.model.costs import step_macs
from domains.tracking.model.dinov2 import Sizes
from domains.tracking.model.losses import LossSettings, frame_terms, overlaps
from domains.tracking.model.manifest import Manifest
from domains.tracking.model.settings import TrackerSettings
from domains.tracking.model.spmtrack import SpmTrack
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.training import AdapterModule, Outputs
from suite.training.names import check_names

SPMTRACK: dict[str, Any] = {"preset": "spmtrack"}
LR_MIN, LR_FIRST = 1e-6, 1e-7
"""Where the published schedule would end, and where its warm-up begins."""


@dataclass
class TrackingOutputs(Outputs):
    """A batch's loss, and how well what would be reported of its last frame overlaps the truth."""

    overlaps: Tensor | None = None  # (batch,)


class TrackingRecipe(AdapterModule):
    """Train a tracker to score cells by the overlap of their boxes.

    Args:
        base: reference of a DINOv2 without registers.
        architecture: `{size: base}`, or fields of `Sizes`; for counting without weights.
        adapter: what is attached: `{preset: spmtrack, <settings of tmoe>}`, `{preset: lorat, <settings of lora>}`,
            `{preset: head}`, `{preset: full}`, or `{method: ..., <settings>}` with any method of the core. Head and
            embeddings train always.
        tracker: fields of `TrackerSettings`: sizes of crops, templates, window; the published ones where left out.
        loss: fields of `LossSettings`: kind, score_weight, box_weight, warmup_epochs.
        drop_path: share of paths that training drops; 0.1 for the published L, 0.4 for G.
        rates: `published` is warm-up from 1e-7 and a cosine to 1e-6; `trainer` leaves the schedule to the trainer.
    """

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = SPMTRACK,
        tracker: dict[str, Any] | None = None,
        loss: dict[str, Any] | None = None,
        drop_path: float = 0.0,
        rates: Literal["trainer", "published"] = "trainer",
    ) -> None:
        super().__init__(base, architecture)
        if not 0 <= drop_path < 1:
            raise InputError(f"recipe.drop_path is {drop_path}; give a share from 0 to below 1")
        self.adapter = AdapterSection.of(adapter, attachments.PRESETS)
        self.tracker = TrackerSettings.from_dict(tracker or {})
        check_names(loss or {}, [field.name for field in fields(LossSettings)], "recipe.loss")
        self.loss = LossSettings(**(loss or {}))
        self.drop_path, self.rates = drop_path, rates
        self.trained_on, self.last = "", math.nan

    def bind(self, data: Any) -> None:
        """The data learn the sizes of crops, and tell those that they were given themselves."""
        cut = data.meet(self.tracker.template_size, self.tracker.search_size, self.tracker.patch)
        names = ("template_size", "search_size", "template_area_factor", "search_area_factor")
        self.tracker = replace(self.tracker, **{name: getattr(cut, name) for name in names})
        self.trained_on = ", ".join(_bare(source) for source in data.sources["train"])

    @property
    def split(self) -> bool:
        """Whether query, key and value are layers of their own."""
        return attachments.needs_split(self.adapter)

    def build(self) -> nn.Module:
        if torch.get_default_device().type == "meta":
            skeleton = bases.skeleton(self.base, self.architecture, self.tracker, split=self.split)
            return attachments.attach_section(skeleton, self.adapter)
        # Wherever it is to train: what is drawn differs by device.
        with torch.device("cpu"):
            model = bases.load(self.base, self.tracker, split=self.split, drop_path=self.drop_path)
            return attachments.attach_section(model, self.adapter)

    def compute(self, batch: dict[str, Tensor]) -> TrackingOutputs:
        """A batch of `TrackingSamples`: templates, masks, searches, positives, boxes."""
        seen = self.tracker.num_templates
        templates, masks = batch["templates"][:, :seen].unbind(1), batch["masks"][:, :seen].unbind(1)
        steps = self.model(templates, masks, batch["searches"].unbind(1))
        rows = len(batch["boxes"])
        per_sample = batch["boxes"].new_zeros(rows)  # (batch,)
        for frame, step in enumerate(steps):
            positives = batch["positives"][:, frame]
            terms = frame_terms(step, positives, batch["boxes"][:, frame], _everywhere(positives), self.loss)
            weight = self.loss.box_factor(self.current_epoch)
            # Sums over the batch: the mean over samples is to be the loss.
            per_sample = per_sample + rows * (self.loss.score_weight * terms.score + weight * terms.box)
        loss = per_sample.mean()
        if self.training:
            self._check_finite(loss)
        step = steps[-1]
        found = decode(step.scores.detach(), step.boxes.detach(), 1, self.tracker.window_penalty).boxes  # (batch, 4)
        return TrackingOutputs(loss, per_sample, overlaps=overlaps(found, batch["boxes"][:, -1])[0])

    def _check_finite(self, loss: Tensor) -> None:
        """Stop where the loss is no number: what comes after is worth nothing.

        Raises:
            InputError: it is none.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(
                f"the loss is {value} at step {self.global_step} (the last finite one was {self.last:.4g}); lower "
                "trainer.lr, or train with trainer.precision bf16 or 32-true"
            )
        self.last = value

    def metrics(self) -> MetricCollection:
        return MetricCollection({"overlap": MeanMetric()})

    def update(self, metrics: MetricCollection, outputs: Outputs, batch: dict[str, Tensor]) -> None:
        assert isinstance(outputs, TrackingOutputs)
        metrics.update(outputs.overlaps)

    def labels(self) -> dict[str, str]:
        return {
            "train/loss": "loss on training frames",
            "val/loss": "loss on held-out frames",
            "val/overlap": "overlap of found and true boxes in held-out frames",
        }

    def extra(self) -> dict[str, Any]:
        return Manifest(self.tracker, self.split, self.adapter.name, self.trained_on).to_dict()

    def costs(self) -> dict[str, str]:
        model: Any = self.model
        tokens = self.tracker.tokens
        return {
            "a step": f"{step_macs(model) / 1e9:.1f} GMACs, {tokens:,} tokens",
            "without": f"{step_macs(model, adapters=False) / 1e9:.1f} GMACs",
        }

    def comparisons(self) -> dict[str, int]:
        if self.adapter.name not in ("spmtrack", "tmoe"):
            return {}
        model: Any = self.model
        rank = int(self.adapter.settings.get("r", 64))
        return {f"LoRA of rank {rank} on the same layers": lora_parameters(model, rank)}

    def next_steps(self, run: Path) -> list[str]:
        where = self.adapter_and_base_of(run)
        return [f"suite tracking predict VIDEO --box x,y,w,h --adapter {where} --out out/"]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """As published: what is called an embedding does not decay, however many dimensions it has."""
        embeddings = {id(parameter) for name, parameter in self.named_parameters() if "embed" in name}
        groups = []
        for group in super().parameter_groups():
            apart = [parameter for parameter in group["params"] if id(parameter) in embeddings]
            rest = [parameter for parameter in group["params"] if id(parameter) not in embeddings]
            groups += [{**group, "params": rest}] * bool(rest)
            groups += [{**group, "params": apart, "weight_decay": 0.0}] * bool(apart)
        return groups

    def configure_optimizers(self) -> OptimizerLRScheduler:
        configured: Any = super().configure_optimizers()
        if self.rates == "published":
            steps = max(1, int(self.trainer.estimated_stepping_batches))
            settings = self.settings
            warmup = round(settings.warmup * steps) if settings.warmup < 1 else int(settings.warmup)
            factor = published_rate(settings.lr, steps, warmup)
            scheduler = LambdaLR(configured["optimizer"], factor)
            configured["lr_scheduler"] = {"scheduler": scheduler, "interval": "step"}
        return configured


def published_rate(lr: float, steps: int, warmup: int) -> Callable[[int], float]:
    """The factor of the rate at a step: warm-up, before a cosine over all steps, which so ends short of its floor."""

    def factor(step: int) -> float:
        if step < warmup:
            return (LR_FIRST + (lr - LR_FIRST) * step / warmup) / lr
        return (LR_MIN + (lr - LR_MIN) * (1 + math.cos(math.pi * (step - warmup) / steps)) / 2) / lr

    return factor


def lora_parameters(model: SpmTrack, rank: int) -> int:
    """What LoRA on every linear layer of the blocks would train, with the head and the three kinds of tokens."""
    sizes: Sizes = model.sizes
    inner = 2 * sizes.hidden() if sizes.ffn == "swiglu" else sizes.hidden()
    block = 4 * 2 * sizes.width + sizes.width + inner + sizes.hidden() + sizes.width
    head = sum(parameter.numel() for parameter in model.head.parameters())
    return rank * sizes.depth * block + head + 3 * sizes.width


def _everywhere(positives: Tensor) -> Tensor:
    """Positive cells of the whole batch, the mean over all processes; at least 1."""
    count = positives.sum().float()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
        count = count / torch.distributed.get_world_size()
    return count.clamp(min=1)


def _bare(source: str) -> str:
    """A source without a path of this machine."""
    return source if source.startswith("world") else Path(source).name
