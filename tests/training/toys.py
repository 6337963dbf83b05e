"""A recipe and data small enough for tests, also run as a command by the tests that kill it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MetricCollection
from transformers import LlamaConfig, LlamaForCausalLM

from suite import adapters
from suite.training import AdapterModule, Outputs, Run, Stage, Stages, TrainerConfig, causal_lm_loss, fit, loader
from suite.training.bound import BoundFit
from suite.training.folder import RunFolder, is_follower

VOCABULARY = 48


def tiny_llama(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """A two-layer Llama with fixed random weights; does not touch the global generator."""
    config = dict(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**{**config, **changes}))


class Language(AdapterModule):
    """LoRA on a tiny Llama; measures the mean loss of samples."""

    def __init__(
        self, base: str = "tiny", architecture: Mapping[str, Any] | None = None, r: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__(base, architecture)
        self.r, self.dropout = r, dropout

    def build(self) -> nn.Module:
        return adapters.attach(
            tiny_llama(), "lora", r=self.r, lora_dropout=self.dropout, targets=["q_proj", "v_proj", "down_proj"]
        )

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        return causal_lm_loss(self.model(input_ids=batch["input_ids"]).logits, batch["labels"])

    def metrics(self) -> MetricCollection:
        return MetricCollection({"sample_loss": MeanMetric()})

    def update(self, metrics: MetricCollection, outputs: Outputs, batch: dict[str, Tensor]) -> None:
        metrics.update(outputs.per_sample)

    def extra(self) -> dict[str, Any]:
        return {"r": self.r}


class Noisy(torch.utils.data.Dataset):
    """Rows of few different tokens, of ragged lengths; some tokens are replaced at random on every draw."""

    def __init__(self, size: int, noise: float = 0.1) -> None:
        generator = torch.Generator().manual_seed(1)
        self.lengths = torch.randint(4, 14, (size,), generator=generator).tolist()
        self.rows = [torch.randint(1, 5, (n,), generator=generator) for n in self.lengths]
        self.noise = noise

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        row = self.rows[index]
        return torch.where(torch.rand(row.shape) < self.noise, torch.randint(1, VOCABULARY, row.shape), row)


def pad(rows: list[Tensor]) -> dict[str, Tensor]:
    """Right-padded tokens and labels, (batch, longest)."""
    return {
        "input_ids": nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0),
        "labels": nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100),
    }


class Rows(L.LightningDataModule):
    """Training and validation batches of `Noisy`."""

    def __init__(
        self, size: int = 22, batch_size: int = 4, num_workers: int = 0, noise: float = 0.1, buckets: bool = False
    ) -> None:
        super().__init__()
        self.size, self.batch_size, self.num_workers, self.noise, self.buckets = (
            size,
            batch_size,
            num_workers,
            noise,
            buckets,
        )

    def train_dataloader(self) -> DataLoader:
        data = Noisy(self.size, self.noise)
        lengths = data.lengths if self.buckets else None
        return loader(data, self.batch_size, lengths=lengths, collate_fn=pad, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Noisy(6), 3, collate_fn=pad)


class Voice(AdapterModule):
    """One adapter of several on the owner's base."""

    def __init__(self, owner: TwoVoices, name: str) -> None:
        super().__init__(owner.base)
        self.adapter_name = name
        # A tuple keeps the owner from becoming a sub-module, whose weights would count twice.
        self._owner = (owner,)

    def prepare(self) -> None:
        self._owner[0].prepare()

    def build(self) -> nn.Module:
        backbone = self._owner[0].backbone
        assert backbone is not None
        return adapters.attach(backbone, "lora", r=2, targets=["q_proj"], name=self.adapter_name)

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        return causal_lm_loss(self.model(input_ids=batch["input_ids"]).logits, batch["labels"])


class TwoVoices(AdapterModule):
    """Trains `first`, then `second`, on one base that is loaded once."""

    def __init__(self, base: str = "tiny", architecture: Mapping[str, Any] | None = None) -> None:
        super().__init__(base, architecture)
        self.backbone: nn.Module | None = None
        self.loaded = 0

    def prepare(self) -> None:
        if self.backbone is None:
            # Loading draws random numbers, as `from_pretrained` of a model with a fresh head does.
            torch.rand(3)
            self.backbone, self.loaded = tiny_llama(), self.loaded + 1

    def build(self) -> nn.Module:
        raise AssertionError("the stages build")

    def compute(self, batch: Any) -> Outputs:
        raise AssertionError("the stages compute")

    def extra(self) -> dict[str, Any]:
        return {"protocol": "two voices"}

    def driver(self, data: Any) -> Stages:
        return Stages([Stage(name, Voice(self, name)) for name in ("first", "second")], owner=self)


