"""Batches whose order is a function of (seed, epoch, position), so that a stopped run resumes at the very next one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler
from torchdata.stateful_dataloader import StatefulDataLoader

from suite.errors import InputError
from suite.training.randomness import current_seed, derive, reseed

BUCKET = 50
"""Batches that are sorted by length together: enough to save padding, few enough to keep the order random."""


_SAID = {
    "size": "on {} samples and now finds {}; resume it on the same data",
    "batch": "with batches of {} samples over all devices and now has {}; resume it with the same batch_size",
    "tokens": "with max_tokens and ranks {} and now has {}; resume it with the same",
    "shuffle": "with batches that were shuffled: {}, and now are: {}; resume it with the same loader",
    "bucketed": "with batches that were bucketed by length: {}, and now are: {}; resume it with the same loader",
    "drop_last": "with drop_last {} and now has {}; resume it with the same loader",
}
"""How a loader that differs from the one before is refused, by what differs."""


@dataclass(frozen=True)
class Draw:
    """One sample as the sampler hands it to the data set: which, the seed of its random transforms, and the epoch."""

    index: int
    seed: int
    epoch: int = 0


class Seeded(Dataset):
    """A map-style data set whose random transforms depend on (seed, epoch, index) alone, not on workers or order.

    One that has an `epoch` gets it set before each sample: its samples may then be others in every epoch by a rule.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Any:
        reseed(draw.seed)
        if hasattr(self.dataset, "epoch"):
            self.dataset.epoch = draw.epoch
        return self.dataset[draw.index]


