"""Commits as token ids, as PEFT4CC reads them (arXiv 2402.06247). Imports no torch."""

from __future__ import annotations

from typing import Any

from domains.code_review.model import marks

MESSAGE = 64
"""Most tokens of a message in front of a change."""
ADDED, REMOVED = "[ADD]", "[DEL]"
"""The two tokens that encoders' vocabularies get."""

_MARKS = {"+": marks.ADDED, "-": marks.REMOVED, " ": marks.KEPT}


def defect_ids(
    tokenizer: Any, message: str, added: list[str], removed: list[str], most: int, most_message: int = MESSAGE
) -> tuple[list[int], bool]:
    """A commit between the tokens that begin and end it, cut from the right to `most` ids; and whether it was cut.

    The message's first tokens, `[ADD]`, the added lines with `[ADD]` between them, `[DEL]`, the removed lines with
    `[DEL]` between them.
    """
    known = [*_pieces(tokenizer, message)[:most_message], tokenizer.convert_tokens_to_ids(ADDED)]
    known += _pieces(tokenizer, ADDED.join(added))
    known += [tokenizer.convert_tokens_to_ids(REMOVED), *_pieces(tokenizer, REMOVED.join(removed))]
    start, end = _ends(tokenizer)
    return [start, *known[: most - 2], end], len(known) > most - 2


def change_text(rows: list[tuple[str, str]], grouped: bool = False) -> str:
    """A change as a message's model reads it: each line behind what happened to it.

    Args:
        rows: `+`, `-` or a blank, and the line.
        grouped: as of JIT-Fine, where both marks are there even if no such line is.
    """
    if not grouped:
        return "".join(_MARKS[kind] + text for kind, text in rows)
    sides = {kind: [text for own, text in rows if own == kind] for kind in "+-"}
    return "".join(_MARKS[kind] + _MARKS[kind].join(lines) for kind, lines in sides.items())


def whole_ids(tokenizer: Any, text: str, most: int) -> tuple[list[int], bool]:
    """A text with the tokens that its tokenizer puts round it, cut from the right to `most` ids; and whether it was.

    The name of the end token in the text itself would end it early.
    """
    text = text.replace(tokenizer.eos_token, tokenizer.unk_token or "")
    known = tokenizer.encode(text, add_special_tokens=True, split_special_tokens=False)
    if len(known) > most:
        return [*known[: most - 1], int(tokenizer.eos_token_id)], True
    if tokenizer.eos_token_id not in known:  # a tokenizer that puts nothing round a text
        known = [*known[: most - 1], int(tokenizer.eos_token_id)]
    return known, False


def _pieces(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=False)) if text else []


def _ends(tokenizer: Any) -> tuple[int, int]:
    """The ids that begin and end a sequence."""
    start = tokenizer.bos_token_id if tokenizer.cls_token_id is None else tokenizer.cls_token_id
    end = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id
    return int(start), int(end)
