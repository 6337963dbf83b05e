"""DiReFT: LoReFT without the difference to where hidden states are.

Wu et al., ReFT: Representation Finetuning for Language Models, arXiv 2404.03592, section 3.2 and appendix:

    h + R^T phi(W h + b),    R (r, d) with orthonormal rows
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from suite.adapters.carriers import tuner
from suite.adapters.methods.representation.reft import Reft, ReftConfig, reft_info


class DireftConfig(ReftConfig):
    """Settings of DiReFT."""


@tuner(reft_info("direft", "2 * hidden * r + r"), DireftConfig)
class Direft(Reft):
    """R^T phi(W h + b)."""

    parameter_names: ClassVar = ("rotate", "weight", "bias")

    def edit(self, h: Tensor, adapter: str, part: int) -> Tensor:
        return self.source(h, adapter, part) @ self.rotation(adapter, part).T
