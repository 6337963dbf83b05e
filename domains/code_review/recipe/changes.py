"""The recipes of commits: does one bring in a defect, and what does its message say (arXiv 2402.06247, 2304.05216)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAUROC, BinaryF1Score, BinaryPrecision, BinaryRecall

from domains.code_review.data.change_datamodule import ChangeData
from domains.code_review.model.attachments import PRESETS, attach_section
from domains.code_review.model.change_bases import (
    classifier_skeleton,
    describer_skeleton,
    load_describer,
    load_encoder,
    with_head,
)
from domains.code_review.model.change_manifest import ChangeManifest, ChangeTask
from domains.code_review.model.commit_classifier import HEAD, Head
from domains.code_review.recipe.pairs import pair_outputs
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.training import AdapterModule, Outputs


class _ChangeRecipe(AdapterModule):
    task: ChangeTask
    _data: ChangeData | None = None

    def prepare(self) -> None:
        _ = self.backbone

    @property
    @abstractmethod
    def backbone(self) -> tuple[nn.Module, Any]:
        """The base and its tokenizer; loaded when first asked for."""

    @property
    def reads_features(self) -> bool:
        """Whether the experts' features are read, too."""
        return False

    def bind(self, data: L.LightningDataModule) -> None:
        if isinstance(data, ChangeData):
            self._data = data
            data.bind(lambda: (self.backbone[1], self.task, self.reads_features))

    def extra(self) -> dict[str, Any]:
        return self._manifest().to_dict()

    def _manifest(self) -> ChangeManifest:
        data = self._data
        if data is None:
            return ChangeManifest(self.task)
        return ChangeManifest(
            self.task,
            layout=data.layout or "lines",
            max_length=data.max_length,
            max_message=data.max_message,
            mean=data.mean,
            deviation=data.deviation,
        )

    def next_steps(self, run: Path) -> list[str]:
        where = self.adapter_and_base_of(run)
        return [f"suite code_review predict . --range HEAD~5..HEAD --adapter {where}"]


class DefectRecipe(_ChangeRecipe):
    """Whether a commit brings in a defect: an encoder with an adapter, and a head on its first position.

    Args:
        base: reference of an encoder (CodeBERT, GraphCodeBERT, UniXcoder), or of an encoder-decoder (CodeT5, PLBart),
            whose encoder is taken.
        architecture: its class and configuration, for counting without its weights.
        head: `single` reads the encoder alone; `concat` the experts' 14 features, too.
        adapter: what is attached: `{preset: jit-dp-lora}`, `{preset: telly-k6}`, or `{method: ..., targets: ...}`. The
            head always trains.
    """

    task: ChangeTask = "defects"

    def __init__(
        self,
        base: str = "hf:microsoft/unixcoder-base",
        architecture: dict[str, Any] | None = None,
        head: Head = "single",
        adapter: dict[str, Any] = {"preset": "jit-dp-lora"},  # noqa: B006 - never changed
    ) -> None:
        super().__init__(base, architecture)
        if head not in ("single", "concat"):
            raise InputError(f"recipe.head is {head!r}; choose single or concat")
        self.head = head
        self.section = AdapterSection.of(adapter, PRESETS)

    @cached_property
    def backbone(self) -> tuple[nn.Module, Any]:
        return load_encoder(self.base, self.base_dtype)

    @property
    def reads_features(self) -> bool:
        return self.head == "concat"

    def build(self) -> nn.Module:
        if torch.get_default_device().type == "meta":  # to be counted
            model = classifier_skeleton(self.base, self.architecture, self.head)
        else:
            model = with_head(self.backbone[0], self.head)
        return attach_section(model, self.section, HEAD)

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        """Binary cross-entropy of the defects.

        Args:
            batch: `input_ids` and `attention_mask` (batch, length), `needed` (batch,), `features` (batch, 14).
        """
        logits = self.model(batch["input_ids"], batch["attention_mask"], batch.get("features")).float()  # (batch,)
        defective = batch["needed"]
        losses = F.binary_cross_entropy_with_logits(logits, defective.float(), reduction="none")  # (batch,)
        return Outputs(losses.mean(), losses, logits.sigmoid(), defective.long())

    def metrics(self) -> MetricCollection:
        return MetricCollection(
            {"precision": BinaryPrecision(), "recall": BinaryRecall(), "f1": BinaryF1Score(), "auroc": BinaryAUROC()}
        )

    def labels(self) -> dict[str, str]:
        measured = {"precision": "precision", "recall": "recall", "f1": "F1", "auroc": "area under the ROC curve"}
        told = {f"val/{name}": f"{words} of defects on held-out commits" for name, words in measured.items()}
        return {"train/loss": "loss on training commits", "val/loss": "loss on held-out commits"} | told

    def costs(self) -> dict[str, str]:
        """How much of the encoder itself trains: Telly's figure, which the head is no part of."""
        if self.section.spec(PRESETS)["method"] != "telly":
            return {}
        head = sum(parameter.numel() for parameter in self.model.classifier.parameters())
        trainable, total = adapters.count(self.model).trainable - head, adapters.count(self.model).total - head
        return {"encoder": f"{trainable:,} of {total:,} train, {100 * (1 - trainable / total):.2f} % fewer than all"}

    def _manifest(self) -> ChangeManifest:
        return replace(super()._manifest(), head=self.head)


class MessageRecipe(_ChangeRecipe):
    """What a commit's message says: an encoder-decoder with an adapter.

    Args:
        base: reference of an encoder-decoder (CodeT5, PLBart).
        architecture: its class and configuration, for counting without its weights.
        adapter: what is attached: `{preset: cmg-lora}`, `{preset: cmg-adapter}`, or `{method: ..., targets: ...}`.
    """

    task: ChangeTask = "message"

    def __init__(
        self,
        base: str = "hf:Salesforce/codet5-base",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = {"preset": "cmg-lora"},  # noqa: B006 - never changed
    ) -> None:
        super().__init__(base, architecture)
        self.section = AdapterSection.of(adapter, PRESETS)

    @cached_property
    def backbone(self) -> tuple[nn.Module, Any]:
        return load_describer(self.base, self.base_dtype)

    def build(self) -> nn.Module:
        if torch.get_default_device().type == "meta":  # to be counted
            model = describer_skeleton(self.base, self.architecture)
        else:
            model = self.backbone[0]
        return attach_section(model, self.section)

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        """Cross-entropy of the messages' tokens.

        Args:
            batch: `input_ids` and `attention_mask` (batch, length), `labels` (batch, length of messages).
        """
        return pair_outputs(self.model, batch)

    def labels(self) -> dict[str, str]:
        return {"train/loss": "loss on training commits", "val/loss": "loss on held-out commits"}
