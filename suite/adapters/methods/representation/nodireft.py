"""NoDiReFT: DiReFT with a free projection in the place of the orthogonal one.

Wu et al., ReFT: Representation Finetuning for Language Models, arXiv 2404.03592, section 3.2 and appendix:

    h + W2^T phi(W1 h + b1)
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from suite.adapters.carriers import tuner
from suite.adapters.methods.representation.reft import Reft, ReftConfig, reft_info


class NodireftConfig(ReftConfig):
    """Settings of NoDiReFT."""


@tuner(reft_info("nodireft", "2 * hidden * r + r"), NodireftConfig)
class Nodireft(Reft):
    """W2^T phi(W1 h + b1)."""

    parameter_names: ClassVar = ("project", "weight", "bias")

    def edit(self, h: Tensor, adapter: str, part: int) -> Tensor:
        return self.source(h, adapter, part) @ self.tensor("project", adapter)[part]
