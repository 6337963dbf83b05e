"""The recipes: one adapter a task on a frozen language model (LLaMA-Reviewer, arXiv 2308.11148)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score

from domains.code_review.data.datamodule import CodeReviewData
from domains.code_review.model.bases import DOMAIN, base_skeleton, check_head, is_pair, load_base
from domains.code_review.model.bundle import part_of
from domains.code_review.model.encoder_decoder import HEAD, CodeReviewerT5
from domains.code_review.model.encoding import yes_and_no
from domains.code_review.model.manifest import Manifest
from domains.code_review.model.wording import CODEREVIEWER, Task, Template, find
from domains.code_review.recipe.pairs import pair_outputs
from suite import adapters, hub
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.generation.base import Quantize
from suite.hub import pretrained
from suite.training import AdapterModule, Outputs, lm_outputs

LORA: dict[str, Any] = {
    "method": "lora",
    "r": 16,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "targets": ["q_proj", "v_proj"],
}
"""The paper's best rank; alpha and dropout are Lit-LLaMA's."""
PREFIX: dict[str, Any] = {"method": "llama_adapter", "adapter_len": 10, "adapter_layers": 30}
"""Lit-LLaMA's: 10 prompts in each of the last 30 layers, a gate a head."""

FULL: dict[str, Any] = {"method": "parameters", "parameters": ["*"]}
"""CodeReviewer's: everything trains."""

PRESETS = {"llama-reviewer-lora": LORA, "llama-reviewer-prefix": PREFIX, "codereviewer": FULL}


class _ReviewRecipe(AdapterModule):
    """What the three tasks share: a base, an adapter on it, the answer's tokens as the loss.

    Args:
        base: reference of the base: a causal language model, or a T5 as CodeReviewer is one.
        architecture: its class and configuration, for counting without its weights.
        template: the words around hunks and code (`model/wording.py`); the adapter remembers them. Of a T5 that is
            `codereviewer-v1`: marks and no words.
        adapter: what is attached: `{method: ..., targets: ..., <settings>}`, or `{preset: llama-reviewer-lora}`.
        quantize: `nf4` trains on a base in 4 bit (QLoRA).
        init_adapter: reference of an adapter to go on from, e.g. one that was tuned on instructions.
    """

    task: Task

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        template: str = "llama-reviewer-v1",
        adapter: dict[str, Any] = LORA,
        quantize: Quantize | None = None,
        init_adapter: str | None = None,
    ) -> None:
        super().__init__(base, architecture)
        self.template, self.quantize, self.init_adapter = find(template), quantize, init_adapter
        self.adapter = AdapterSection.of(adapter, PRESETS).spec(PRESETS)

    @cached_property
    def backbone(self) -> tuple[nn.Module, Any]:
        """The base and its tokenizer.

        Raises:
            InputError: the template is for the other kind of base.
        """
        _check_kind(self.base, self.template, is_pair(self.base))
        return load_base(self.base, dtype=self.base_dtype, quantize=self.quantize)

    def bind(self, data: L.LightningDataModule) -> None:
        if isinstance(data, CodeReviewData):
            data.bind(lambda: (self.backbone[1], self.template, self.task))

    def prepare(self) -> None:
        _ = self.backbone

    def build(self) -> nn.Module:
        counting = torch.get_default_device().type == "meta"
        if counting:
            model = pretrained.build(self.architecture) if self.architecture else base_skeleton(self.base)
            _check_kind(self.base, self.template, isinstance(model, CodeReviewerT5))
        else:
            model = self.backbone[0]
        if self.init_adapter is not None and not counting:
            return adapters.load(
                model, self._part(hub.resolve(self.init_adapter, DOMAIN, kind="adapter")), trainable=True
            )
        return self._attached(model)

    def _attached(self, model: nn.Module) -> nn.Module:
        return adapters.attach(model, self.adapter)

    def load_adapter(self, folder: Path) -> None:
        super().load_adapter(self._part(folder))

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        """Cross-entropy of the answer's tokens.

        Args:
            batch: `input_ids` and `labels` (batch, length); of an encoder-decoder `attention_mask`, too.
        """
        if self.template.marks:
            return pair_outputs(self.model, batch)
        return lm_outputs(self.model, {name: batch[name] for name in ("input_ids", "labels")})

    def labels(self) -> dict[str, str]:
        return {"train/loss": "loss on training cases", "val/loss": "loss on held-out cases"}

    def extra(self) -> dict[str, Any]:
        return Manifest(self.task, self.template).to_dict()

    def next_steps(self, run: Path) -> list[str]:
        where = self.adapter_and_base_of(run)
        return [f"git diff | suite code_review predict - --{self.task} {where}"]

    def _part(self, folder: Path) -> Path:
        """The task's own adapter, where a folder holds one for each task."""
        return part_of(folder, self.task)


