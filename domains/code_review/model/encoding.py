"""Prompts and answers as token ids. Imports no torch.

An answer follows its prompt without a blank, so both are tokenised as one text: `yes` alone would get the blank that
SentencePiece puts before a word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from domains.code_review.model import marks
from domains.code_review.model.wording import ANSWERS, Task, Template
from domains.code_review.types import Hunk
from suite.generation.chat import IGNORED, Encoded, encode_text, longest


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """A prompt's ids behind the token that begins a sequence, where the tokenizer has one."""
    start = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    return start + encode_text(tokenizer, prompt)


def answer_ids(tokenizer: Any, prompt: str, answer: str) -> list[int]:
    """The ids that the answer adds to the prompt's; without an end token."""
    alone, together = prompt_ids(tokenizer, prompt), prompt_ids(tokenizer, prompt + answer)
    return together[shared(alone, together) :]


def sample(tokenizer: Any, prompt: str, answer: str, most: int, mask_prompt: bool = False) -> Encoded:
    """One training sample, cut from the right to `most` ids as Lit-LLaMA does.

    Args:
        most: ids in all; `fitted` shortens hunks before, so that no answer is cut.
        mask_prompt: no loss on the prompt.
    """
    ids = [*prompt_ids(tokenizer, prompt + answer), int(tokenizer.eos_token_id)]
    kept = ids[:most]
    masked = len(prompt_ids(tokenizer, prompt)[:most]) if mask_prompt else 0
    return Encoded(kept, [IGNORED] * masked + kept[masked:], len(ids) > most)


def fitted(hunk: Hunk, fits: Callable[[str], bool]) -> tuple[Hunk, str] | None:
    """The longest beginning of a hunk, in whole lines, whose text fits; None where not even its header does.

    Args:
        fits: whether a text fits a prompt; must hold for every shorter beginning, too.

    Returns:
        The shortened hunk, its header counted anew, and its text for a prompt.
    """

    def beginning(count: int) -> Hunk:
        return hunk if count == len(hunk.lines) else replace(hunk, lines=hunk.lines[:count], header="")

    count = longest(len(hunk.lines), lambda number: fits(text_of(beginning(number))))
    text = text_of(beginning(count))
    return (beginning(count), text) if count or fits(text) else None


def text_of(hunk: Hunk) -> str:
    """A hunk as a prompt shows it: its header and its lines with their marks."""
    return "\n".join([hunk.title(), *hunk.rows()])


def fitted_code(code: str, fits: Callable[[str], bool]) -> str | None:
    """The longest beginning of plain code, in whole lines, that fits; None where not even its first line does."""
    lines = code.split("\n")
    count = longest(len(lines), lambda number: fits("\n".join(lines[:number])))
    return "\n".join(lines[:count]) if count else None


def hunk_prompt(template: Template, task: Task, text: str, language: str = "") -> str:
    """The prompt of a task about a hunk."""
    return template.prompt(*template.asked(task, language, hunk=text))


def code_prompt(template: Template, task: Task, code: str, comment: str = "", language: str = "") -> str:
    """The prompt of a task about plain code; of a refinement with the comment that it answers."""
    if template.marks:
        code = marks.of_code(code) if task == "refinement" else "".join(marks.KEPT + row for row in code.split("\n"))
    parts = {"code": code, "comment": comment} if task == "refinement" else {"code": code}
    return template.prompt(*template.asked(task, language, **parts))


def yes_and_no(tokenizer: Any, prompt: str) -> tuple[list[int], tuple[list[int], list[int]]]:
    """A prompt's ids, and those of either answer as they follow it.

    Where a tokenizer joins the prompt's end with an answer's beginning, the prompt is cut to what stays the same.
    """
    alone = prompt_ids(tokenizer, prompt)
    whole = [prompt_ids(tokenizer, prompt + answer) for answer in ANSWERS]
    kept = min(shared(alone, ids) for ids in whole)
    return alone[:kept], (whole[0][kept:], whole[1][kept:])


def shared(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids two sequences begin with in common."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