class Mortal(Language):
    """Dies in the middle of its `fatal`-th training batch: by SIGKILL, or by an exception inside one process."""

    def __init__(self, fatal: int, by_signal: bool = False, dropout: float = 0.1) -> None:
        super().__init__(dropout=dropout)
        self.fatal, self.by_signal, self.seen = fatal, by_signal, 0

    def compute(self, batch: dict[str, Tensor]) -> Outputs:
        self.seen += self.training
        if self.training and self.seen == self.fatal:
            if self.by_signal:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Dead
        return super().compute(batch)


class Dead(BaseException):
    """Nothing of ours may catch it, as nothing can catch SIGKILL."""


HARD = TrainerConfig(
    max_epochs=3,
    lr=1e-2,
    warmup=3,
    accumulate_grad_batches=2,
    ema=0.9,
    val_every=4,
    monitor="val/loss",
    mode="min",
    checkpoint_every=1,
    log_every=2,
)
"""Everything that keeps state at once; 22 rows in batches of 4 make epochs of 6 batches and 3 steps."""


def double_precision(devices: int) -> TrainerConfig:
    """Five steps on ragged batches, four samples over all devices, accumulated in pairs; the last is not full."""
    return TrainerConfig(
        max_epochs=-1,
        max_steps=5,
        lr=1e-2,
        accumulate_grad_batches=2,
        precision="64-true",
        accelerator="cpu",
        devices=devices,
        strategy="auto" if devices == 1 else "ddp",
        limit_val_batches=0,
    )


class Cut(Mortal):
    """Also says what part of the frozen base this process holds between two steps, and remembers the base."""

    held = 1.0

    def build(self) -> nn.Module:
        model = super().build()
        self.frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
        return model

    def on_train_batch_end(self, *_: Any) -> None:
        frozen = [parameter for parameter in self.parameters() if not parameter.requires_grad]
        local = [parameter.to_local() if isinstance(parameter, DTensor) else parameter for parameter in frozen]
        self.held = sum(part.numel() for part in local) / sum(parameter.numel() for parameter in frozen)

    def extra(self) -> dict[str, Any]:
        return {"held": self.held}


def sharded(devices: int) -> TrainerConfig:
    """`double_precision` with all that could trip over shards: recomputation, clipping, averages, the best weights."""
    return replace(
        double_precision(devices),
        strategy="auto" if devices == 1 else "fsdp",
        gradient_checkpointing=True,
        gradient_clip_val=0.01,
        ema=0.5,
        limit_val_batches=None,
        val_every=2,
        monitor="val/loss",
        mode="min",
        checkpoint_every=1,
    )


def in_turn(devices: int, folder: Path) -> Run:
    """Two adapters in turn on one base."""
    owner, rows = TwoVoices(), rows_over(devices)
    if not is_follower():
        folder.mkdir(parents=True)
        RunFolder(folder).write_config({})
    return owner.driver(rows).run(BoundFit(folder, sharded(devices), rows, record={}))


def rows_over(devices: int) -> Rows:
    """17 rows: the fifth batch of an epoch has one sample, so that one of two ranks has none."""
    return Rows(size=17, batch_size=4 // devices)


def train_sharded(folder: Path) -> None:
    """Die in the fourth of five steps; when called again, go on, and train two adapters in turn."""
    dead = (folder / "one" / "last.ckpt").is_file()
    recipe = Cut(0 if dead else 7, dropout=0.0)
    fit(recipe, rows_over(2), sharded(2), folder=folder / "one", resume=folder / "one" if dead else None)
    whole = recipe.model.state_dict()
    assert all(torch.equal(whole[name], tensor) for name, tensor in recipe.frozen.items())
    in_turn(2, folder / "turns")


if __name__ == "__main__":
    if sys.argv[2] == "ddp":
        fit(Language(dropout=0.0), rows_over(2), double_precision(2), folder=sys.argv[1])
    elif sys.argv[2] == "fsdp":
        train_sharded(Path(sys.argv[1]))
    else:
        fit(Mortal(int(sys.argv[2]), by_signal=True), Rows(), HARD, folder=sys.argv[1])
