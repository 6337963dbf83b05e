"""What the fake domain trains and predicts with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from suite import adapters, hub
from suite.devices import choose_device
from suite.errors import InputError
from suite.training import AdapterModule, Outputs, loader
from tests.domains.fake import FakeResult


class Net(nn.Module):
    """(batch, 4) -> (batch, 3), with the same weights every time."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.inner = nn.Linear(4, width)
        self.outer = nn.Linear(width, 3)
        if self.inner.weight.is_meta:
            return
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            # Lightning builds on the device that trains; the numbers are to be the same everywhere.
            drawn = torch.randn(parameter.shape, generator=generator, device="cpu") * 0.3
            parameter.data = drawn.to(parameter.device)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(torch.relu(self.inner(x)))


class FakeRecipe(AdapterModule):
    def __init__(self, base: str = "tiny", architecture: Mapping[str, Any] | None = None, r: int = 4) -> None:
        super().__init__(base, architecture)
        self.r = r

    def build(self) -> nn.Module:
        return adapters.attach(Net(), "lora", targets=["inner", "outer"], r=self.r, lora_alpha=2 * self.r)

    def compute(self, batch: Sequence[Tensor]) -> Outputs:
        x, y = batch
        logits = self.model(x)
        per_sample = nn.functional.cross_entropy(logits, y, reduction="none")
        return Outputs(per_sample.mean(), per_sample=per_sample, logits=logits, target=y)

    def metrics(self) -> MetricCollection:
        return MetricCollection({"accuracy": MulticlassAccuracy(3)})


class FakeData(L.LightningDataModule):
    """The class is which of the first three numbers is the largest."""

    def __init__(self, size: int = 512, batch_size: int = 8) -> None:
        super().__init__()
        self.size = size
        self.batch_size = batch_size

    def _set(self, seed: int, size: int) -> TensorDataset:
        x = torch.randn(size, 4, generator=torch.Generator().manual_seed(seed))
        return TensorDataset(x, x[:, :3].argmax(dim=1))

    def train_dataloader(self) -> DataLoader:
        return loader(self._set(1, self.size), self.batch_size)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self._set(2, 256), 64)


class FakePredictor:
    suffixes = (".txt",)

    def __init__(self, model: nn.Module, device: str) -> None:
        self.device = device
        self.model = model.to(device).eval()

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> FakePredictor:
        return cls(adapters.load(Net(), hub.resolve(adapter, "fake")), choose_device(device))

    def predict(
        self, inputs: Sequence[Path | str], scale: float = 1.0, names: Sequence[str] = ("a", "b", "c"), **options: Any
    ) -> Iterator[FakeResult]:
        for path in inputs:
            try:
                x = (_numbers(Path(path)) * scale).to(self.device)
            except InputError as error:
                yield FakeResult(str(path), error=str(error))
                continue
            with torch.no_grad():
                chances = self.model(x[None]).softmax(dim=-1)[0]
            label = names[int(chances.argmax())]
            yield FakeResult(
                str(path), label.upper() if options.get("style") == "loud" else label, tuple(chances.tolist())
            )


def _numbers(path: Path) -> Tensor:
    words = path.read_text(encoding="utf-8").split()
    try:
        numbers = torch.tensor([float(word) for word in words])
    except ValueError as error:
        raise InputError(f"{path}: {error}; write four numbers") from error
    if len(numbers) != 4:
        raise InputError(f"{path}: {len(numbers)} numbers; write four")
    return numbers


def load_base(folder: Path) -> nn.Module:
    """The base in a folder."""
    net = Net()
    net.load_state_dict(load_file(folder / "net.safetensors"))
    return net


def save_base(model: nn.Module, out: Path, source: Path) -> None:
    """A base's folder: the weights, and a card that stays with them."""
    save_file(model.state_dict(), out / "net.safetensors")
    if (source / "card.txt").is_file():
        shutil.copy2(source / "card.txt", out)
