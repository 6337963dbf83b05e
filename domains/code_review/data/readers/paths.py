"""Paths as git writes them in a diff: quoted, with prefixes, with blanks in them."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_ESCAPE = re.compile(rb"\\([abtnvfr\"\\]|[0-3][0-7]{2})")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
NOWHERE = "/dev/null"


def unquote(text: str) -> str:
    """Undo git's quoting: `"sp\\303\\244ce"` is `späce`; what is not quoted stays."""
    match = _QUOTED.fullmatch(text)
    if match is None:
        return text
    raw = match[1].encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(_byte, raw).decode("utf-8", "surrogateescape")


def quoted(path: str) -> str:
    """A path as git writes it in a diff: in quotes where it holds what a line cannot."""
    raw = path.encode("utf-8", "surrogateescape")
    if not any(byte < 32 or byte > 126 or byte in b'"\\' for byte in raw):
        return path
    named = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
    shown = (f"\\{named[b]}" if b in named else (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in raw)
    return f'"{"".join(shown)}"'


def written_path(text: str) -> str | None:
    """The path behind `---` or `+++` with its prefix; None for `/dev/null`.

    An unquoted one ends at its first tab: GNU diff puts a time behind it, git a lone tab where the name has blanks.
    """
    quoted = _QUOTED.match(text)
    path = unquote(quoted.group()) if quoted else text.partition("\t")[0]
    return None if path == NOWHERE else path


def old_and_new(git: str, old: str | None, new: str | None, facts: Mapping[str, str]) -> tuple[str | None, str | None]:
    """A file's two paths without prefixes.

    Args:
        git: what stands behind `diff --git`; empty where the diff is not git's.
        old, new: what stands behind `---` and `+++`; None where there are no such lines.
        facts: git's other lines by their first words; `rename from` and the like have no prefixes.
    """
    for moved in ("rename", "copy"):
        if f"{moved} from" in facts and f"{moved} to" in facts:
            return unquote(facts[f"{moved} from"]), unquote(facts[f"{moved} to"])
    named = _halves(git)
    if old is None or new is None:
        return _without(*named) if named else (git or None, git or None)
    first, second = written_path(old), written_path(new)
    if named:
        # Of a new or deleted file one side is nowhere; git's first line has both names, and so tells the prefixes.
        paths = _without(*named)
        return (None if first is None else paths[0]), (None if second is None else paths[1])
    if first is None or second is None:
        return _stripped(first, "a/"), _stripped(second, "b/")
    return _without(first, second)


def _halves(git: str) -> tuple[str, str] | None:
    """The two names of `diff --git`; where blanks leave a choice, the two that differ in nothing but their prefixes."""
    quoted = _QUOTED.match(git)
    if quoted:
        return unquote(quoted.group()), unquote(git[quoted.end() + 1 :])
    if git.endswith('"'):
        start = git.find(' "')
        return (git[:start], unquote(git[start + 1 :])) if start > 0 else None
    cuts = [match.start() for match in re.finditer(" ", git)]
    for cut in cuts:
        first, second = git[:cut], git[cut + 1 :]
        if first == second or (first[1:2] == second[1:2] == "/" and first[2:] == second[2:]):
            return first, second
    if len(cuts) == 1:
        return git[: cuts[0]], git[cuts[0] + 1 :]
    return None


def _without(old: str, new: str) -> tuple[str, str]:
    """Two names without their prefixes. Equal names have none (`diff.noprefix`); others have a letter and a slash each
    (a and b, or i, w, c, o of `diff.mnemonicPrefix`)."""
    if old != new and old[1:2] == new[1:2] == "/" and old[0].isalpha() and new[0].isalpha():
        return old[2:], new[2:]
    return old, new


def _stripped(path: str | None, prefix: str) -> str | None:
    return path if path is None else path.removeprefix(prefix)


def _byte(match: re.Match[bytes]) -> bytes:
    written = match[1].decode()
    return bytes([_ESCAPES[written] if written in _ESCAPES else int(written, 8)])
