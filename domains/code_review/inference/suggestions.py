"""From a model's text for a hunk to a patch that applies.

A model often gives lines without their indentation, since that is how its training data had them. Its lines are laid
beside those of the hunk by their stripped text: what is the same keeps the file's own line, byte for byte, and what is
new takes the indentation of what it replaces or follows.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from difflib import SequenceMatcher

from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.data.readers.paths import quoted
from domains.code_review.types import NO_NEWLINE, Diff, FilePatch, Hunk, Line, Suggestion, numbered

CONTEXT = 3
"""Unchanged lines on each side of a patch's change."""


def suggestion(file: FilePatch, hunk: Hunk, answer: str, content: bytes | None = None) -> Suggestion | None:
    """What a model's new text changes, as lines and as a patch.

    None where it changes nothing, is empty, or makes no patch that git would take: git wants a line below a change
    unless the file ends there, and of a change at a hunk's end only the file itself tells that line.

    Args:
        answer: the new text of the hunk's lines; marks of a diff before them are no part of it.
        content: the new file, where it is at hand.
    """
    if file.new_path is None or file.unsafe or not answer.strip():
        return None
    old = [line for line in hunk.lines if line.kind != "-"]
    new = aligned([line.text for line in old], _framed([line.text for line in old], _plain(answer)))
    edit = _edit([line.text for line in old], new)
    if edit is None:
        return None
    start, end, replaced = edit
    first = hunk.new_start if hunk.new_count else hunk.new_start + 1
    if content is not None:
        wide = _widened(old, first, content)
        if wide is None:
            return None
        before, old = wide
        first, start, end = first - before, start + before, end + before
    elif end == len(old) and not _ends_file(hunk):
        return None
    patch = _patch(file, old, first, start, end, replaced)
    # A pure insertion replaces no line; the line before it, or after it, then stands in both texts.
    if start == end:
        if start > 0:
            start, replaced = start - 1, [old[start - 1].text, *replaced]
        elif old:
            end, replaced = end + 1, [*replaced, old[0].text]
        else:
            return None
    shown = tuple(text.removesuffix("\r") for text in replaced)
    return Suggestion(first + start, first + end - 1, shown, patch)