class NecessityRecipe(_ReviewRecipe):
    """Whether a hunk needs a review: the answer is yes or no."""

    task: Task = "necessity"

    @cached_property
    def answers(self) -> tuple[int, int]:
        """The tokens that an answer of yes and one of no begin with."""
        _, (yes, no) = yes_and_no(self.backbone[1], self.template.prompt(*self.template.asked(self.task, hunk="")))
        return yes[0], no[0]

    def _attached(self, model: nn.Module) -> nn.Module:
        # A preset that trains everything has the head among it.
        alone = not self.template.marks or self.adapter == FULL
        return adapters.attach(model, self.adapter, train=() if alone else [HEAD])

    def prepare(self) -> None:
        super().prepare()
        if self.template.marks and self.init_adapter is None:
            check_head(self.backbone[0], self.base)

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        """Of an encoder-decoder the cross-entropy of the decision."""
        if self.template.marks:
            return self._decided(batch)
        outputs = super().compute(batch)
        if not self.training:
            outputs.logits, outputs.target = self._chances(batch), batch["needed"].long()
        return outputs

    def metrics(self) -> MetricCollection:
        return MetricCollection({"auroc": BinaryAUROC(), "accuracy": BinaryAccuracy(), "f1": BinaryF1Score()})

    def labels(self) -> dict[str, str]:
        measured = {"auroc": "area under the ROC curve", "accuracy": "accuracy", "f1": "F1 of yes"}
        return super().labels() | {f"val/{name}": f"{words} on held-out cases" for name, words in measured.items()}

    def _decided(self, batch: dict[str, Tensor]) -> Outputs:
        logits = self.model.decide(batch["input_ids"], batch["attention_mask"]).float()  # (batch, 2)
        needed = batch["needed"].long()
        losses = F.cross_entropy(logits, needed, reduction="none")  # (batch,)
        return Outputs(losses.mean(), losses, logits.softmax(-1)[:, 1], needed)

    def _chances(self, batch: dict[str, Tensor]) -> Tensor:
        """The chance of yes against no, (batch,)."""
        logits = self.model(input_ids=batch["input_ids"], use_cache=False).logits  # (batch, length, vocabulary)
        last = logits[torch.arange(len(logits), device=logits.device), batch["decision"]]  # (batch, vocabulary)
        return last[:, list(self.answers)].float().softmax(-1)[:, 0]


class CommentRecipe(_ReviewRecipe):
    """What a reviewer says of a hunk."""

    task: Task = "comment"


class RefinementRecipe(_ReviewRecipe):
    """The code as it is after a comment was answered."""

    task: Task = "refinement"


def _check_kind(base: str, template: Template, pair: bool) -> None:
    if pair != template.marks:
        kind, wanted = ("an encoder-decoder", CODEREVIEWER.name) if pair else ("a causal language model", "another one")
        raise InputError(f"base {base} is {kind}, and recipe.template {template.name} is not for it; give {wanted}")
