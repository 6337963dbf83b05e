"""Cases as training samples: worded by a template, cut so that frame and answer survive. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from domains.code_review.data.examples import Example
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
from domains.code_review.model.wording import Template
from suite.generation.chat import Encoded

Cut = Literal["hunk_end", "right"]
"""Of what is too long: the code loses its last lines; or prompt and answer their last tokens, as in Lit-LLaMA."""


def prompt_of(template: Template, example: Example, code: str | None = None) -> str:
    """The prompt of a case.

    Args:
        code: in place of its own: a hunk's text, or plain code.
    """
    if example.hunk is not None:
        text = text_of(example.hunk) if code is None else code
        return hunk_prompt(template, example.task, text, example.language)
    text = example.code if code is None else code
    return code_prompt(template, example.task, text, example.comment, example.language)


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


def shortened(example: Example, fits: Callable[[str], bool]) -> str | None:
    """The longest beginning of a case's code, in whole lines, that fits: a hunk keeps its header, counted anew."""
    if example.hunk is None:
        return fitted_code(example.code, fits)
    found = fitted(example.hunk, fits)
    return None if found is None else found[1]
