"""A report as one HTML file that needs nothing else: styles and pictures are inside it."""

from __future__ import annotations

import base64
import html
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from suite.errors import InputError
from suite.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Picture = Path | str | bytes | Figure

LEAST_SCALE = 0.7
"""How far a page shrinks a picture; one that is wider still is scrolled."""

BESIDE = 500
"""Pixels that a picture has in a gallery of two columns."""

_NUMBER = re.compile(r"[-+−]?[\d,]*\.?\d+(e[-+]?\d+)?( ?%| ?(±|\+-) ?[\d,]*\.?\d+( ?%)?)?|nan|-?inf")
_AUTO = ' dir="auto"'

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"<svg", "image/svg+xml"),
    (b"<?xml", "image/svg+xml"),
)


class Part:
    """Text, facts, tables and pictures, in the order they were added. Every text is escaped.

    Methods return the part, so that calls chain.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._heading = ""

    @property
    def body(self) -> str:
        """What was added, as HTML for the body of a page."""
        return "\n".join(self._parts)

    def section(self, heading: str) -> Self:
        """Begin a section."""
        self._heading = heading
        return self._add(f'<h2 dir="auto">{_escape(heading)}</h2>')

    def heading(self, heading: str) -> Self:
        """Begin a part of a section."""
        self._heading = heading
        return self._add(f'<h3 dir="auto">{_escape(heading)}</h3>')

    def text(self, text: str) -> Self:
        """Add paragraphs, parted by empty lines; single line breaks are kept."""
        return self._add(_paragraphs(text))

    def code(self, text: str) -> Self:
        """Add text in a fixed-width font, as it stands."""
        return self._add(f'<pre tabindex="0"><code>{_escape(text)}</code></pre>')

    def facts(self, facts: Mapping[str, object]) -> Self:
        """Add a list of names and values."""
        rows = "".join(
            f'<dt>{_escape(name)}</dt><dd dir="auto">{_escape(_show(value))}</dd>' for name, value in facts.items()
        )
        return self._add(f"<dl>{rows}</dl>")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Self:
        """Add a table, which scrolls by itself where it is wider than the page; columns of numbers are aligned right.

        Raises:
            ValueError: a row has another length than the header.
        """
        rows = list(rows)
        for row in rows:
            if len(row) != len(header):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(header)} columns: {row!r}")
        kinds = [' class="number"' if _is_numeric(row[place] for row in rows) else "" for place in range(len(header))]
        head = "".join(f'<th scope="col"{kind}>{_escape(name)}</th>' for name, kind in zip(header, kinds, strict=True))
        lines = "\n".join(
            f"<tr>{''.join(_cell(value, kind) for value, kind in zip(row, kinds, strict=True))}</tr>" for row in rows
        )
        title = f"<caption>{_escape(caption)}</caption>" if caption else ""
        # Focusable, so that it can be scrolled without a mouse.
        return self._add(
            f'<div class="scroll" tabindex="0"><table>{title}<thead><tr>{head}</tr></thead>\n'
            f"<tbody>{lines}</tbody></table></div>"
        )

    def records(self, records: Sequence[Mapping[str, object]], caption: str = "") -> Self:
        """Add a table with a column for every key of any record, in order of appearance."""
        columns = list(dict.fromkeys(name for record in records for name in record))
        if not columns:
            return self.text("None.")
        rows = [[record.get(column) for column in columns] for record in records]
        return self.table([column.replace("_", " ") for column in columns], rows, caption)

    def image(self, source: Picture, caption: str = "", alt: str = "") -> Self:
        """Add a picture: a file (PNG, JPEG, GIF, WebP, SVG), its bytes, or a matplotlib figure.

        Args:
            caption: stands below it.
            alt: says what is on it to those who do not see it; the caption by default, or the heading.

        Raises:
            InputError: the file cannot be read or is not such a picture.
        """
        return self._add(_figure(source, caption, alt or caption or self._heading))

    def video(self, source: str, caption: str = "", *, start: float = 0.0, poster: Picture | None = None) -> Self:
        """Add a video that the page plays from its own file, which stays where it is.

        Args:
            source: its address, relative to the page or whole.
            start: second from which it plays.
            poster: what is seen before it plays.
        """
        shown = ""
        if poster is not None:
            data, kind = _picture(poster)
            shown = f' poster="data:{kind};base64,{base64.b64encode(data).decode("ascii")}"'
        note = f'<figcaption dir="auto">{_escape(caption)}</figcaption>' if caption else ""
        address = _escape(f"{quote(source, safe='/:')}#t={start:.2f}")
        style = ' style="max-width: 100%; max-height: 24rem"'
        player = f'<video controls preload="metadata" src="{address}"{shown}{style}></video>'
        return self._add(f"<figure>{player}{note}</figure>")

    def audio(self, source: str | bytes, caption: str = "", *, kind: str = "audio/wav") -> Self:
        """Add a recording that the page plays: from its own file, which stays where it is, or from within the page.

        Args:
            source: its address, relative to the page or whole; or the bytes of a file. kind: media type of the bytes.
        """
        if isinstance(source, bytes):
            address = f"data:{kind};base64,{base64.b64encode(source).decode('ascii')}"
        else:
            address = _escape(quote(source, safe="/:"))
        note = f'<figcaption dir="auto">{_escape(caption)}</figcaption>' if caption else ""
        return self._add(f'<figure><audio controls preload="metadata" src="{address}"></audio>{note}</figure>')

    def gallery(self, pictures: Iterable[tuple[Picture, str]], *, captions: bool = True) -> Self:
        """Add pictures with their captions side by side; one too wide for that has a row of its own.

        Args:
            captions: show them; otherwise they are only for those who do not see the picture.
        """
        figures = "".join(_figure(source, caption if captions else "", caption) for source, caption in pictures)
        return self._add(f'<div class="gallery">{figures}</div>')

    def fold(self, summary: str, content: Part) -> Self:
        """Add what a reader opens on demand; printing opens it."""
        return self._add(f"<details><summary>{_escape(summary)}</summary>\n{content.body}\n</details>")

    def feature(
        self, heading: str, text: str, picture: Picture | None = None, *, above: str = "", alt: str = ""
    ) -> Self:
        """Begin a section with one thing worth knowing: a heading, a sentence or two, a picture beside them.

        Args:
            above: a few small words over the heading that say what it belongs to.
            alt: see `image`; the heading by default.
        """
        over = f'<p class="above">{_escape(above)}</p>' if above else ""
        self._heading = heading
        shown = "" if picture is None else _figure(picture, "", alt or heading)
        return self._add(
            f'<section class="feature"><div>{over}<h2 dir="auto">{_escape(heading)}</h2>\n{_paragraphs(text)}</div>'
            f"{shown}</section>"
        )

    def append(self, content: Part) -> Self:
        """Add all that another part holds."""
        self._parts += content._parts
        return self

    def _add(self, part: str) -> Self:
        self._parts.append(part)
        return self


class Report(Part):
    """A part with a title that is a page of its own.

    >>> page = Report("Run 7").section("Result").facts({"F1": 0.71}).html()
    >>> '<dt>F1</dt><dd dir="auto">0.71</dd>' in page
    True
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        super().__init__()
        self.title = title
        self.subtitle = subtitle

    def html(self) -> str:
        """The whole page."""
        subtitle = f'<p class="subtitle" dir="auto">{_escape(self.subtitle)}</p>' if self.subtitle else ""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_escape(self.title)}</title>\n<style>\n{stylesheet()}</style>\n</head>\n<body>\n"
            f'<header><h1 dir="auto">{_escape(self.title)}</h1>{subtitle}</header>\n<main>\n{self.body}\n</main>\n'
            "</body>\n</html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write the page to `path`, all or nothing."""
        return write_text(path, self.html())


