"""Sources and targets as token ids, as the study assembles them. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from suite.errors import InputError
from suite.generation.chat import IGNORED, Encoded


def sample(tokenizer: Any, source: str, target: str | None, append_end: bool = False, begin: bool = False) -> Encoded:
    """One training sample: the loss is on the target, or on everything where there is none.

    The two are tokenised apart, the target without special tokens. The study appends no end token, so that its models
    stop only where braces close.

    Args:
        append_end: end the target with the end-of-sequence token, so that generation needs no rule to stop.
        begin: as for `prompt`.
    """
    ids = prompt(tokenizer, source, begin)
    labels = list(ids) if target is None else [IGNORED] * len(ids)
    more = [] if target is None else list(tokenizer(target, add_special_tokens=False)["input_ids"])
    if append_end:
        more.append(int(tokenizer.eos_token_id))
    return Encoded(ids + more, labels + more)


def prompt(tokenizer: Any, source: str, begin: bool = False) -> list[int]:
    """A source as the samples of training begin; answers of the model follow.

    Args:
        begin: put the beginning-of-sequence token in front where the tokenizer does not do so itself.

    Raises:
        InputError: the tokenizer has none.
    """
    ids = list(tokenizer(source, add_special_tokens=True)["input_ids"])
    if begin and ids[:1] != [tokenizer.bos_token_id]:
        if tokenizer.bos_token_id is None:
            raise InputError("recipe.begin: the base's tokenizer has no beginning-of-sequence token; leave it out")
        ids.insert(0, int(tokenizer.bos_token_id))
    return ids


def kept(samples: Sequence[Encoded], block_size: int) -> list[bool]:
    """Which samples are short enough: the study drops the others whole."""
    return [len(sample.input_ids) <= block_size for sample in samples]


def block_size(most: int, virtual_tokens: int, multiple: int | None = None) -> int:
    """Tokens that are left beside virtual ones, of a block that is padded to a multiple, as the study counts them.

    It takes off what pads the virtual tokens, and a whole multiple where they need no padding.

    Raises:
        InputError: nothing is left.
    """
    left = most - virtual_tokens
    if multiple:
        left -= multiple - virtual_tokens % multiple
    if left <= 0:
        raise InputError(f"a block of {most} tokens has no room for text beside {virtual_tokens} virtual tokens")
    return left
