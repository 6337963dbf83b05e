"""Training data: labelled cases to encoded samples to batches of like length."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from domains.code_review.data.encoding import Cut, encoded, encoded_pair
from domains.code_review.data.examples import Example
from domains.code_review.data.pairs import PairCollate, PairSamples
from domains.code_review.data.sources import examples
from domains.code_review.data.splits import SplitData
from domains.code_review.model.wording import Task, Template
from suite.errors import InputError
from suite.generation.samples import EncodedSamples
from suite.generation.samples import collate as padded
from suite.training import loader


class CaseSamples(EncodedSamples):
    """Encoded cases, which know where their answers begin.

    Attributes:
        asked: tokens of each sample's prompt. needed: whether its answer is yes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.needed: list[bool] = []

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return `input_ids` and `labels`, both (length,), `decision`, the prompt's last place, and `needed`."""
        own = {"decision": torch.tensor(self.asked[index] - 1), "needed": torch.tensor(self.needed[index])}
        return super().__getitem__(index) | own


def collate(samples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Pad on the right.

    Returns:
        `input_ids` and `labels` (batch, length), `decision` and `needed` (batch,).
    """
    own = ("decision", "needed")
    return {**padded(samples), **{name: torch.stack([sample[name] for sample in samples]) for name in own}}


class CodeReviewData(SplitData):
    """Samples of one task, worded by the recipe that trains on them: it is asked for tokenizer, template and task.

    Args:
        train: what to train on (see `sources`): a file, a folder, a slice, `world:train`; several are joined.
        val: what to validate on. None: no validation.
        batch_size: samples a batch.
        max_tokens: most tokens of a padded batch; `batch_size` is then the most samples.
        max_length: most tokens of a sample; for an encoder-decoder of what it reads.
        max_answer: most tokens of what an encoder-decoder writes.
        cut: what a longer one loses: `hunk_end`, its code's last lines, so that frame and answer survive; `right`, its
            last tokens, the answer first, as in Lit-LLaMA.
        mask_prompt: no loss on the prompt. Lit-LLaMA's default, and so the published one as far as is known, is a loss
            on all tokens.
        skip_bad: broken lines of a file that are passed over.
        seed: of the made world.
    """

    def __init__(
        self,
        train: str | list[str] = "world:train",
        val: str | list[str] | None = "world:val",
        batch_size: int = 8,
        max_tokens: int | None = None,
        max_length: int = 2048,
        max_answer: int = 128,
        cut: Cut = "hunk_end",
        mask_prompt: bool = False,
        skip_bad: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(train, val)
        if cut not in ("hunk_end", "right"):
            raise InputError(f"data.cut is {cut!r}; choose hunk_end or right")
        self.batch_size, self.max_tokens, self.max_length = batch_size, max_tokens, max_length
        self.max_answer = max_answer
        self.cut, self.mask_prompt, self.skip_bad, self.seed = cut, mask_prompt, skip_bad, seed

    def cases(self, split: str, task: Task) -> Iterator[Example]:
        """The cases of a split before encoding."""
        return chain.from_iterable(
            examples(source, task, split, self.seed, self.skip_bad) for source in self.sources[split]
        )

    def _encode(self, split: str) -> CaseSamples | PairSamples:
        assert self._asked is not None
        tokenizer, template, task = self._asked()
        return (self._encode_pairs if template.marks else self._encode_cases)(split, tokenizer, template, task)

    def _encode_pairs(self, split: str, tokenizer: Any, template: Template, task: Task) -> PairSamples:
        samples, dropped = PairSamples(), 0
        self._padding = int(tokenizer.pad_token_id)
        for case in self.cases(split, task):
            pair = encoded_pair(tokenizer, template, case, self.max_length, self.max_answer)
            if pair is None:
                dropped += 1
            else:
                samples.add(pair)
        self._say(split, len(samples) + dropped, samples.truncated, dropped, "without a line to be seen")
        return samples

    def _encode_cases(self, split: str, tokenizer: Any, template: Template, task: Task) -> CaseSamples:
        samples, dropped = CaseSamples(), 0
        for case in self.cases(split, task):
            one = encoded(tokenizer, template, case, self.max_length, self.mask_prompt, self.cut)
            if one is None:
                dropped += 1
                continue
            samples.add(one[0], task)
            samples.asked.append(one[1])
            samples.needed.append(case.answer == "yes")
        self._say(split, len(samples) + dropped, samples.truncated[task], dropped, "no room for the answer")
        return samples

    def _say(self, split: str, count: int, cut: int, dropped: int, why: str) -> None:
        for number, what in ((cut, f"cut to {self.max_length} tokens"), (dropped, f"left out: {why}")):
            if number:
                print(f"{split}: {number} of {count} samples were {what}", file=sys.stderr, flush=True)

    def _loader(self, split: str, shuffle: bool) -> DataLoader:
        samples = self.encoded[split]
        if not len(samples):
            raise InputError(f"data: {split} ({', '.join(self.sources[split])}) gives no sample")
        lengths = samples.lengths
        fill = PairCollate(self._padding) if isinstance(samples, PairSamples) else collate
        bounds: dict[str, Any] = {"lengths": lengths, "max_tokens": self.max_tokens, "collate_fn": fill}
        return loader(samples, self.batch_size, shuffle=shuffle, **bounds)
