"""The marks that CodeReviewer's vocabulary has for changes (arXiv 2203.09095), and code between them.

A mark is one token. `<e0>` parts lines that have no mark of their own; it is dropped once they are tokens, so that two
such lines are tokenised each by itself, as the published code does. Marks that stand in the code itself are read as
marks, there as here. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MESSAGE, KEPT, ADDED, REMOVED = "<msg>", "<keep>", "<add>", "<del>"
START, END = "<start>", "<end>"
"""Around the lines of a hunk that stands in its file."""
NUMBERED = tuple(f"<e{number}>" for number in range(100))
PARTING = NUMBERED[0]
"""Between lines; no token of what a model reads."""
ALL = (MESSAGE, KEPT, ADDED, REMOVED, START, END, *NUMBERED)

_OF_LABEL = (REMOVED, ADDED, KEPT)


def of_hunk(lines: Sequence[str], labels: Sequence[int]) -> str:
    """A hunk in its file, as the decision reads it.

    Args:
        lines: of the hunk and around it, stripped.
        labels: of each line: 0 removed, 1 added, 2 kept; another number: around the hunk. One at least is of the hunk.
    """
    inside = [number for number, label in enumerate(labels) if label in (0, 1, 2)]
    rows = [_OF_LABEL[label] + line if label in (0, 1, 2) else line for line, label in zip(lines, labels, strict=True)]
    rows[inside[0]] = START + rows[inside[0]]
    rows[inside[-1]] += END
    return PARTING.join(rows)


def of_code(code: str) -> str:
    """Lines of code as the refinement is read and written; indentation is lost."""
    return "".join(ADDED + line.strip() for line in code.split("\n"))


def lines_of(text: str) -> str:
    """Code out of what a refinement's model wrote."""
    rows = text.split(ADDED)
    return "\n".join(row.strip() for row in (rows[1:] if not rows[0].strip() else rows))


def missing(tokenizer: Any, tokens: Sequence[str] = ALL) -> list[str]:
    """Those that a vocabulary lacks, in their order."""
    known = tokenizer.get_vocab()
    return [token for token in tokens if token not in known]


def ids(tokenizer: Any, text: str, most: int) -> list[int]:
    """Token ids of marked text between the tokens that begin and end it, cut from the right to `most` in all."""
    known = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=False)
    parting = tokenizer.convert_tokens_to_ids(PARTING)
    kept = [index for index in known if index != parting][: max(most - 2, 0)]
    return [int(tokenizer.bos_token_id), *kept, int(tokenizer.eos_token_id)]
