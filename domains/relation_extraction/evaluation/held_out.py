"""What trained adapters reach on the validation documents of their experiment, for `suite compare`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from suite.errors import InputError

if TYPE_CHECKING:
    from suite.training import ExperimentConfig


def scorer(config: ExperimentConfig) -> Callable[[Path], Mapping[str, float]]:
    """AutoRE's F1, precision and recall of the three steps together, which no one step's loss tells.

    Documents are read blind, their text alone, with answers constrained to the schema.

    Raises:
        InputError: the data section names no validation documents.
    """
    from domains.relation_extraction.evaluation.judge import judge

    documents = config.data.get("val")
    if not documents:
        raise InputError("data.val names no documents to score adapters on; name some, e.g. tiny:val:40")

    def score(adapter: Path) -> Mapping[str, float]:
        source = {"adapter": str(adapter.absolute()), "base": config.base}
        evaluation, _ = judge(str(documents), source, {"constrained": True})
        reached = evaluation.report.micro
        return {"F1": reached.f1, "precision": reached.precision, "recall": reached.recall}

    return score
