"""The recipe: what is adapted, what is minimised, what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from domains.music.model.skeleton import CLASSES, Manifest, load_base
from suite import adapters
from suite.adapters.section import AdapterSection
from suite.training import AdapterModule, Outputs

LORA: dict[str, Any] = {"method": "lora", "targets": ["inner", "outer"], "r": 4, "lora_alpha": 8}
PRESETS = {"small": LORA}


class MusicRecipe(AdapterModule):
    """Cross-entropy of the place, the backbone frozen.

    Args:
        base: reference of the backbone.
        architecture: fields of the backbone that differ from the base's, e.g. `{width: 32}`.
        adapter: what is attached: `{method: ..., targets: ..., <settings>}`, or `{preset: small, <settings>}`.
    """

    def __init__(
        self,
        base: str = "tiny",
        architecture: dict[str, Any] | None = None,
        adapter: dict[str, Any] = LORA,
    ) -> None:
        super().__init__(base, architecture)
        self.adapter = AdapterSection.of(adapter, PRESETS).spec(PRESETS)

    def build(self) -> nn.Module:
        return adapters.attach(load_base(self.base, **(self.architecture or {})), self.adapter)

    def compute(self, batch: Sequence[Tensor]) -> Outputs:
        x, place = batch  # (batch, 4), (batch,)
        logits = self.model(x)  # (batch, 3)
        losses = nn.functional.cross_entropy(logits, place, reduction="none")
        return Outputs(losses.mean(), losses, logits, place)

    def metrics(self) -> MetricCollection:
        return MetricCollection({"accuracy": MulticlassAccuracy(CLASSES)})

    def extra(self) -> dict[str, Any]:
        return Manifest(self.model.inner.out_features).to_dict()

    def next_steps(self, run: Path) -> list[str]:
        adapter = run / "adapter"
        where = adapter if adapter.is_absolute() else f"./{adapter}"
        return [f"suite music predict FILE --adapter {where} --out out/"]