def stylesheet() -> str:
    """The style of every page, for those that are not made of parts."""
    return Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def _escape(text: str) -> str:
    # Lone surrogates come from file names that are not UTF-8; the page must still be writable.
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_show(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_show(one) for one in value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if math.isfinite(value) and abs(value) < 1e6 else str(value)
    return str(value)


def _paragraphs(text: str) -> str:
    paragraphs = [part.strip("\n") for part in text.split("\n\n") if part.strip()]
    return "\n".join(f'<p dir="auto">{_escape(part)}</p>' for part in paragraphs)


def _is_numeric(column: Iterable[object]) -> bool:
    """Whether every cell that holds anything is a number or the text of one."""
    cells = [value for value in column if value is not None and value not in ("", "-")]
    return bool(cells) and all(
        not isinstance(value, bool) and (isinstance(value, int | float) or bool(_NUMBER.fullmatch(str(value))))
        for value in cells
    )


def _cell(value: object, kind: str) -> str:
    return f"<td{kind or _AUTO}>{_escape(_show(value))}</td>"


def _figure(source: Picture, caption: str, alt: str) -> str:
    data, kind = _picture(source)
    size, wide = _size(data, kind)
    note = f'<figcaption dir="auto">{_escape(caption)}</figcaption>' if caption else ""
    encoded = base64.b64encode(data).decode("ascii")
    image = f'<img src="data:{kind};base64,{encoded}" alt="{_escape(alt)}"{size}>'
    # A picture far wider than the page is shrunk as far as its texts stay readable, and scrolls then.
    return f'<figure{wide}><div class="scroll" tabindex="0">{image}</div>{note}</figure>'


def _size(data: bytes, kind: str) -> tuple[str, str]:
    """Attributes of a picture, its size in CSS pixels among them, and those of the figure that it is in."""
    if kind == "image/svg+xml":
        return ' class="chart"', ""
    from PIL import Image, UnidentifiedImageError

    from suite.media.style import CHART, DENSITY

    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height, chart = *image.size, image.info.get("Source") == CHART
    except (UnidentifiedImageError, OSError, ValueError):
        return "", ""
    if chart:
        width, height = round(width / DENSITY), round(height / DENSITY)
    least = round(LEAST_SCALE * width)
    size = f' width="{width}" height="{height}" style="min-width: {least}px"'
    return size + (' class="chart"' if chart else ""), ' class="wide"' if least > BESIDE else ""


def _picture(source: Picture) -> tuple[bytes, str]:
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
