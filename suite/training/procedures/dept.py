"""DePT's two learning rates: a large one for the prompt, a small one for the change of the embeddings.

Shi and Lipani, arXiv 2309.05173, section 3.1. The method `dept` brings this along.
"""

from __future__ import annotations

from typing import Any

import lightning as L

from suite.adapters.methods.prompt.dept import Dept as Encoder
from suite.training.procedure import Procedure, regroup


class Dept(Procedure):
    """Puts the prompts into a parameter group of their own, where their adapter asks for a learning rate."""

    def __init__(self) -> None:
        self._module: L.LightningModule | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._module = pl_module

    def groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert self._module is not None
        for encoder in self._module.modules():
            if isinstance(encoder, Encoder) and encoder.settings.prompt_lr is not None:
                groups = regroup(groups, [encoder.prompt_embeddings], lr=encoder.settings.prompt_lr)
        return groups
