"""Opening what users hold: bytes to text, lines and JSON values, with errors that say where."""

from __future__ import annotations

import codecs
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from suite.errors import InputError, first_line

Item = tuple[str, Any]
"""A JSON value and where it stands ("file.jsonl line 3"), or an error in its place."""

_BLOCK = 1 << 20
_HEAD = 4096
_BIOC = re.compile(r"<collection\b")
"""The element that all of a BioC file is in, the one kind of XML that is read."""
_OUT_OF_SCOPE = {
    ".html": "HTML",
    ".htm": "HTML",
    ".xhtml": "HTML",
    ".pdf": "PDF",
    ".doc": "Word",
    ".docx": "Word",
    ".odt": "OpenDocument",
    ".rtf": "RTF",
    ".epub": "EPUB",
    ".xml": "XML",
    ".conll": "CoNLL",
    ".conllu": "CoNLL",
    ".iob": "CoNLL",
    ".bio": "CoNLL",
    ".xlsx": "Excel",
    ".xls": "Excel",
    ".parquet": "Parquet",
}


@dataclass(frozen=True)
class Opened:
    """One file, or standard input.

    Attributes:
        name: what error messages call it.
        stem: what document ids begin with.
        path: the file; None: `data` holds the bytes.
    """

    name: str
    stem: str
    encoding: str = "utf-8"
    path: Path | None = None
    data: bytes = field(default=b"", repr=False)

    @classmethod
    def file(cls, path: Path, encoding: str, root: Path | None = None) -> Opened:
        """Describe the file `path`; its ids carry its folder where it was found below `root`."""
        stem = path.stem if root is None else path.relative_to(root).with_suffix("").as_posix()
        return cls(str(path), stem, check_encoding(encoding), path)

    @classmethod
    def standard_input(cls, encoding: str) -> Opened:
        return cls("standard input", "stdin", check_encoding(encoding), None, sys.stdin.buffer.read())

    @property
    def suffix(self) -> str:
        return self.path.suffix.lower() if self.path else ""

    @cached_property
    def head(self) -> str:
        """The first few thousand characters, whatever is no text left out: enough to see what the file is.

        Raises:
            InputError: the file cannot be read, or is of a kind that is out of scope.
        """
        with self._bytes() as stream:
            start = stream.read(_HEAD)
        text = start.decode(self._codec, errors="ignore").lstrip()
        kind = _OUT_OF_SCOPE.get(self.suffix)
        if start.startswith(b"%PDF"):
            kind = "PDF"
        elif text[:15].lower().startswith(("<!doctype html", "<html")):
            kind = "HTML"
        elif text.startswith("<?xml"):
            kind = "XML"
        if kind == "XML" and _BIOC.search(text):
            kind = None
        if kind:
            raise InputError(f"{self.name}: {kind} is not read; convert it to plain text first and give the .txt file")
        return text

    def text(self) -> str:
        """Return the whole content, line ends as they are, without a byte order mark."""
        with self._text() as stream:
            return self._read(stream, -1)

    def blocks(self) -> Iterator[str]:
        """Yield the content piece by piece."""
        with self._text() as stream:
            while block := self._read(stream, _BLOCK):
                yield block

    def beside(self, suffix: str) -> Opened:
        """The file of the same name with another ending.

        Raises:
            InputError: there is none.
        """
        assert self.path is not None
        path = self.path.with_suffix(suffix)
        if not path.is_file():
            raise InputError(f"{self.name}: there is no {path.name} beside it; the two belong together")
        return replace(self, name=str(path), path=path)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield `(number, line)` from 1 on, without line ends."""
        with self._text(newline=None) as stream:
            number = 0
            while True:
                try:
                    line = stream.readline()
                except UnicodeDecodeError as error:
                    raise self._bad_byte() from error
                if not line:
                    return
                number += 1
                yield number, line.removesuffix("\n")

    def records(self) -> Iterator[Item | InputError]:
        """Yield the values of a JSON array, of JSON lines, or the one value of a JSON file, one at a time.

        A line that is not JSON comes as an `InputError` in its place, so that the others can still be read.
        """
        if self.head.startswith("["):
            yield from self._array()
        elif self._is_lines():
            yield from self._json_lines()
        else:
            yield self.name, self._parse(self.text(), self.name)

    def _is_lines(self) -> bool:
        """Whether each line is a JSON value: by the file's ending, else by its first line, if there is a second."""
        if self.suffix in (".jsonl", ".ndjson"):
            return True
        lines = (line for _, line in self.lines() if line.strip())
        return _is_json(next(lines, "")) and next(lines, None) is not None

    def _json_lines(self) -> Iterator[Item | InputError]:
        for number, line in self.lines():
            if line.strip():
                where = f"{self.name} line {number}"
                try:
                    yield where, self._parse(line, where)
                except InputError as error:
                    yield error

    def _array(self) -> Iterator[Item]:
        """Yield the elements of a top-level array without holding more than one of them and a block of text."""
        decoder = json.JSONDecoder()
        with self._text() as stream:
            buffer = self._read(stream, _BLOCK)
            position, line, number, ended = _after_blank(buffer, 0) + 1, 1, 0, False
            while True:
                position = _after_blank(buffer, position)
                if position == len(buffer) and not ended:
                    line += buffer.count("\n")
                    buffer, position = self._read(stream, _BLOCK), 0
                    ended = not buffer
                    continue
                if buffer[position : position + 1] == "]":
                    return
                if number:
                    if buffer[position : position + 1] != ",":
                        raise self._broken(line + buffer.count("\n", 0, position), "expected `,` or `]`")
                    position = _after_blank(buffer, position + 1)
                try:
                    value, position = decoder.raw_decode(buffer, position)
                except RecursionError as error:
                    raise self._broken(line, "it is nested too deeply") from error
                except ValueError as error:
                    if not ended and _may_be_cut(error, buffer):
                        line += buffer.count("\n", 0, position)
                        # The comma was passed already: put it back, so that the element is looked for again.
                        more = self._read(stream, max(_BLOCK, len(buffer) - position))
                        ended = not more
                        buffer, position = ("," if number else "") + buffer[position:] + more, 0
                        continue
                    at = error.pos if isinstance(error, json.JSONDecodeError) else position
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                    raise self._broken(line + buffer.count("\n", 0, at), reason) from error
                number += 1
                yield f"{self.name}: document {number}", value

    def _parse(self, text: str, where: str) -> Any:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            at = f"line {error.lineno} column {error.colno}" if "\n" in text.strip() else f"column {error.colno}"
            raise InputError(f"{where}: not JSON ({error.msg} at {at}); correct or remove it") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({first_line(error)}); correct or remove it") from error

    def _broken(self, line: int, reason: str) -> InputError:
        return InputError(f"{self.name} line {line}: not JSON ({reason}); correct the file")

    @property
    def _codec(self) -> str:
        return "utf-8-sig" if codecs.lookup(self.encoding).name == "utf-8" else self.encoding

    def _bytes(self) -> BinaryIO:
        if self.path is None:
            return io.BytesIO(self.data)
        try:
            return self.path.open("rb")
        except OSError as error:
            raise InputError(
                f"{self.name}: cannot be read ({error.strerror}); check the path and its rights"
            ) from error

    def _text(self, newline: str | None = "") -> TextIO:
        return io.TextIOWrapper(self._bytes(), encoding=self._codec, newline=newline)

    def _read(self, stream: TextIO, size: int) -> str:
        try:
            return stream.read(size)
        except UnicodeDecodeError as error:
            raise self._bad_byte() from error

    def _bad_byte(self) -> InputError:
        """Say where the first wrong byte is: the offset that a stream's decoder gives counts from its buffer."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        offset = 0
        with self._bytes() as stream:
            while True:
                block = stream.read(_BLOCK)
                # A character may be cut by the block's end: the decoder holds its first bytes back.
                held = len(decoder.getstate()[0])
                try:
                    decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    offset += error.start - held
                    break
                if not block:
                    break
                offset += len(block)
        with self._bytes() as stream:
            start = stream.read(2)
        if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return InputError(f"{self.name}: it begins with the mark of UTF-16; give --encoding utf-16")
        return InputError(
            f"{self.name}: byte offset {offset} is not {self.encoding}; save the file as UTF-8 or give its encoding "
            "(--encoding latin-1, for example)"
        )


def check_encoding(encoding: str) -> str:
    """Return the name of an encoding.

    Raises:
        InputError: there is none called so.
    """
    try:
        codecs.lookup(encoding)
        "".encode(encoding)
    except LookupError as error:
        raise InputError(f"encoding `{encoding}` is unknown; give a name such as utf-8, utf-16 or latin-1") from error
    return encoding


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _after_blank(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _may_be_cut(error: ValueError, buffer: str) -> bool:
    """Whether `error` may only mean that the buffer ends in the middle of a value."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(buffer) - 12
