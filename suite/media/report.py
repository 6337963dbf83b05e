"""A report as one HTML file that needs nothing else: styles and pictures are inside it."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from suite.errors import InputError
from suite.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"<svg", "image/svg+xml"),
    (b"<?xml", "image/svg+xml"),
)


class Report:
    """Sections of text, facts, tables and pictures, in the order they were added. Every text is escaped.

    Methods return the report, so that calls chain:

    >>> page = Report("Run 7").section("Result").facts({"F1": 0.71}).html()
    >>> "<dt>F1</dt><dd>0.71</dd>" in page
    True
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._parts: list[str] = []

    def section(self, heading: str) -> Self:
        """Begin a section."""
        return self._add(f"<h2>{_escape(heading)}</h2>")

    def text(self, text: str) -> Self:
        """Add paragraphs, parted by empty lines; single line breaks are kept."""
        paragraphs = [part.strip("\n") for part in text.split("\n\n") if part.strip()]
        return self._add("\n".join(f"<p>{_escape(part)}</p>" for part in paragraphs))

    def code(self, text: str) -> Self:
        """Add text in a fixed-width font, as it stands."""
        return self._add(f"<pre><code>{_escape(text)}</code></pre>")

    def facts(self, facts: Mapping[str, object]) -> Self:
        """Add a list of names and values."""
        rows = "".join(f"<dt>{_escape(name)}</dt><dd>{_escape(_show(value))}</dd>" for name, value in facts.items())
        return self._add(f"<dl>{rows}</dl>")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Self:
        """Add a table; numbers are aligned right.

        Raises:
            ValueError: a row has another length than the header.
        """
        head = "".join(f'<th scope="col">{_escape(name)}</th>' for name in header)
        body = []
        for row in rows:
            if len(row) != len(header):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(header)} columns: {row!r}")
            body.append(f"<tr>{''.join(_cell(value) for value in row)}</tr>")
        lines = "\n".join(body)
        title = f"<caption>{_escape(caption)}</caption>" if caption else ""
        return self._add(
            f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead>\n<tbody>{lines}</tbody></table></div>'
        )

    def image(self, source: Path | str | bytes | Figure, caption: str = "") -> Self:
        """Add a picture: a file (PNG, JPEG, GIF, WebP, SVG), its bytes, or a matplotlib figure.

        Raises:
            InputError: the file cannot be read or is not such a picture.
        """
        return self._add(_figure(source, caption))

    def gallery(self, pictures: Iterable[tuple[Path | str | bytes | Figure, str]]) -> Self:
        """Add pictures with their captions side by side."""
        return self._add(
            f'<div class="gallery">{"".join(_figure(source, caption) for source, caption in pictures)}</div>'
        )

    def html(self) -> str:
        """The whole page."""
        subtitle = f'<p class="subtitle">{_escape(self.subtitle)}</p>' if self.subtitle else ""
        body = "\n".join(self._parts)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_escape(self.title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n"
            f"<header><h1>{_escape(self.title)}</h1>{subtitle}</header>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write the page to `path`, all or nothing."""
        return write_text(path, self.html())

    def _add(self, part: str) -> Self:
        self._parts.append(part)
        return self


def _style() -> str:
    return Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def _escape(text: str) -> str:
    # Lone surrogates come from file names that are not UTF-8; the page must still be writable.
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if math.isfinite(value) and abs(value) < 1e6 else str(value)
    return str(value)


def _cell(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    opening = '<td class="number">' if number else "<td>"
    return f"{opening}{_escape(_show(value))}</td>"


def _figure(source: Path | str | bytes | Figure, caption: str) -> str:
    data, kind = _picture(source)
    note = f"<figcaption>{_escape(caption)}</figcaption>" if caption else ""
    encoded = base64.b64encode(data).decode("ascii")
    return f'<figure><img src="data:{kind};base64,{encoded}" alt="{_escape(caption)}">{note}</figure>'


def _picture(source: Path | str | bytes | Figure) -> tuple[bytes, str]:
    """The encoded picture and its media type, which is read from the bytes and not from the file's name."""
    if isinstance(source, bytes):
        data, name = source, "these bytes"
    elif isinstance(source, str | Path):
        name = str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise InputError(f"the picture {name} cannot be read ({error.strerror}); give an existing file") from error
    else:
        from suite.media.plots import to_bytes

        return to_bytes(source), "image/png"
    start = data[:64].lstrip()
    for signature, kind in _SIGNATURES:
        if start.startswith(signature):
            return data, kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return data, "image/webp"
    raise InputError(f"{name} holds no picture that a page can show; give PNG, JPEG, GIF, WebP or SVG")