class ResumableBatches(Sampler[list[Draw]]):
    """Batch sampler that counts what it delivered, splits every global batch over the ranks and buckets by length.

    Args:
        size: number of samples.
        batch_size: samples a rank; with `max_tokens` the most samples a rank.
        shuffle: a new order every epoch; otherwise the order of the data.
        seed: of the order and of the samples' transforms; None is the seed of the run that takes the batches, and
            outside of one the state of torch's generator at the start.
        lengths: (size,) lengths; batches are then made of samples of similar length.
        max_tokens: with `lengths`: the most tokens of a batch, padding included.
        drop_last: leave out the last global batch when it is not full.

    Raises:
        InputError: `lengths` do not match, `max_tokens` comes without them or a sample alone exceeds it.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int | None = 0,
        lengths: Sequence[int] | None = None,
        max_tokens: int | None = None,
        drop_last: bool = False,
    ) -> None:
        if size < 1:
            raise InputError("the training data hold no sample; check the data section of the configuration")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; give at least 1")
        if lengths is not None and len(lengths) != size:
            raise InputError(f"{len(lengths)} lengths for {size} samples; give one length a sample")
        if max_tokens is not None:
            if lengths is None:
                raise InputError("max_tokens needs the samples' lengths; give lengths too")
            longest = max(lengths)
            if longest > max_tokens:
                raise InputError(
                    f"a sample of {longest} tokens exceeds max_tokens {max_tokens}; cut it or raise the limit"
                )
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle
        self._seed, self._initial_seed = seed, torch.initial_seed()
        self.lengths, self.max_tokens, self.drop_last = lengths, max_tokens, drop_last
        self.epoch = 0
        self.delivered = 0
        self._planned: tuple[tuple[int, ...], list[list[int]]] | None = None

    @property
    def seed(self) -> int:
        """Of the order and of the samples' transforms.

        Looked up on use: processes of one run make their loaders each for itself, with generators that differ.
        """
        if self._seed is not None:
            return self._seed
        known = current_seed()
        return self._initial_seed if known is None else known

    @property
    def sampler(self) -> ResumableBatches:
        """Where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch; a new epoch begins at its first batch."""
        if epoch != self.epoch:
            self.epoch, self.delivered = epoch, 0

    def __len__(self) -> int:
        return len(self._plan())

    def __iter__(self) -> Iterator[list[Draw]]:
        rank, world = _rank_and_world()
        # Lightning stops at the last batch without asking for one more: a full count means that a new epoch begins.
        if self.delivered >= len(self):
            self.epoch, self.delivered = self.epoch + 1, 0
        while self.delivered < len(self):
            batch = self._plan()[self.delivered]
            self.delivered += 1
            # A rank that the last batch leaves without a sample repeats one, which the trainer gives no weight.
            own = batch[rank::world] or batch[:1]
            yield [Draw(index, derive(self.seed, "sample", self.epoch, index), self.epoch) for index in own]

    def without_sample(self, position: int) -> bool:
        """Whether this rank's batch at `position` of the current epoch only repeats another rank's sample."""
        rank, _ = _rank_and_world()
        return rank >= len(self._plan()[position])

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "delivered": self.delivered, "seed": self.seed, **self._facts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the batches that were delivered.

        Raises:
            InputError: they were cut from the data in another way, so that the same count means other samples.
        """
        now = self._facts()
        for name, words in _SAID.items():
            if name in state and state[name] != now[name]:
                raise InputError(f"the run was started {words.format(state[name], now[name])}")
        self.epoch, self.delivered, self._seed = state["epoch"], state["delivered"], state["seed"]
        self._planned = None

    def _facts(self) -> dict[str, Any]:
        """What, beside the seed, decides which samples lie in which batch."""
        _, world = _rank_and_world()
        return {
            "size": self.size,
            "batch": self.batch_size * world,
            # Tokens are counted for each rank, so that the same limit over other ranks cuts other batches.
            "tokens": None if self.max_tokens is None else (self.max_tokens, world),
            "shuffle": self.shuffle,
            "bucketed": self.lengths is not None,
            "drop_last": self.drop_last,
        }

    def _plan(self) -> list[list[int]]:
        """The epoch's global batches; kept until the epoch or the number of ranks changes."""
        _, world = _rank_and_world()
        key = (self.epoch if self.shuffle else 0, world, self.seed)
        if self._planned is None or self._planned[0] != key:
            self._planned = key, self._global_batches(world)
        return self._planned[1]

    def _global_batches(self, world: int) -> list[list[int]]:
        generator = random.Random(derive(self.seed, "order", self.epoch))
        order = list(range(self.size))
        if self.shuffle:
            generator.shuffle(order)
        if self.lengths is None:
            batches = _cut(order, self.batch_size * world)
        else:
            bucket = BUCKET * self.batch_size * world
            batches = [
                batch
                for start in range(0, self.size, bucket)
                for batch in self._by_length(order[start : start + bucket], world)
            ]
            if self.shuffle:
                generator.shuffle(batches)
        if self.drop_last:
            full = self.batch_size * world
            batches = [batch for batch in batches if self.max_tokens is not None or len(batch) == full]
        return batches

    def _by_length(self, bucket: list[int], world: int) -> list[list[int]]:
        """Cut a bucket, longest first, so that a batch holds similar lengths and no rank exceeds `max_tokens`."""
        assert self.lengths is not None
        lengths = self.lengths
        ordered = sorted(bucket, key=lambda index: -lengths[index])
        if self.max_tokens is None:
            return _cut(ordered, self.batch_size * world)
        batches: list[list[int]] = []
        start = 0
        while start < len(ordered):
            count = min(self.batch_size, self.max_tokens // max(1, lengths[ordered[start]])) * world
            batches.append(ordered[start : start + count])
            start += count
        return batches


class ResumableLoader(StatefulDataLoader):
    """torchdata's loader, whose saved position is for as many workers as it was saved with."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a saved position.

        Raises:
            InputError: it was saved with another number of workers.
        """
        before = state_dict.get("_snapshot", {}).get("_main_snapshot", {}).get("_num_workers", 0)
        if before != self.num_workers:
            raise InputError(
                f"the run was started with num_workers {before} and now has {self.num_workers}; resume it with the same"
            )
        super().load_state_dict(state_dict)


def loader(
    dataset: Any,
    batch_size: int,
    *,
    shuffle: bool = True,
    lengths: Sequence[int] | None = None,
    max_tokens: int | None = None,
    drop_last: bool = False,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    num_workers: int = 0,
    seed: int | None = None,
) -> ResumableLoader:
    """A data loader that resumes exactly: torchdata's loader over `ResumableBatches`.

    Args:
        dataset: map-style data set.
        batch_size: samples a batch and device.
        shuffle: a new order every epoch.
        lengths: lengths of the samples, for batches of similar length.
        max_tokens: most tokens of a padded batch; `batch_size` is then the most samples.
        drop_last: leave out a last batch that is not full.
        collate_fn: from a list of samples to a batch.
        num_workers: processes that load.
        seed: of order and transforms; None is the seed of the run, wherever the loader is made.
    """
    sampler = ResumableBatches(
        len(dataset),
        batch_size,
        shuffle=shuffle,
        seed=seed,
        lengths=lengths,
        max_tokens=max_tokens,
        drop_last=drop_last,
    )
    return ResumableLoader(
        Seeded(dataset),
        batch_sampler=sampler,
        collate_fn=collate_fn,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
    )


def resumable(plain: DataLoader) -> DataLoader:
    """The same batches from a loader that can resume.

    Args:
        plain: any loader; one that keeps its own state is returned as it is.

    Raises:
        InputError: its order comes from a sampler of its own that keeps no state.
    """
    if hasattr(plain, "state_dict"):
        return plain
    cut_plainly = type(plain.batch_sampler) is BatchSampler
    if not cut_plainly or type(plain.sampler) not in (RandomSampler, SequentialSampler) or plain.batch_size is None:
        raise InputError(
            "this training loader cannot resume; build it with suite.training.loader, "
            "or with torchdata's StatefulDataLoader round a sampler that has state_dict"
        )
    return loader(
        plain.dataset,
        plain.batch_size,
        shuffle=isinstance(plain.sampler, RandomSampler),
        drop_last=plain.drop_last,
        collate_fn=plain.collate_fn,
        num_workers=plain.num_workers,
    )


def _cut(order: list[int], size: int) -> list[list[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _rank_and_world() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
