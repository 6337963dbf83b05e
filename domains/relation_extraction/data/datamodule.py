"""Training data: labelled documents to encoded samples to length-bucketed or packed batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from copy import copy

import lightning as L
from torch.utils.data import DataLoader

from domains.relation_extraction.data.documents import pretokenize
from domains.relation_extraction.data.samples import Sample, build_samples
from domains.relation_extraction.data.sources import labelled_documents
from domains.relation_extraction.model.calls import STEPS, Step
from domains.relation_extraction.model.encoding import Truncation
from domains.relation_extraction.model.wording import Wording
from suite.errors import InputError
from suite.generation.samples import EncodedSamples
from suite.training.packing import text_loader


class CallSamples(EncodedSamples):
    """The samples of every step, encoded; their kind is the step."""

    @classmethod
    def of(
        cls, samples: Iterable[Sample], wording: Wording, cutoff: int, truncation: Truncation = "suite"
    ) -> CallSamples:
        """Encode the samples; those cut to `cutoff` tokens are counted by step in `truncated`."""
        encoded = cls()
        for sample in samples:
            one = wording.template.encode_sample(
                wording.tokenizer, wording.protocol, sample.call, sample.answer, cutoff, truncation
            )
            encoded.add(one, sample.call.step)
        return encoded


class RelationExtractionData(L.LightningDataModule):
    """Samples of every step, made from labelled documents with the protocol of the recipe that trains on them.

    Args:
        train: what to train on (see `sources`): a file, a slice of one, `tiny:train`; several are joined.
        val: what to validate on; never the test split. None: no validation.
        format, encoding: of the files.
        batch_size: samples a batch.
        max_tokens: most tokens of a padded batch; `batch_size` is then the most samples.
        cutoff: most tokens of a sample.
        truncation: `suite` drops trailing sentences of a document that is too long, so that the instruction survives;
            `official` cuts prompt and answer from the right.
        negatives: how many absent relations are asked about for each present one, with the explicit empty answer.
        shuffles: reorderings of each answer's lines that are added as samples; None: as the official builder.
        official_duplicates: keep the duplicate lines that the official builder keeps.
        packing: fill rows of `cutoff` tokens with several samples, attention never crossing from one to another.
        seed: of shuffles, negatives and the made world.
    """

    def __init__(
        self,
        train: str | list[str] = "tiny:train",
        val: str | list[str] | None = "tiny:val",
        format: str = "auto",
        encoding: str = "utf-8",
        batch_size: int = 8,
        max_tokens: int | None = None,
        cutoff: int = 2048,
        truncation: Truncation = "suite",
        negatives: float = 0.0,
        shuffles: int | None = None,
        official_duplicates: bool = False,
        packing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.sources = {"train": _listed(train), "val": _listed(val)}
        self.format, self.encoding = format, encoding
        self.batch_size, self.max_tokens, self.packing = batch_size, max_tokens, packing
        self.cutoff, self.truncation = cutoff, truncation
        self.negatives, self.shuffles, self.official_duplicates = negatives, shuffles, official_duplicates
        self.seed = seed
        self.steps: tuple[Step, ...] = STEPS
        self.encoded: dict[str, CallSamples] = {}
        self._wording: Callable[[], Wording] | None = None

    def bind(self, wording: Callable[[], Wording]) -> None:
        """Take the recipe's wording; it is asked for when samples are encoded, by when its tokenizer is loaded."""
        self._wording = wording

    def step(self, step: Step) -> RelationExtractionData:
        """The same data, the samples of one step only."""
        part = copy(self)
        part.steps, part.encoded = (step,), {}
        return part

    def samples(self, split: str, wording: Wording) -> Iterable[Sample]:
        """The samples of a split before encoding.

        Raises:
            InputError: a source is malformed, or the protocol cannot be trained as the settings ask.
        """
        for source in self.sources[split]:
            documents = labelled_documents(
                source, wording.schema, format=self.format, encoding=self.encoding, seed=self.seed
            )
            for sample in build_samples(
                (pretokenize(document, wording.pretokenize) for document in documents),
                wording.protocol,
                wording.schema,
                layout=wording.layout,
                split="train" if split == "train" else "eval",
                seed=self.seed,
                shuffles=self.shuffles,
                negatives=self.negatives if split == "train" else 0.0,
                official_duplicates=self.official_duplicates,
            ):
                if sample.call.step in self.steps:
                    yield sample

    def setup(self, stage: str | None = None) -> None:
        """Encode with the wording of the recipe that trains on the samples."""
        assert self._wording is not None, "no recipe is bound to the data"
        wording = self._wording()
        for split in ("train", "val"):
            if self.sources[split] and split not in self.encoded:
                encoded = CallSamples.of(self.samples(split, wording), wording, self.cutoff, self.truncation)
                self.encoded[split] = encoded
                self._report(split, encoded)

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        return self._loader("val", shuffle=False) if self.sources["val"] else []

    def _loader(self, split: str, shuffle: bool) -> DataLoader:
        encoded = self.encoded[split]
        if not len(encoded):
            raise InputError(
                f"data: {split} ({', '.join(self.sources[split])}) gives no sample of {', '.join(self.steps)}"
            )
        packed_to = self.cutoff if self.packing else None
        return text_loader(encoded, self.batch_size, shuffle, self.max_tokens, packed_to)

    def _report(self, split: str, encoded: CallSamples) -> None:
        for step, count in encoded.truncated.items():
            if count:
                line = f"{split}: {count} of {encoded.counts[step]} {step} samples were cut to {self.cutoff} tokens"
                print(line, file=sys.stderr, flush=True)


def _listed(source: str | list[str] | None) -> list[str]:
    return [] if source is None else [source] if isinstance(source, str) else list(source)
