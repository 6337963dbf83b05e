"""The recipe: a frozen CLIP of which LayerNorms and a head learn to tell manipulated faces.

Yermakov et al. 2025 (arXiv 2503.19683) and their successor GenD (arXiv 2508.06248), with the ablations of both.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MetricCollection

from domains.deepfake import metrics
from domains.deepfake.data.alignment import SCALE
from domains.deepfake.model import attachments, bases
from domains.deepfake.model.forgery_classifier import HeadKind
from domains.deepfake.model.interpolation import between
from domains.deepfake.model.losses import LossWeights, Terms, combine
from domains.deepfake.model.manifest import Manifest
from suite import hub
from suite.adapters.section import AdapterSection
from suite.clip import pictures
from suite.errors import InputError
from suite.training import AdapterModule, Outputs
from suite.training.names import check_names

SLERP: dict[str, Any] = {"preset": "clip-ln-slerp"}


class DeepfakeRecipe(AdapterModule):
    """Encode, interpolate within classes, classify; cross-entropy and, where asked for, losses of the embedding.

    Args:
        base: reference of a CLIP, of timm's Perception Encoder or of a DINOv3.
        architecture: keywords of a `CLIPVisionConfig`, `timm: NAME`, or those of a `DINOv3ViTConfig` with its
            `model_type`; for counting without weights.
        adapter: what is attached: `{preset: ...}` with clip-ln-slerp (arXiv 2503.19683), clip-ln-unal
            (arXiv 2508.06248), clip-ln, lora, linear (the head alone) or full; or `{method: ..., targets: ...}` with
            any method of the core. The head trains always.
        head: LinearNorm sees features of length 1, linear as the tower gives them.
        loss: weights that differ from the preset's: ce_labels, uniformity, alignment_labels, label_smoothing.
        slerp: put features between others of their class while training; the preset's choice where left out.
        slerp_range: from where to where on the way, each 0 to 1.
        min_lr: where a cosine schedule ends.
        cycle: epochs after which the cosine starts anew from the peak (warm restarts); None never does.
        gather: compare the embeddings of all devices in uniformity and alignment, not those of each alone as released.
        most_nan: batches whose loss is NaN, which are skipped, before training is given up.
    """

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = SLERP,
        head: HeadKind = "LinearNorm",
        loss: dict[str, Any] | None = None,
        slerp: bool | None = None,
        slerp_range: Sequence[float] = (0.0, 1.0),
        min_lr: float = 0.0,
        cycle: int | None = None,
        gather: bool = False,
        most_nan: int = 10,
    ) -> None:
        super().__init__(base, architecture)
        self.adapter = AdapterSection.of(adapter, attachments.PRESETS)
        preset = attachments.preset_of(self.adapter)
        check_names(loss or {}, [field.name for field in fields(LossWeights)], "recipe.loss")
        self.loss = LossWeights(**{**asdict(preset.loss), **(loss or {})})
        self.slerp = preset.slerp if slerp is None else slerp
        if len(slerp_range) != 2 or not 0 <= slerp_range[0] <= slerp_range[1] <= 1:
            raise InputError(f"recipe.slerp_range is {list(slerp_range)}; give two numbers, 0 <= from <= to <= 1")
        self.slerp_range = (float(slerp_range[0]), float(slerp_range[1]))
        if cycle is not None and cycle < 1:
            raise InputError(f"recipe.cycle is {cycle}; give whole epochs, or null")
        self.head, self.min_lr, self.cycle, self.gather, self.most_nan = head, min_lr, cycle, gather, most_nan
        self.preprocessing = pictures.Preprocessing(cut="transformers")
        self.alignment, self.scale, self.trained_on = "deepfakebench", SCALE, ""
        self.skipped = 0
        self._tower: Any = None

    def bind(self, data: Any) -> None:
        """The data learn how pictures are prepared, and tell what they are."""
        folder = hub.resolve(self.base, bases.DOMAIN, kind="base")
        self.preprocessing = bases.preprocessing(folder)
        data.preprocessing = self.preprocessing
        self.alignment, self.scale = data.alignment, data.scale
        data.setup("fit")
        self.trained_on = data.sets["train"].title
        if self.slerp and self.head == "linear":
            line = "slerp trains the head on features of length 1, and head linear predicts from longer ones"
            print(f"recipe: {line}", file=sys.stderr, flush=True)

    def prepare(self) -> None:
        self._tower = bases.tower(self.base)

    def build(self) -> nn.Module:
        if torch.get_default_device().type == "meta":
            model = bases.shape(self.base, self.head, self.architecture)
        else:
            # Loading is for `prepare`, where the device is still the CPU; the head draws its numbers here.
            vision_model, self._tower = self._tower or bases.tower(self.base), None
            model = bases.with_head(vision_model, self.head)
        return attachments.attach_section(model, self.adapter)

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        features, labels = self.model.features(batch["image"]), batch["label"]
        if self.training and self.slerp:
            features = between(features, labels, self.slerp_range)
        scored = self.model.classify(features)
        embeddings, embedded = scored.embeddings, labels
        if self.gather and self.training:
            embeddings, embedded = self._everywhere(embeddings, labels)
        terms = combine(scored.logits, embeddings, labels, self.loss, embedded=embedded)
        self._log_parts(terms, len(labels))
        total, per_sample = terms.total, terms.per_sample
        if self.training and bool(torch.isnan(total.detach())):
            total, per_sample = self._skip(), torch.zeros_like(per_sample)
        return Outputs(total, per_sample, scored.logits, labels)

    def _everywhere(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (n, width), whose gradients flow back to each device, and labels (n,) of all devices' batches."""
        gathered = self.all_gather((embeddings, labels), sync_grads=True)  # each (devices, batch, ...), or as it was
        return gathered[0].reshape(-1, embeddings.shape[-1]), gathered[1].reshape(-1)

    def _skip(self) -> Tensor:
        """A loss whose gradient is 0, in place of NaN.

        It comes from the parameters: through logits, 0 times a feature that is NaN would be NaN.

        Raises:
            InputError: it happened too often.
        """
        self.skipped += 1
        print(f"the loss of a batch is NaN: skipped ({self.skipped})", file=sys.stderr, flush=True)
        if self.skipped > self.most_nan:
            raise InputError(
                f"the loss was NaN in {self.skipped} batches; lower trainer.lr, or train in bf16-mixed or 32-true"
            )
        return torch.stack([0 * p.sum() for p in self.model.parameters() if p.requires_grad]).sum()

    def _log_parts(self, terms: Terms, size: int) -> None:
        """Cross-entropy, uniformity and alignment, also where they do not train: the mean of each epoch."""
        if getattr(self, "_trainer", None) is None:
            return
        stage = "train" if self.training else "val"
        for name in ("ce_labels", "uniformity", "alignment_labels"):
            value = getattr(terms, name).detach()
            self.log(f"{stage}/{name}", value, on_step=False, on_epoch=True, sync_dist=True, batch_size=size)

    def on_train_epoch_end(self) -> None:
        head: Any = self.model.head
        self.log("train/head_weight_norm", head.weight.detach().norm())
        self.log("train/head_bias_norm", head.bias.detach().norm())

    def labels(self) -> dict[str, str]:
        return {
            "train/loss": "loss on training frames",
            "val/loss": "loss on held-out frames",
            "val/auroc_frame": "AUROC of held-out frames",
            "val/auroc_video": "AUROC of held-out videos",
            "val/map_frame": "mean AP of held-out frames",
            "val/map_video": "mean AP of held-out videos",
            "val/eer_frame": "equal error rate of held-out frames",
            "val/eer_video": "equal error rate of held-out videos",
            "val/accuracy_frame": "share of held-out frames called right",
            "val/accuracy_video": "share of held-out videos called right",
            "val/balanced_accuracy_frame": "mean share of each class called right, held-out frames",
            "val/balanced_accuracy_video": "mean share of each class called right, held-out videos",
            "val/macro_f1_frame": "mean F1 of both classes, held-out frames",
            "val/macro_f1_video": "mean F1 of both classes, held-out videos",
            "train/ce_labels": "cross-entropy of training frames",
            "train/uniformity": "uniformity of training embeddings",
            "train/alignment_labels": "alignment of training embeddings",
            "train/head_weight_norm": "length of the head's weights",
            "train/head_bias_norm": "length of the head's bias",
            "val/ce_labels": "cross-entropy of held-out frames",
            "val/uniformity": "uniformity of held-out embeddings",
            "val/alignment_labels": "alignment of held-out embeddings",
        }

    def metrics(self) -> MetricCollection:
        return metrics.collection()

    def update(self, metrics: MetricCollection, outputs: Outputs, batch: dict[str, Tensor]) -> None:
        assert outputs.logits is not None
        scores = outputs.logits.float().softmax(1)[:, 1]  # (batch,)
        metrics.update(scores, batch["label"], batch["number"], batch["video"])

    def extra(self) -> dict[str, Any]:
        model: Any = self.model
        return Manifest(
            head=self.head,
            preset=self.adapter.name,
            alignment=self.alignment,
            scale=self.scale,
            tower=bases.sizes(model.vision_model),
            trained_on=self.trained_on,
        ).to_dict()

    def costs(self) -> dict[str, str]:
        giga = self.model.macs() / 1e9
        return {"a face": f"{giga:.1f} GMACs" if giga >= 1 else f"{giga:.2g} GMACs"}

    def next_steps(self, run: Path) -> list[str]:
        where = self.adapter_and_base_of(run)
        return [f"suite deepfake predict FILE --adapter {where} --out out/"]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        configured: Any = super().configure_optimizers()
        own = self.min_lr or self.cycle
        if own and self.settings.warmup:
            raise InputError(
                "recipe.min_lr and recipe.cycle are the published schedules, which have no warm-up; set trainer.warmup "
                "to 0"
            )
        if self.cycle and (self.settings.scheduler != "cosine" or self.settings.max_epochs < 1):
            raise InputError("recipe.cycle is of a cosine over epochs; set trainer.scheduler: cosine and max_epochs")
        if own and self.settings.scheduler == "cosine":
            # Of optimiser steps: the released code counts batches, so that accumulation cuts its curve short.
            steps = max(1, int(self.trainer.estimated_stepping_batches))
            if self.cycle:
                steps = max(1, round(steps * self.cycle / self.settings.max_epochs))
            factor = cosine(steps, self.min_lr / self.settings.lr, again=bool(self.cycle))
            configured["lr_scheduler"] = {
                "scheduler": LambdaLR(configured["optimizer"], factor),
                "interval": "step",
            }
        return configured


def cosine(steps: int, lowest: float, *, again: bool = False) -> Callable[[int], float]:
    """The factor of the learning rate at a step: half a cosine from 1 down to `lowest`.

    Args:
        again: after so many steps it starts anew (SGDR, arXiv 1608.03983); else it stays at the lowest.
    """

    def factor(step: int) -> float:
        done = step % steps if again else min(step, steps)
        return lowest + (1 - lowest) * (1 + math.cos(math.pi * done / steps)) / 2

    return factor
