"""How the models are spoken to: the frame, the three instructions, and a named template that an adapter remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from domains.code_review.model import marks
from suite.errors import InputError

Task = Literal["necessity", "comment", "refinement"]
TASKS: tuple[Task, ...] = ("necessity", "comment", "refinement")
ANSWERS = ("yes", "no")
"""Of the task `necessity`."""

_BELOW = "Below is an instruction that describes a task"
WITH_INPUT = (
    _BELOW + ", paired with an input that provides further context. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
WITHOUT_INPUT = (
    _BELOW + ". Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}"
    "\n\n### Response:"
)


@dataclass(frozen=True)
class Template:
    """The words around hunks, code and comments. An adapter works only with the ones that it was trained with.

    Attributes:
        name: with its version.
        frame: around instruction and input.
        bare: around an instruction without input.
        instructions: by task.
        hunk, code, refinement: the input of a hunk, of plain code, of code with a comment.
        language: the line that names the language; empty: none is named.
        opening: by task, what every answer begins with and is no part of it: a tokenizer may take a line feed together
            with the blanks behind it, and a prompt that ended in one would then be read otherwise than it was learnt.
        marks: code stands between CodeReviewer's marks and not as a diff: for encoder-decoders (`model/marks.py`).
    """

    name: str
    frame: str = WITH_INPUT
    bare: str = WITHOUT_INPUT
    instructions: Mapping[str, str] = field(default_factory=dict)
    hunk: str = "The diff hunk is: '{hunk}'"
    code: str = "The code is: '{code}'"
    refinement: str = "The comment is: '{comment}'\nThe code is: '{code}'"
    language: str = ""
    opening: Mapping[str, str] = field(default_factory=dict)
    marks: bool = False

    def answer(self, task: Task, text: str) -> str:
        """An answer as it follows its prompt."""
        if self.marks and task == "refinement":
            return marks.of_code(text)
        return self.opening.get(task, "") + text

    def answered(self, task: Task, text: str) -> str:
        """What a model wrote behind a prompt, without what every answer begins with."""
        if self.marks:
            return marks.lines_of(text) if task == "refinement" else text.removeprefix(self.opening[task]).strip()
        return text.removeprefix(self.opening.get(task, ""))

    def asked(self, task: Task, language: str = "", **parts: str) -> tuple[str, str]:
        """Instruction and input of a task.

        Args:
            language: of the code; told only where the template has words for it.
            parts: `hunk`, or `code`, and for a refinement `code` and `comment`.
        """
        layout = self.refinement if task == "refinement" else (self.hunk if "hunk" in parts else self.code)
        lines = [filled(layout, parts)]
        if self.language and language:
            lines.append(filled(self.language, {"language": language}))
        return self.instructions[task], "\n".join(lines)

    def prompt(self, instruction: str, given: str = "") -> str:
        """All that a model reads before it answers; the answer follows without a blank."""
        frame = self.frame if given else self.bare
        return filled(frame, {"instruction": instruction, "input": given})

    def to_dict(self) -> dict[str, Any]:
        told = {**asdict(self), "instructions": dict(self.instructions), "opening": dict(self.opening)}
        return told if self.marks else {name: value for name, value in told.items() if name != "marks"}

    @classmethod
    def from_dict(cls, stated: Mapping[str, Any]) -> Template:
        """Read what `to_dict` gave.

        Raises:
            InputError: a key is unknown, or a task has no instruction.
        """
        try:
            template = cls(**stated)
        except TypeError as error:
            raise InputError(f"prompt template: {error}") from error
        missing = [task for task in TASKS if task not in template.instructions]
        if missing:
            raise InputError(f"prompt template {template.name}: no instruction for {', '.join(missing)}")
        return template


def filled(layout: str, parts: Mapping[str, str]) -> str:
    """A layout with its parts in place. Parts are code and may hold braces: `str.format` would read them."""
    pieces = layout.split("{")
    text = pieces[0]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}")
        text += parts[name] + rest
    return text


LLAMA_REVIEWER = Template(
    "llama-reviewer-v1",
    instructions={
        "necessity": "Determine whether the provided diff hunk requires a code review. "
        "Respond with either 'yes' or 'no'.",
        "comment": "Review the given code and provide a constructive code review comment.",
        "refinement": "Refine the given code based on the provided code review comment.",
    },
)
"""The published prompts (arXiv 2308.11148)."""

LANGUAGE_LABEL = Template(
    "llama-reviewer-v1-language",
    instructions=LLAMA_REVIEWER.instructions,
    language="The programming language is: {language}",
)
"""The same with the language named in a last line of the input; the paper's own words for it are not known."""

PLAIN = Template(
    "plain-v1",
    frame="{input}",
    instructions=LLAMA_REVIEWER.instructions,
    hunk="{hunk}\n# review: ",
    code="{code}\n# review: ",
    refinement="# before:\n{code}\n# review: {comment}\n# after:",
    opening={"refinement": "\n"},
)
"""Without instructions, as reviews stand in code itself: for small models, to which words cost as much as code."""

CODEREVIEWER = Template(
    "codereviewer-v1",
    frame="{input}",
    bare="{input}",
    instructions=dict.fromkeys(TASKS, ""),
    hunk="{hunk}",
    code="{code}",
    refinement=f"{{code}}{marks.MESSAGE}{{comment}}",
    opening={"necessity": "", "comment": marks.MESSAGE},
    marks=True,
)
"""What CodeReviewer's encoder-decoder reads and writes (arXiv 2203.09095): no words, marks before the lines."""

TEMPLATES = {template.name: template for template in (LLAMA_REVIEWER, LANGUAGE_LABEL, PLAIN, CODEREVIEWER)}


def find(name: str) -> Template:
    """The template of that name.

    Raises:
        InputError: there is none.
    """
    if name not in TEMPLATES:
        raise InputError(f"no prompt template {name!r}; there are {', '.join(TEMPLATES)}")
    return TEMPLATES[name]
