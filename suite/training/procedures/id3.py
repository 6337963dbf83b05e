"""ID3: of what could train, a few numbers more do at every step.

Agarwal et al., Step-by-Step Unmasking for Parameter-Efficient Fine-tuning of Large Language Models, arXiv 2408.14470,
algorithm 1. The method `id3` brings this along; named in a configuration it filters whatever trains, LoRA's factors
too.

A budget of b numbers over N steps makes b (N + 1) / 2 updates of single numbers instead of b N.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from suite import adapters
from suite.adapters.budget import best, numbers
from suite.errors import InputError
from suite.training.procedure import Procedure


def unmasked_at(step: int, budget: int, steps: int) -> int:
    """How many numbers a step unmasks: evenly, what is left over at the first steps, which may be all there is."""
    return budget // steps + (step < budget % steps)


class Id3(Procedure):
    """Unmasks numbers by D = |g| / (|theta| + eps)^exponent and holds all others where they are.

    Weight decay is applied to what is unmasked alone: an optimiser's own would move the rest as well.

    Args:
        budget: numbers that train in the end, or a part such as `0.5%` of what trains; None: as the method says.
        exponent: of the size in D; 0 goes by the gradient alone.
        eps: added to the size.
    """

    def __init__(self, budget: int | str | None = None, exponent: float = 0.0, eps: float = 1e-3) -> None:
        self.budget, self.exponent, self.eps = budget, exponent, eps
        self.done, self.updates, self.count, self.steps = 0, 0, 0, 0
        self.masks: dict[str, Tensor] = {}
        self._resumed: int | None = None
        self.decays: dict[str, float] = {}
        self._module: L.LightningModule | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._module = pl_module

    def filtered(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters that are filtered, by name: those of the method `id3`, or whatever trains."""
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        own = {name: parameter for name, parameter in trained.items() if ".suite_id3." in f".{name}"}
        return own or trained

    def groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Take the decay of what is filtered over from the optimiser."""
        assert self._module is not None
        names = {parameter: name for name, parameter in self.filtered(self._module.model).items()}
        parts = []
        for group in groups:
            mine = [parameter for parameter in group["params"] if parameter in names]
            self.decays.update({names[parameter]: group.get("weight_decay", 0.0) for parameter in mine})
            rest = [parameter for parameter in group["params"] if parameter not in names]
            parts += [{**group, "params": rest}, {**group, "params": mine, "weight_decay": 0.0}]
        return [part for part in parts if part["params"]]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the schedule.

        Raises:
            InputError: there is no budget, or it does not fit what trains.
        """
        model = pl_module.model
        for _, layer in adapters.layers(model, "id3"):
            config = layer.settings[layer.active_adapters[0]]
            self.budget, self.exponent, self.eps = config.budget, config.exponent, config.eps
        if self.budget is None:
            raise InputError("procedures: id3: name a budget, e.g. budget: 0.5%")
        found = self.filtered(model)
        self.count = numbers(self.budget, sum(p.numel() for p in found.values()), "procedures: id3: budget")
        self.steps = int(trainer.estimated_stepping_batches)
        fresh = not self.masks
        for name, parameter in found.items():
            mask = self.masks.get(name)
            empty = torch.zeros_like(parameter, dtype=torch.bool)
            self.masks[name] = empty if mask is None else mask.to(parameter.device)
        if self._resumed is not None:
            self.count = self._resumed
        elif fresh:
            self._take_up(model, found)

    def _take_up(self, model: nn.Module, found: dict[str, nn.Parameter]) -> None:
        """What an adapter has learnt before is unmasked from the start, and part of the budget."""
        names = {parameter: name for name, parameter in found.items()}
        for _, layer in adapters.layers(model, "id3"):
            for own in layer._names_of(adapter := layer.active_adapters[0]):
                self.masks[names[layer.tensor(own, adapter)]].view(-1)[layer.changed(own, adapter)] = True
        self.count = max(0, self.count - sum(int(mask.sum()) for mask in self.masks.values()))

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        found = self.filtered(pl_module.model)
        self.unmask(found)
        rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in found.items():
            decay = rates.get(parameter, 0.0) * self.decays.get(name, 0.0)
            if decay:
                parameter.sub_(decay * parameter * self.masks[name])

    @torch.no_grad()
    def unmask(self, parameters: dict[str, nn.Parameter]) -> None:
        """One step of the schedule: more numbers are unmasked, and the gradients of the others become 0."""
        scores = {}
        for name, parameter in parameters.items():
            if parameter.grad is None:
                continue
            if not parameter.grad.isfinite().all():
                raise InputError(f"id3: step {self.done}: the gradient of {name} is not finite, nothing can be chosen")
            score = parameter.grad.abs() / (parameter.abs() + self.eps) ** self.exponent
            scores[name] = score.masked_fill(self.masks[name], -1.0)
        for name, places in best(scores, unmasked_at(self.done, self.count, self.steps)).items():
            self.masks[name].view(-1)[places] = True
        for name in scores:
            parameters[name].grad.mul_(self.masks[name])
        self.done += 1
        self.updates += sum(int(mask.sum()) for mask in self.masks.values())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check that what is masked never moved."""
        names = {parameter: name for name, parameter in self.filtered(pl_module.model).items()}
        for _, layer in adapters.layers(pl_module.model, "id3"):
            for name in layer._names_of(adapter := layer.active_adapters[0]):
                mask = self.masks[names[layer.tensor(name, adapter)]]
                if not mask.view(-1)[layer.changed(name, adapter)].all():
                    raise RuntimeError(f"{layer.target}.{name}: numbers moved that id3 had masked")

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.done, "updates": self.updates, "count": self.count, "masks": dict(self.masks)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.done, self.updates, self.masks = (state_dict[name] for name in ("step", "updates", "masks"))
        self._resumed = state_dict["count"]
