"""NoReFT: the projections are free, not orthogonal.

Wu et al., ReFT: Representation Finetuning for Language Models, arXiv 2404.03592, section 3.2 and appendix:

    h + W2^T (phi(W1 h + b1) - (W2 h + b2))
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from suite.adapters.carriers import tuner
from suite.adapters.methods.representation.reft import Reft, ReftConfig, reft_info


class NoreftConfig(ReftConfig):
    """Settings of NoReFT."""


@tuner(reft_info("noreft", "2 * hidden * r + 2 * r"), NoreftConfig)
class Noreft(Reft):
    """W2^T (phi(W1 h + b1) - (W2 h + b2))."""

    parameter_names: ClassVar = ("project", "project_bias", "weight", "bias")

    def edit(self, h: Tensor, adapter: str, part: int) -> Tensor:
        step = self.source(h, adapter, part) - self.source(h, adapter, part, "project")
        return step @ self.tensor("project", adapter)[part]
