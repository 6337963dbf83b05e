"""Sentence boundaries of running text, as offsets: nothing is changed, every non-blank character is in one sentence.

A rule splitter is enough here: sentences only decide where a long document may be cut and what counts as evidence.
"""

from __future__ import annotations

import re

# A boundary candidate: closing punctuation with what may trail it, a full-width stop, or a blank line.
_CANDIDATE = re.compile(r"""[.!?…]+["'”’»)\]]*(?=\s)|[。！？]+["”’」』）]*|\s*\n\s*\n""")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘«]+$")
_NEXT = re.compile(r"\s*[\"'“‘«(\[]*\s*(\S)")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+")
_ABBREVIATION = re.compile(
    r"(?:mrs?|ms|dr|prof|rev|hon|gen|col|maj|capt|lt|sgt|adm|gov|sen|rep|pres|st|mt|ft|[js]r|e\.g|i\.e|cf|vs|viz|al|approx"
    r"|ca|eds?|inc|ltd|co|corp|bros|dept|univ|est|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(?:nos?|vols?|pp?|figs?|sec|ch|art)\.", re.IGNORECASE)


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Return `(start, end)` of each sentence of `text`, blank ends left out; blank text has none."""
    spans = []
    start = 0
    for match in _CANDIDATE.finditer(text):
        if match.start() >= start and _ends_sentence(text, match):
            spans.append(_trim(text, start, match.end()))
            start = match.end()
    spans.append(_trim(text, start, len(text)))
    return [(left, right) for left, right in spans if left < right]


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    mark = match.group().lstrip()
    if not mark or mark[0] not in ".…":
        return True
    following = _NEXT.match(text, match.end())
    first = following.group(1) if following else ""
    if first.islower():
        return False
    if mark[0] != "." or mark.startswith(".."):
        return True
    word = _LAST_WORD.search(text, max(0, match.start() - 40), match.start() + 1)
    last = word.group() if word else ""
    # "J. R. R. Tolkien", "U.S. Army", "Dr. Who" and "No. 5" run on.
    runs_on = _INITIALS.fullmatch(last) or _ABBREVIATION.fullmatch(last)
    return not (runs_on or (first.isdigit() and _NUMBERED.fullmatch(last)))


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
