"""ConsReFT: inside a low-rank subspace hidden states are set to one learned point.

Wu et al., ReFT: Representation Finetuning for Language Models, arXiv 2404.03592, section 3.2 and appendix:

    h + R^T (b - R h),    R (r, d) with orthonormal rows
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from suite.adapters.carriers import tuner
from suite.adapters.methods.representation.reft import Reft, ReftConfig, reft_info


class ConsreftConfig(ReftConfig):
    """Settings of ConsReFT."""


@tuner(reft_info("consreft", "hidden * r + r", half=True), ConsreftConfig)
class Consreft(Reft):
    """R^T (b - R h)."""

    parameter_names: ClassVar = ("rotate", "learned")

    def edit(self, h: Tensor, adapter: str, part: int) -> Tensor:
        rotation = self.rotation(adapter, part)  # (d, r)
        return (self.tensor("learned", adapter)[part] - h @ rotation) @ rotation.T
