"""AdaLoRA's budget: ranks that matter little are masked step by step, until the target is left.

Zhang et al., Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning, arXiv 2303.10512, section 3.3. peft's
`RankAllocator` keeps the scores and chooses; nothing in peft calls it. The method `adalora` brings this along.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from peft.tuners.adalora.layer import RankAllocator

from suite import adapters
from suite.errors import InputError
from suite.training.procedure import Procedure

SCORES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class AdaLora(Procedure):
    """Masks the ranks of every trainable AdaLoRA adapter after each optimiser step, as its config schedules."""

    def __init__(self) -> None:
        self.steps = 0
        self.allocators: dict[str, RankAllocator] = {}
        self.kept: dict[str, dict[str, list[bool]]] = {}
        self._loaded: dict[str, dict[str, torch.Tensor]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the adapters.

        Raises:
            InputError: the run ends before the schedule of one does.
        """
        model = pl_module.model
        self.steps = trainer.global_step
        names = {name for _, layer in adapters.layers(model, "adalora") for name in layer.active_adapters}
        for name in sorted(names):
            config = model.peft_config[name]
            steps = int(trainer.estimated_stepping_batches)
            if config.total_step - config.tfinal > steps:
                raise InputError(
                    f"adalora: total_step is {config.total_step}, and the run has {steps} optimiser steps, so that its "
                    f"budget would never be reached; set total_step to {steps}"
                )
            self.allocators[name] = allocator = RankAllocator(model, config, name)
            for score in SCORES if name in self._loaded else ():
                devices = {key: parameter.device for key, parameter in model.named_parameters()}
                found = self._loaded[name][score]
                setattr(allocator, score, {key: value.to(devices[key]) for key, value in found.items()})

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.steps:
            return
        self.steps = trainer.global_step
        for name, allocator in self.allocators.items():
            self._allocate(pl_module.model, name, allocator)

    def _allocate(self, model: Any, name: str, allocator: RankAllocator) -> None:
        """What peft's `AdaLoraModel.update_and_allocate` does, with the pattern kept here and not in the config."""
        config = allocator.peft_config
        last = config.total_step - config.tfinal
        if allocator.init_bgt <= allocator.target_bgt:
            return
        if self.steps <= last:
            _, pattern = allocator.update_and_allocate(model, self.steps, force_mask=self.steps == last)
            if pattern:
                self.kept[name] = pattern
        elif name in self.kept:
            allocator.mask_using_rank_pattern(model, self.kept[name])

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on a saved adapter holds the ranks that are left."""
        for name, allocator in self.allocators.items():
            if name in self.kept and self.steps >= allocator.peft_config.total_step - allocator.peft_config.tfinal:
                allocator.peft_config.rank_pattern = {}

    def state_dict(self) -> dict[str, Any]:
        scores = {name: {score: dict(getattr(a, score)) for score in SCORES} for name, a in self.allocators.items()}
        return {"scores": scores, "kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded, self.kept = state_dict["scores"], state_dict["kept"]
