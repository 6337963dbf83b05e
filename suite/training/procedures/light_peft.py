"""Light-PEFT's estimation: importances of adapters and of their ranks, while masks on heads and units train.

Gu et al., Light-PEFT: Lightening Parameter-Efficient Fine-Tuning via Early Pruning, arXiv 2406.03792. The method
`light_peft`, attached with LoRA, brings this along. Importances are averaged over the second half of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.optim import Optimizer

from suite import adapters
from suite.adapters.methods.selective.light_peft import Pruning, kept, module_importance, rank_importance
from suite.training.outputs import Outputs
from suite.training.procedure import Procedure, regroup


class LightPeft(Procedure):
    """Records what the choice is made from.

    Args:
        mask_rate: factor of the learning rate for the masks.
    """

    def __init__(self, mask_rate: float = 1.0) -> None:
        self.mask_rate = mask_rate
        self.total, self.counted, self.begins = 0, 0, 0
        self.modules: dict[str, Tensor] = {}
        self.ranks: dict[str, Tensor] = {}
        self._module: L.LightningModule | None = None
        self._valid: Tensor | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._module = pl_module

    def groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Masks do not decay: 1 is where they start."""
        assert self._module is not None
        masks = [p for name, p in self._module.model.named_parameters() if "light_peft_mask." in name]
        parts = regroup(groups, masks, weight_decay=0.0)
        chosen = set(masks)
        return [{**part, "lr": part["lr"] * self.mask_rate} if chosen & {*part["params"]} else part for part in parts]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.begins = int(trainer.estimated_stepping_batches) // 2

    def step(self, batch: Any, forward: Callable[[Any], Outputs]) -> Outputs:
        """Measure, on the way, how much every LoRA layer adds."""
        assert self._module is not None
        if not torch.is_grad_enabled() or self.total < self.begins:
            return forward(batch)
        mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
        self._valid = mask if isinstance(mask, Tensor) and mask.dim() == 2 else None
        hooks = [layer.register_forward_hook(self._measure(name)) for name, layer in lora_layers(self._module.model)]
        try:
            return forward(batch)
        finally:
            for hook in hooks:
                hook.remove()

    def _measure(self, name: str) -> Callable[..., None]:
        def hook(layer: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
            with torch.no_grad():
                change = torch.zeros_like(output)
                for own in layer.active_adapters:
                    if own in layer.lora_A:
                        x = args[0].to(layer.lora_A[own].weight.dtype)
                        change = change + layer.lora_B[own](layer.lora_A[own](x)) * layer.scaling[own]
                shape = output.shape[:-1]
                valid = torch.ones(shape, device=output.device)
                if self._valid is not None and self._valid.shape == shape:
                    valid = self._valid.to(output.device)
                found = torch.nan_to_num(module_importance(output - change, change, valid), nan=0.0, posinf=0.0)
                self.modules[name] = self.modules.get(name, torch.zeros(())) + found.cpu()

        return hook

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        self.total += 1
        if self.total <= self.begins:
            return
        self.counted += 1
        for name, layer in lora_layers(pl_module.model):
            for own in layer.active_adapters:
                a, b = (getattr(layer, part)[own].weight for part in ("lora_A", "lora_B"))
                if a.grad is not None and b.grad is not None:
                    found = rank_importance(a, a.grad, b, b.grad).cpu()
                    self.ranks[name] = self.ranks.get(name, torch.zeros_like(found)) + found

    def decision(
        self, model: nn.Module, *, base: float = 1 / 3, modules: float = 0.75, ranks: float = 0.5
    ) -> tuple[Pruning, dict[str, Any]]:
        """What stays of the base, and the settings of LoRA on it: which layers keep one, and of which rank.

        Args:
            model: as it was trained. base: part of each layer's heads, and of all units, that goes.
            modules, ranks: part of the LoRA modules, and of all ranks of those that stay, that goes.
        """
        masks = {layer.target: layer for _, layer in adapters.layers(model, "light_peft")}
        values = {name: layer.tensor("mask", layer.active_adapters[0]).detach().cpu() for name, layer in masks.items()}
        heads = {name: value for name, value in values.items() if len(value) != masks[name].in_features}
        units = {name: value for name, value in values.items() if name not in heads}
        size = next((masks[name].in_features // len(value) for name, value in heads.items()), 1)
        pruning = Pruning(
            kept(heads, base, "layer") if heads else {}, kept(units, base, "global") if units else {}, size
        )
        worth = {name: total[None] / self.counted for name, total in self.modules.items()}
        left = [name for name, stay in kept(worth, modules).items() if stay] if worth else []
        pattern = {name: len(stay) for name, stay in kept({n: self.ranks[n] for n in left}, ranks).items() if stay}
        return pruning, {"method": "lora", "targets": [*pattern], "rank_pattern": pattern}

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "counted": self.counted, "modules": self.modules, "ranks": self.ranks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.total, self.counted = state_dict["total"], state_dict["counted"]
        self.modules, self.ranks = dict(state_dict["modules"]), dict(state_dict["ranks"])


def lora_layers(model: nn.Module) -> list[tuple[str, Any]]:
    """LoRA's layers by the names that they have in the bare base."""
    from suite.adapters.handle import public_name

    return [(public_name(model, name), layer) for name, layer in model.named_modules() if isinstance(layer, LoraLayer)]
