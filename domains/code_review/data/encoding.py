"""Cases as training samples: worded by a template, cut so that frame and answer survive. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from domains.code_review.data.codereviewer import decision_source, hunk_source
from domains.code_review.data.examples import Example, Pair
from domains.code_review.model import marks
from domains.code_review.model.encoding import (
    answer_ids,
    code_prompt,
    fitted,
    fitted_code,
    hunk_prompt,
    prompt_ids,
    sample,
    text_of,
)
from domains.code_review.model.wording import Task, Template
from domains.code_review.types import Hunk
from suite.generation.chat import Encoded

Cut = Literal["hunk_end", "right"]
"""Of what is too long: the code loses its last lines; or prompt and answer their last tokens, as in Lit-LLaMA."""


def prompt_of(template: Template, example: Example, code: str | None = None) -> str:
    """The prompt of a case.

    Args:
        code: in place of its own: a hunk's text, or plain code.
    """
    if example.hunk is not None:
        text = hunk_text(template, example.task, example.hunk, example.old_file) if code is None else code
        return hunk_prompt(template, example.task, text, example.language)
    text = example.code if code is None else code
    return code_prompt(template, example.task, text, example.comment, example.language)


def hunk_text(template: Template, task: Task, hunk: Hunk, old_file: str = "") -> str:
    """A hunk as a template writes it; empty where none of its lines is to be seen."""
    if not template.marks:
        return text_of(hunk)
    return (decision_source(hunk, old_file) or "") if task == "necessity" else hunk_source(hunk)


def encoded(
    tokenizer: Any, template: Template, example: Example, most: int, mask_prompt: bool = False, cut: Cut = "hunk_end"
) -> tuple[Encoded, int] | None:
    """A case as one sample of at most `most` tokens, and how many of them are the prompt's.

    None where not even its first line and the answer find room; `truncated` says that something was cut.
    """
    answer = template.answer(example.task, example.answer)

    def fits(asked: str) -> bool:
        return len(prompt_ids(tokenizer, asked + answer)) + 1 <= most

    prompt = prompt_of(template, example)
    whole = sample(tokenizer, prompt, answer, most, mask_prompt)
    if whole.truncated and cut == "hunk_end":
        code = shortened(example, lambda text: fits(prompt_of(template, example, text)))
        if code is None:
            return None
        prompt = prompt_of(template, example, code)
        whole = replace(sample(tokenizer, prompt, answer, most, mask_prompt), truncated=True)
    asked = len(prompt_ids(tokenizer, prompt + answer)) - len(answer_ids(tokenizer, prompt, answer))
    return whole, min(asked, len(whole.input_ids))


def encoded_pair(tokenizer: Any, template: Template, example: Example, most: int, most_answer: int) -> Pair | None:
    """A case as an encoder-decoder reads and writes it; None where nothing of its code is to be seen.

    What is too long loses its last tokens, as in the published code; of a refinement the code does, whole lines of it,
    so that the comment survives.

    Args:
        most: ids of the source. most_answer: ids of the target.
    """
    prompt = prompt_of(template, example)
    cut = _length(tokenizer, prompt) > most
    if cut and example.task == "refinement":
        code = shortened(example, lambda text: _length(tokenizer, prompt_of(template, example, text)) <= most)
        prompt = prompt_of(template, example, code or "")
    if not prompt:
        return None
    source = marks.ids(tokenizer, prompt, most)
    if example.task == "necessity":
        return Pair(source, [], int(example.answer == "yes"), cut)
    answer = template.answer(example.task, example.answer)
    target = marks.ids(tokenizer, answer, most_answer + (example.task == "comment"))
    # A comment begins with its mark, a refinement with the token that begins a sequence.
    return Pair(source, target[1:] if example.task == "comment" else target, None, cut)


def _length(tokenizer: Any, text: str) -> int:
    return len(marks.ids(tokenizer, text, 1 << 30))


def shortened(example: Example, fits: Callable[[str], bool]) -> str | None:
    """The longest beginning of a case's code, in whole lines, that fits: a hunk keeps its header, counted anew."""
    if example.hunk is None:
        return fitted_code(example.code, fits)
    found = fitted(example.hunk, fits)
    return None if found is None else found[1]