def aligned(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """New lines with the file's own indentation and carriage returns.

    Args:
        old: the lines of the new file that the answer is for.
        new: the answer's lines.
    """
    bare_old, bare_new = [line.strip() for line in old], [line.strip() for line in new]
    matcher = SequenceMatcher(None, bare_old, bare_new, autojunk=False)
    blocks = matcher.get_opcodes()
    same = [
        (old[i], new[j])
        for tag, i, i2, j, _ in blocks
        if tag == "equal"
        for i, j in zip(range(i, i2), range(j, j + i2 - i), strict=True)
    ]
    # Where known lines come with the indentation that they have, the new ones are taken at their word.
    kept = bool(same) and all(_indent(mine) == _indent(theirs) for mine, theirs in same)
    kept = kept and any(_indent(mine) for mine, _ in same)
    ending = "\r" if sum(line.endswith("\r") for line in old) * 2 > len(old) else ""
    result: list[str] = []
    for tag, i, i2, j, j2 in blocks:
        if tag == "equal":
            result += old[i:i2]
            continue
        for step, line in enumerate(new[j:j2]):
            if not line.strip():
                result.append(ending)
                continue
            beside = old[min(i + step, i2 - 1)] if i2 > i else _neighbour(result, old, i2)
            indent = _indent(line) if kept or _indent(line) else _indent(beside)
            result.append(indent + line.strip() + ending)
    return result


def applies(patch: bytes, content: bytes) -> bytes | None:
    """A file after a patch of one file; None where a line of the patch is not where it should be."""
    [file] = parse_diff(patch).files
    lines = _with_ends(content.decode("utf-8", "surrogateescape"))
    result: list[str] = []
    at = 0
    for hunk in file.hunks:
        start = hunk.old_start - (hunk.old_count > 0)
        wanted = [line.content for line in hunk.side("LEFT")]
        if start < at or lines[start : start + len(wanted)] != wanted:
            return None
        result += lines[at:start] + [line.content for line in hunk.side("RIGHT")]
        at = start + len(wanted)
    return "".join(result + lines[at:]).encode("utf-8", "surrogateescape")


def fits_in(hunk: Hunk, content: bytes) -> bool:
    """Whether the new file has the hunk's lines where the hunk has them."""
    first = hunk.new_start if hunk.new_count else hunk.new_start + 1
    return _widened(hunk.side("RIGHT"), first, content) is not None


def check(file: FilePatch, found: Suggestion, content: bytes) -> str:
    """Why a suggestion cannot be made, in words; empty where it can.

    Args:
        content: the new file.
    """
    after = applies(found.patch.encode("utf-8", "surrogateescape"), content)
    if after is None:
        return "does not apply"
    if after == content:
        return "changes nothing"
    if file.path.endswith(".py") and _parses(content) and not _parses(after):
        return "would break the file's syntax"
    return ""


def _plain(answer: str) -> list[str]:
    """An answer's lines; where every line has a mark of a diff, those of the new side without it."""
    lines = answer.strip("\n").replace("\r\n", "\n").split("\n")
    if any(line[:1] in "+-" and line[:1] for line in lines) and all(line[:1] in " +-" for line in lines):
        return [line[1:] for line in lines if line[:1] != "-"]
    return lines


def _framed(old: Sequence[str], new: list[str]) -> list[str]:
    """New lines within the blank ones that the old begin and end with, which a model often leaves out."""
    filled = [number for number, line in enumerate(old) if line.strip()]
    if not filled:
        return new
    return [*old[: filled[0]], *new, *old[filled[-1] + 1 :]]


def _edit(old: Sequence[str], new: Sequence[str]) -> tuple[int, int, list[str]] | None:
    """The one stretch in which two lists of lines differ: `old[start:end]` becomes the third."""
    if list(old) == list(new):
        return None
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return start, len(old) - end, list(new[start : len(new) - end])


def _widened(lines: Sequence[Line], first: int, content: bytes) -> tuple[int, list[Line]] | None:
    """A hunk's lines with those of the file around them, and how many came before; None where they are not there."""
    whole = _with_ends(content.decode("utf-8", "surrogateescape"))
    start, stop = first - 1, first - 1 + len(lines)
    if whole[start:stop] != [line.content for line in lines]:
        return None
    low, high = max(start - CONTEXT, 0), min(stop + CONTEXT, len(whole))
    made = [_line(text) for text in whole[low:start]], [_line(text) for text in whole[stop:high]]
    return start - low, [*made[0], *lines, *made[1]]


def _line(text: str) -> Line:
    """An unchanged line of a file."""
    ended = text.endswith("\n")
    return Line(" ", text.removesuffix("\n"), no_newline="" if ended else NO_NEWLINE)


def _ends_file(hunk: Hunk) -> bool:
    """Whether a hunk shows that its file ends with it: it says so, or has fewer lines below its change than above."""
    if any(line.no_newline for line in hunk.lines):
        return True
    kinds = [line.kind == " " for line in hunk.lines]
    below = next((n for n, plain in enumerate(reversed(kinds)) if not plain), len(kinds))
    above = next((n for n, plain in enumerate(kinds) if not plain), len(kinds))
    return below < CONTEXT and (below < above or hunk.new_start <= 1)


def _patch(file: FilePatch, old: Sequence[Line], first: int, start: int, end: int, new: Sequence[str]) -> str:
    """A diff of the new file that replaces `old[start:end]`, lines that follow one another from number `first` on."""
    low, high = max(start - CONTEXT, 0), min(end + CONTEXT, len(old))
    last = end == len(old) and bool(old) and old[-1].no_newline
    lines = [Line(" ", line.text, no_newline=line.no_newline) for line in old[low:start]]
    lines += [Line("-", line.text, no_newline=line.no_newline) for line in old[start:end]]
    lines += [Line("+", text) for text in new]
    if last and new:
        lines[-1] = Line("+", new[-1], no_newline=old[-1].no_newline)
    lines += [Line(" ", line.text, no_newline=line.no_newline) for line in old[end:high]]
    made = tuple(lines)
    counted = sum(line.kind != "+" for line in made)
    begin = first + low if counted else first + low - 1
    hunk = Hunk(begin, first + low, numbered(made, begin, first + low))
    if not hunk.new_count:
        hunk = Hunk(begin, begin - 1, hunk.lines)
    name = quoted(file.path)
    head = f"diff --git {quoted('a/' + file.path)} {quoted('b/' + file.path)}\n"
    head += f"--- {quoted('a/' + file.path)}{_tab(name)}\n+++ {quoted('b/' + file.path)}{_tab(name)}\n"
    return Diff((FilePatch(file.path, file.path, (hunk,), head=head),)).render().decode("utf-8", "surrogateescape")


def _tab(name: str) -> str:
    """What git puts behind a name with blanks."""
    return "\t" if " " in name and not name.startswith('"') else ""


def _neighbour(result: Sequence[str], old: Sequence[str], following: int) -> str:
    """The line whose indentation an inserted one takes: the one above; of a block's first line the one below."""
    above = next((line for line in reversed(result) if line.strip()), "")
    below = old[following] if following < len(old) else ""
    opened = above.rstrip().endswith((":", "{", "(", "["))
    return below if below.strip() and (opened or not above) else above


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _with_ends(text: str) -> list[str]:
    """Lines with their line feeds; other characters that Python takes for line ends are none in a diff."""
    pieces = text.split("\n")
    return [f"{piece}\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])


def _parses(content: bytes) -> bool:
    try:
        ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
