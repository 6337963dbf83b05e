"""Training data: pairs of a source and its tests, encoded, in padded or packed batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from domains.unit_tests.data.sources import read_pairs
from domains.unit_tests.model import encoding
from suite.errors import InputError
from suite.generation.samples import EncodedSamples
from suite.training.packing import text_loader


class UnitTestData(L.LightningDataModule):
    """Pairs of the sources that a configuration names, encoded for the base of the recipe that trains on them.

    Args:
        train: what to train on (see `sources`): a file, a folder, `world:train:200`; several are joined.
        val: what to validate on; None: no validation.
        level: of a Methods2Test corpus: how much of the focal class its sources hold.
        block_size: most tokens of a source and its target; the others are left out and counted, as the study does.
        multiple: of tokens, to which batches are padded under prompt tuning in the study's count; None: none.
        batch_size: pairs a batch.
        max_tokens: most tokens of a padded batch; `batch_size` is then the most pairs.
        packing: fill rows of `block_size` tokens with several pairs, attention never crossing from one to another.
        seed: of the made world.
    """

    def __init__(
        self,
        train: str | list[str] = "world:train",
        val: str | list[str] | None = "world:validation:30",
        level: str = "src_fm_fc_ms_ff",
        block_size: int = 1024,
        multiple: int | None = None,
        batch_size: int = 8,
        max_tokens: int | None = None,
        packing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.sources = {"train": _listed(train), "val": _listed(val)}
        self.level, self.block_size, self.multiple = level, block_size, multiple
        self.batch_size, self.max_tokens, self.packing, self.seed = batch_size, max_tokens, packing, seed
        self.encoded: dict[str, EncodedSamples] = {}
        self.dropped: dict[str, int] = {}
        self._tokenizer: Callable[[], Any] | None = None
        self._append_end, self._begin, self._virtual = True, False, 0

    def bind(self, tokenizer: Callable[[], Any], append_end: bool, begin: bool, virtual: int) -> None:
        """Take what the recipe knows; the tokenizer is asked for when pairs are encoded, by when it is loaded.

        Args:
            virtual: tokens that stand before every source.
        """
        self._tokenizer, self._append_end, self._begin, self._virtual = tokenizer, append_end, begin, virtual

    def setup(self, stage: str | None = None) -> None:
        for split, sources in self.sources.items():
            if sources and split not in self.encoded:
                self.encoded[split] = self._encode(split, sources)

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        return self._loader("val", shuffle=False) if self.sources["val"] else []

    def _encode(self, split: str, sources: Sequence[str]) -> EncodedSamples:
        assert self._tokenizer is not None, "no recipe is bound to the data"
        tokenizer, encoded, dropped = self._tokenizer(), EncodedSamples(), 0
        most = encoding.block_size(self.block_size, self._virtual, self.multiple) if self._virtual else self.block_size
        for source in sources:
            for pair in read_pairs(source, level=self.level, seed=self.seed):
                one = encoding.sample(tokenizer, pair.source, pair.target, self._append_end, self._begin)
                if len(one.input_ids) <= most:
                    encoded.add(one)
                else:
                    dropped += 1
        self.dropped[split] = dropped
        if dropped:
            line = f"{split}: {dropped} of {dropped + len(encoded)} pairs have more than {most} tokens and are left out"
            print(line, file=sys.stderr, flush=True)
        if not len(encoded):
            raise InputError(f"data: {split} ({', '.join(sources)}) gives no pair of at most {most} tokens")
        return encoded

    def _loader(self, split: str, shuffle: bool) -> DataLoader:
        encoded = self.encoded[split]
        packed_to = self.block_size if self.packing else None
        return text_loader(encoded, self.batch_size, shuffle, self.max_tokens, packed_to)


def _listed(source: str | list[str] | None) -> list[str]:
    return [] if source is None else [source] if isinstance(source, str) else list(source)
