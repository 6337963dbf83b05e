"""MTLoRA: one LoRA that all tasks share, and beside it one for each task.

Agiza et al., MTLoRA: A Low-Rank Adaptation Approach for Efficient Multi-Task Learning, arXiv 2403.20320, section 3.2.
With c the scales, x the shared and x_t a task's own input (or x again):

    matrix:    y = W x + c B A x                                  y_t = W x + c_t B_t A_t x_t
    matrixv2:  y = W x + c B A x                                  y_t = W x + c B A x + c_t B_t A_t x_t
    addition:  y = W x + LayerNorm(sum_t y_t)                     y_t = W x + c_t B_t A_t x_t

A layer called as usual gives y; inside `adapters.context(model, task="semseg")` it gives that task's y_t. A model
written for it calls `branches`, which gives y and every y_t. Where a layer has no tasks it is a LoRA and can be merged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.adapters.carriers import TunerConfig, WeightChange, tuner
from suite.adapters.registry import MethodInfo
from suite.errors import InputError


@dataclass
class MtloraConfig(TunerConfig):
    """Settings of MTLoRA."""

    r: int = field(default=64, metadata={"help": "Rank of the shared change."})
    scale: float = field(default=4.0, metadata={"help": "c, the factor of the shared change.", "live": True})
    tasks: dict[str, int] = field(default_factory=dict, metadata={"help": "The rank of each task by its name."})
    task_scale: dict[str, float] = field(
        default_factory=dict, metadata={"help": "c_t by task; 4 for the others.", "live": True}
    )
    task_modules: list[str] | None = field(
        default=None, metadata={"help": "Endings of the targets that have task branches; None for all targets."}
    )
    shared_mode: Literal["matrix", "matrixv2", "addition"] = field(
        default="matrix", metadata={"help": "How shared and task changes meet; see `suite methods mtlora`."}
    )
    dropout: float = field(default=0.05, metadata={"help": "On the adapter's input.", "live": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r < 1 or any(rank < 1 for rank in self.tasks.values()):
            raise ValueError(f"r={self.r} and the ranks of tasks {self.tasks} must be at least 1")
        if unknown := sorted(set(self.task_scale) - set(self.tasks)):
            raise ValueError(f"task_scale names {', '.join(unknown)}, which tasks does not")
        if self.shared_mode == "addition" and not self.tasks:
            raise ValueError("shared_mode addition sums up the changes of tasks; name some in tasks")


@tuner(
    MethodInfo("mtlora", paper="2403.20320", trainable="r * (in + out)", quantizable=True, scalable=True, by_row=True),
    MtloraConfig,
)
class Mtlora(WeightChange):
    """W x + c B A x, or what a task makes of it."""

    parameter_names: ClassVar = ("lora_shared_A", "lora_shared_B")
    module_names: ClassVar = ("lora_tasks_A", "lora_tasks_B", "lora_norm")

    def create(self, adapter: str, config: MtloraConfig) -> dict[str, Tensor | nn.Module]:
        a = {task: self._started(rank) for task, rank in self.tasks(config).items()}
        b = {task: torch.zeros(self.out_features, rank) for task, rank in self.tasks(config).items()}
        std = 0.0 if config.init_weights else 0.1
        made: dict[str, Tensor | nn.Module] = {}
        if config.shared_mode != "addition" or not a:
            made = {
                "lora_shared_A": self._started(config.r),
                "lora_shared_B": std * torch.randn(self.out_features, config.r),
            }
        if a:
            made |= {"lora_tasks_A": nn.ParameterDict(a), "lora_tasks_B": nn.ParameterDict(b)}
        return made | ({"lora_norm": nn.LayerNorm(self.out_features)} if a and config.shared_mode == "addition" else {})

    def _started(self, rank: int) -> Tensor:
        a = torch.empty(rank, self.in_features)
        return nn.init.kaiming_uniform_(a, a=math.sqrt(5))

    def tasks(self, config: MtloraConfig) -> dict[str, int]:
        """The tasks that this layer has branches for."""
        named = config.task_modules
        here = named is None or any(self.target == name or self.target.endswith(f".{name}") for name in named)
        return config.tasks if here else {}

    def shared(self, x: Tensor, adapter: str) -> Tensor | float:
        """c B A x: (..., out); 0 where there is none."""
        if adapter not in getattr(self, f"{self.prefix}lora_shared_A"):
            return 0.0
        a, b = self.tensor("lora_shared_A", adapter), self.tensor("lora_shared_B", adapter)
        return self.settings[adapter].scale * functional.linear(functional.linear(self._input(x, a, adapter), a), b)

    def of_task(self, x: Tensor, task: str, adapter: str) -> Tensor:
        """c_t B_t A_t x: (..., out)."""
        a, b = (self.tensor(name, adapter)[task] for name in ("lora_tasks_A", "lora_tasks_B"))
        scale = self.settings[adapter].task_scale.get(task, 4.0)
        return scale * functional.linear(functional.linear(self._input(x, a, adapter), a), b)

    def _input(self, x: Tensor, a: Tensor, adapter: str) -> Tensor:
        x = self._cast_input_dtype(x, a.dtype)
        return functional.dropout(x, self.settings[adapter].dropout, self.training)

    def apply_to(self, x: Tensor, y: Tensor, adapter: str) -> Tensor:
        config, task = self.settings[adapter], self.context.get("task")
        tasks = self.tasks(config)
        if task is not None and task not in config.tasks:
            raise InputError(f"mtlora: there is no task {task!r} (tasks: {', '.join(config.tasks) or 'none'})")
        if task in tasks:
            y = y + self.of_task(x, task, adapter)
            return y + self.shared(x, adapter) if config.shared_mode == "matrixv2" else y
        if config.shared_mode == "addition" and tasks:
            return y + self.tensor("lora_norm", adapter)(sum(y + self.of_task(x, name, adapter) for name in tasks))
        return y + self.shared(x, adapter)

    def branches(self, x: Tensor, x_tasks: Mapping[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """y and every task's y_t of the one active adapter.

        Args:
            x: (..., in).
            x_tasks: each task's own input; None for x.
        """
        (adapter,) = self.present()
        config, y = self.settings[adapter], self.base_layer(x)
        own = {
            task: self.of_task(x if x_tasks is None else x_tasks[task], task, adapter) for task in self.tasks(config)
        }
        shared = self.shared(x, adapter)
        if config.shared_mode == "addition" and own:
            shared = self.tensor("lora_norm", adapter)(sum(y + value for value in own.values()))
        below = y + shared if config.shared_mode == "matrixv2" else y
        return y + shared, {task: below + value for task, value in own.items()}

    def change(self, weight: Tensor, bias: Tensor | None, adapter: str) -> tuple[Tensor, Tensor | None]:
        config = self.settings[adapter]
        if self.tasks(config):
            raise InputError(f"{self.target}: mtlora cannot be merged where tasks have changes of their own")
        a, b = self.tensor("lora_shared_A", adapter), self.tensor("lora_shared_B", adapter)
        return weight + config.scale * (b @ a).to(weight.dtype), bias


def official_tensors(state: dict[str, Tensor]) -> dict[str, Any]:
    """The authors' keys of one layer as our tensors; those of tasks and of the norm by their own names inside."""
    found: dict[str, Any] = {}
    for key, value in state.items():
        name, _, inside = key.partition(".")
        if name.startswith("lora_"):
            found[name] = {**found.get(name, {}), inside: value} if inside else value
    return found
