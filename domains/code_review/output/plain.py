"""Text of diffs and models made safe for the place that it goes to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

_MENTION = re.compile(r"(?<![\w`])@(?=[\w-])")


def clean(value: Any) -> Any:
    """Strings without lone surrogates, at any depth: JSON and pages hold no others' bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {name: clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def altered(value: Any) -> bool:
    """Whether `clean` has to change a text, or one in it at any depth."""
    if isinstance(value, dict):
        return any(map(altered, value.values()))
    if isinstance(value, list | tuple):
        return any(map(altered, value))
    return isinstance(value, str) and clean(value) != value


def controlled(text: str) -> str:
    """Text without control characters but for line feeds and tabs: no escape sequence reaches a terminal."""
    return "".join(c for c in clean(text) if c in "\n\t" or c.isprintable())


def markdown(text: str) -> str:
    """A comment for a page that reads Markdown and HTML: nothing in it is a tag, a picture, a link or a mention."""
    plain = controlled(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = plain.replace("![", "!\u200b[").replace("](", "]\u200b(")
    plain = re.sub(r"(?i)\b(https?|ftp)://", "\\1:\u200b//", plain)
    return _MENTION.sub("@\u200b", plain)


def uri(path: str) -> str:
    """A relative path as a URI: forward slashes, everything else escaped."""
    raw = path.replace("\\", "/").encode("utf-8", "surrogateescape")
    return quote(raw, safe="/")


def fenced(lines: Sequence[str], kind: str = "suggestion") -> str:
    """A block of suggested lines for GitHub or GitLab: its fence is longer than any run of backticks in them."""
    text = "\n".join(lines)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text}\n{fence}" if lines else f"{fence}{kind}\n{fence}"
