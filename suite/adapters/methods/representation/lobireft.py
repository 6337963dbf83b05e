"""LobiReFT: a learned bias inside a low-rank subspace.

Wu et al., ReFT: Representation Finetuning for Language Models, arXiv 2404.03592, section 3.2 and appendix:

    h + R^T b,    R (r, d) with orthonormal rows
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from suite.adapters.carriers import tuner
from suite.adapters.methods.representation.reft import Reft, ReftConfig, reft_info


class LobireftConfig(ReftConfig):
    """Settings of LobiReFT."""


@tuner(reft_info("lobireft", "hidden * r + r"), LobireftConfig)
class Lobireft(Reft):
    """R^T b."""

    parameter_names: ClassVar = ("rotate", "learned")

    def edit(self, h: Tensor, adapter: str, part: int) -> Tensor:
        return (self.tensor("learned", adapter)[part] @ self.rotation(adapter, part).T).expand_as(h)
