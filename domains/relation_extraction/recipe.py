"""Fine-tuning for relation extraction: one adapter for all steps, or one for each step in turn on the same base."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn

from domains.relation_extraction.data.datamodule import RelationExtractionData
from domains.relation_extraction.model.bases import base_skeleton, load_base
from domains.relation_extraction.model.calls import Step
from domains.relation_extraction.model.manifest import Manifest
from domains.relation_extraction.model.paradigms import find as find_protocol
from domains.relation_extraction.model.protocol import Layout
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.model.wording import Wording
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.errors import InputError
from suite.generation.base import Quantize
from suite.hub import pretrained
from suite.training import AdapterModule, Outputs, lm_outputs
from suite.training.driver import Driver
from suite.training.drivers.stages import Stage, Stages

LORA: dict[str, Any] = {
    "method": "lora",
    "r": 100,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "targets": ["q_proj", "v_proj"],
}
"""AutoRE's: a scaling of 16/100, unusually small."""

PRESETS = {"autore": LORA}


class RelationExtractionRecipe(AdapterModule):
    """AutoRE's fine-tuning: supervised generation, the loss on the answers only.

    Args:
        base: reference of the base language model.
        architecture: its class and configuration, for counting without its weights.
        protocol: how steps are worded (`suite-v1/...` or `autore-official/...`); the adapter remembers it.
        template: chat template of the base: suite, mistral, vicuna or chatglm3.
        schema: the relations: a built-in name or a file.
        layout: `three` adapters trained in turn, or a `single` one for all steps.
        adapter: what is attached: `{method: ..., targets: ..., <settings>}`, or `{preset: autore, <settings>}`.
        quantize: `nf4` trains on a base in 4 bit (QLoRA).
        stages: trainer settings by step that differ from the run's, e.g. `{subject: {max_epochs: 3}}`.
        pretokenize: shape of the passages, also at prediction: `docred` (tokens joined by single spaces, as in
            (Re-)DocRED) or `none` (as the user wrote them).
        protocol_templates: JSON file with the wording of a protocol that is not shipped (see `templates`).
    """

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        protocol: str = "suite-v1/D_R_H_F_desc",
        template: str = "suite",
        schema: str = "redocred",
        layout: Layout = "three",
        adapter: dict[str, Any] = LORA,
        quantize: Quantize | None = None,
        stages: dict[str, dict[str, Any]] | None = None,
        pretokenize: str = "docred",
        protocol_templates: str | None = None,
    ) -> None:
        super().__init__(base, architecture)
        self.protocol = find_protocol(protocol, protocol_templates).require_wording()
        self.template, self.layout = template, layout
        self.schema = Schema.load(schema)
        self.adapter = AdapterSection.of(adapter, PRESETS).spec(PRESETS)
        self.quantize, self.pretokenize = quantize, pretokenize
        self.stages = stages or {}
        if unknown := set(self.stages) - set(self.protocol.steps):
            steps = ", ".join(self.protocol.steps)
            raise InputError(
                f"recipe.stages: {', '.join(sorted(unknown))} is no step of {self.protocol.id}; it has {steps}"
            )
        self.adapter_name = "joint" if layout == "single" else None

    @cached_property
    def backbone(self) -> tuple[nn.Module, Any]:
        """The base and its tokenizer, loaded once for all stages."""
        return load_base(self.base, dtype=self.base_dtype, quantize=self.quantize)

    @property
    def wording(self) -> Wording:
        """How calls become token ids; the data are encoded with it."""
        tokenizer = self.backbone[1]
        return Wording.of(tokenizer, self.template, self.protocol, self.schema, self.layout, self.pretokenize)

    def bind(self, data: L.LightningDataModule) -> None:
        if isinstance(data, RelationExtractionData):
            data.bind(lambda: self.wording)

    def prepare(self) -> None:
        _ = self.backbone

    def build(self) -> nn.Module:
        """The base with its adapters: all three in the `three` layout, of which the last is the trainable one."""
        if torch.get_default_device().type == "meta":  # to be counted
            model = pretrained.build(self.architecture) if self.architecture else base_skeleton(self.base)
        else:
            model = self.backbone[0]
        names = self.protocol.steps if self.layout == "three" else ("joint",)
        for name in names:
            model = adapters.attach(model, self.adapter, name=name)
        return model

    def compute(self, batch: dict[str, torch.Tensor]) -> Outputs:
        """Cross-entropy of the answers.

        Args:
            batch: `input_ids` and `labels` (batch, length); packed batches add positions and boundaries.
        """
        return lm_outputs(self.model, batch)

    def labels(self) -> dict[str, str]:
        return {"train/loss": "loss on training documents", "val/loss": "loss on held-out documents"}

    def extra(self) -> dict[str, Any]:
        return Manifest(
            self.protocol.id, self.template, self.schema, self.layout, self.pretokenize, self.protocol.templates
        ).to_dict()

    def driver(self, data: RelationExtractionData) -> Driver | None:
        if self.layout == "single":
            return None
        stages = [
            Stage(step, _Step(self, step), data.step(step), self.stages.get(step, {})) for step in self.protocol.steps
        ]
        return Stages(stages, owner=self)

    def next_steps(self, run: Path) -> list[str]:
        where = self.adapter_and_base_of(run)
        return [f"suite relation_extraction predict FILE --adapter {where} --out triples/"]


class _Step(RelationExtractionRecipe):
    """One of the three adapters, on the base that its owner has loaded."""

    def __init__(self, owner: RelationExtractionRecipe, step: Step) -> None:
        AdapterModule.__init__(self, owner.base, owner.architecture)
        self.protocol, self.template, self.schema = owner.protocol, owner.template, owner.schema
        self.layout, self.adapter, self.quantize = owner.layout, owner.adapter, owner.quantize
        self.pretokenize = owner.pretokenize
        self.adapter_name = step
        # In a tuple: a module as an attribute would become a part of this one, and of its checkpoints.
        self._owner = (owner,)

    @property
    def backbone(self) -> tuple[nn.Module, Any]:
        return self._owner[0].backbone

    def build(self) -> nn.Module:
        base = self.backbone[0]
        assert self.adapter_name is not None
        if self.adapter_name in adapters.attached(base):
            adapters.detach(base, self.adapter_name)
        return adapters.attach(base, self.adapter, name=self.adapter_name)

    def driver(self, data: RelationExtractionData) -> None:
        return None

    def next_steps(self, run: Path) -> list[str]:
        return []
