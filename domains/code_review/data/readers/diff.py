"""Unified diffs as git, GNU diff and mail programs write them, read so that they are written again byte for byte.

`unidiff` was looked at first: it reads text rather than bytes, leaves quoted paths quoted, and takes a hunk whose body
is longer than its header says without a word, as git does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from domains.code_review.data.readers.paths import old_and_new, written_path
from domains.code_review.types import Diff, FilePatch, Hunk, Line, Status, numbered
from suite.errors import InputError

MOST_LINE = 10 * 2**20
"""Bytes of a line; a file with a longer one is passed over with a notice."""
MOST_HUNKS = 100_000
"""Hunks of a diff; files beyond are passed over with a notice."""
MOST_HEADER = 2**14
"""Characters of a line that names files: two paths of the longest that systems know."""
MOST_NUMBER = 2**31 - 1
"""Of line numbers and counts in a hunk's header; no file that is reviewed has more lines."""

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(?: ?(.*))?")
_MARKS = " +-\\"
_EMPTY = ("\n", "\r\n", "\r")
_SHOWN = 60


def parse_diff(data: bytes | str, lenient: bool = False) -> Diff:
    """Read a diff.

    Args:
        data: the diff; of text, lone surrogates stand for bytes that are no UTF-8.
        lenient: count a hunk's lines anew where they are not those that its header announces, and say so.

    Raises:
        InputError: it is no diff, or a hunk does not hold what its header announces; names line, file and hunk.
    """
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    if not raw.strip():
        return Diff(preamble=raw.decode("utf-8", "surrogateescape"))
    return _Reader(_Lines(raw), lenient).read()


class _Lines:
    """The lines of a diff, decoded one at a time: a line may be larger than all that is kept of the rest."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.start, self.number = raw, 0, 1
        self._end = self._next_end(0)

    def _next_end(self, start: int) -> int:
        return self.raw.find(b"\n", start) + 1 or len(self.raw)

    @property
    def done(self) -> bool:
        return self.start >= len(self.raw)

    @property
    def too_long(self) -> bool:
        return self._end - self.start > MOST_LINE

    def peek(self, most: int = MOST_LINE) -> str:
        """The next line with its line end, or as much of it as `most` bytes; empty at the end."""
        return self.raw[self.start : min(self._end, self.start + most)].decode("utf-8", "surrogateescape")

    def second(self) -> bytes:
        """The beginning of the line after the next one."""
        return self.raw[self._end : self._end + 5]

    def take(self) -> str:
        line = self.peek()
        self.skip()
        return line

    def skip(self) -> None:
        self.start, self.number = self._end, self.number + 1
        self._end = self._next_end(self.start)


@dataclass
class _Head:
    """What the lines before a file's first hunk say."""

    git: str = ""
    old: str | None = None  # as written behind `---`
    new: str | None = None
    facts: dict[str, str] = field(default_factory=dict)
    binary: bool = False
    refused: str = ""
    text: list[str] = field(default_factory=list)


# Lines of git's extended header, each with the word under which its value is kept.
_FACTS = (
    "old mode",
    "new mode",
    "new file mode",
    "deleted file mode",
    "similarity index",
    "dissimilarity index",
    "rename from",
    "rename to",
    "copy from",
    "copy to",
    "index",
)


@dataclass
class _Reader:
    lines: _Lines
    lenient: bool
    notices: list[str] = field(default_factory=list)
    hunks: int = 0

    def read(self) -> Diff:
        preamble = self._between()
        if self.lines.done:
            raise InputError(_no_diff(self.lines.raw))
        files = tuple(self._files())
        return Diff(files, preamble, tuple(self.notices))

    def _files(self) -> Iterator[FilePatch]:
        while not self.lines.done:
            head = self._head()
            file = self._named(head)
            if head.refused:
                self._skip_file(named=True)
                self.notices.append(f"{shown(file.path)}: passed over: {head.refused}")
                yield file
                continue
            yield self._body(file, head)

    def _at_start(self) -> bool:
        """Whether the next line begins a file, or a hunk of one without a name."""
        line = self.lines.peek(200)
        if line.startswith(("diff --git ", "diff --cc ", "diff --combined ")):
            return True
        if line.startswith("--- "):
            return self.lines.second().startswith(b"+++ ")
        return _HUNK.match(line) is not None

    def _between(self) -> str:
        """The lines up to the next file: mail, signatures, blank lines."""
        taken = []
        while not self.lines.done and not self._at_start():
            taken.append(self.lines.take())
        return "".join(taken)

    def _head(self) -> _Head:
        head = _Head()
        first = self.lines.peek(200)
        if first.startswith(("diff --cc ", "diff --combined ")):
            head.git = head.new = _bare(self.lines.take()).split(" ", 2)[2]
            head.refused = "the combined diff of a merge; review it against one parent"
            return head
        if first.startswith("diff --git "):
            head.git = _bare(self._into(head))[len("diff --git ") :]
            self._extended(head)
        if self.lines.peek(4) == "--- " and self.lines.second().startswith(b"+++ "):
            head.old = _bare(self._into(head))[4:]
            head.new = _bare(self._into(head))[4:]
            if not self.lines.peek(4).startswith("@@ "):
                where = shown(written_path(head.new) or head.new)
                raise InputError(f"line {self.lines.number}: {where}: '---' and '+++' are followed by no hunk")
        return head

    def _into(self, head: _Head) -> str:
        line = self.lines.take()
        if len(line) > MOST_HEADER and not head.binary:
            raise InputError(f"line {self.lines.number - 1}: a header of {len(line):,} characters: {shown(line)}")
        head.text.append(line)
        return line

    def _extended(self, head: _Head) -> None:
        """Git's lines between `diff --git` and `---`."""
        while not self.lines.done:
            line = _bare(self.lines.peek(5000))
            fact = next((name for name in _FACTS if line.startswith(f"{name} ")), None)
            if fact is not None:
                head.facts[fact] = line[len(fact) + 1 :]
                self._into(head)
            elif line.startswith("Binary files ") and line.endswith(" differ"):
                head.binary = True
                self._into(head)
                return
            elif line == "GIT binary patch":
                head.binary = True
                while not self.lines.done and not self._at_start():
                    self._into(head)
                return
            else:
                return

    def _named(self, head: _Head) -> FilePatch:
        old, new = old_and_new(head.git, head.old, head.new, head.facts)
        facts = head.facts
        status: Status = "modified"
        if "new file mode" in facts or (old is None and new is not None):
            status, old = "added", None
        elif "deleted file mode" in facts or (new is None and old is not None):
            status, new = "deleted", None
        elif "rename to" in facts:
            status = "renamed"
        elif "copy to" in facts:
            status = "copied"
        elif "new mode" in facts and head.old is None and not head.binary:
            status = "mode changed"
        index = facts.get("index", "").rpartition(" ")
        mode = index[2] if index[1] else ""
        similarity = re.match(r"\d+(?=%)", facts.get("similarity index", ""))
        return FilePatch(
            old,
            new,
            status=status,
            old_mode=facts.get("old mode") or facts.get("deleted file mode") or mode,
            new_mode=facts.get("new mode") or facts.get("new file mode") or mode,
            similarity=int(similarity.group()) if similarity else None,
            binary=head.binary,
            refused=head.refused,
            head="".join(head.text),
        )

    def _body(self, file: FilePatch, head: _Head) -> FilePatch:
        hunks: list[Hunk] = []
        tail = ""
        while not self.lines.done:
            if _HUNK.match(self.lines.peek(200)):
                if file.binary:
                    raise InputError(f"line {self.lines.number}: {shown(file.path)}: a hunk of a binary file")
                if tail:
                    where = f"line {self.lines.number}: {shown(file.path)}"
                    raise InputError(f"{where}: a hunk behind lines that are no diff: {shown(tail)}")
                self.hunks += 1
                why = f"more than {MOST_HUNKS:,} hunks in one diff" if self.hunks > MOST_HUNKS else ""
                hunk = None if why else self._hunk(file, len(hunks) + 1)
                if hunk is None:
                    why = why or f"a line of more than {MOST_LINE // 2**20} MB"
                    self._skip_file(named=bool(head.git))
                    self.notices.append(f"{shown(file.path)}: passed over: {why}")
                    return replace(file, hunks=(), refused=why)
                hunks.append(hunk)
            elif self._at_start():
                break
            elif self.lines.peek(3) == "@@ ":
                raise InputError(f"line {self.lines.number}: {shown(file.path)}: no header of a hunk: {self._seen()}")
            else:
                tail = self._tail(file, len(hunks))
        return replace(file, hunks=tuple(hunks), tail=tail)

    def _tail(self, file: FilePatch, hunks: int) -> str:
        """What belongs to no file; a line of a hunk that its header did not announce is no such thing."""
        taken: list[str] = []
        while not self.lines.done and not self._at_start() and self.lines.peek(3) != "@@ ":
            if hunks and not taken and self.lines.peek(1) in " +-\\" and not self._at_signature():
                raise InputError(self._surplus(file, hunks))
            taken.append(self.lines.take())
        return "".join(taken)

    def _at_signature(self) -> bool:
        """Whether the line is the `-- ` that mail programs put before a signature."""
        return _bare(self.lines.peek(10)) in ("-- ", "--")

    def _hunk(self, file: FilePatch, number: int) -> Hunk | None:
        """The hunk that begins here; None where one of its lines is longer than any that is read."""
        first = self.lines.number
        header = self.lines.take()
        match = _HUNK.match(_bare(header))
        assert match is not None
        old_start, new_start = int(match[1]), int(match[3])
        old_count, new_count = int(match[2] or 1), int(match[4] or 1)
        if max(old_start, old_count, new_start, new_count) > MOST_NUMBER:
            raise InputError(f"line {first}: {shown(file.path)}: hunk {number} has a line number above {MOST_NUMBER:,}")
        lines: list[Line] = []
        old = new = 0
        while self.lenient or old < old_count or new < new_count:
            if self.lines.too_long:
                return None
            start = self.lines.peek(2)
            inside = start[:1] in _MARKS or start in _EMPTY
            if self.lines.done or not inside or (self.lenient and self._ended(old >= old_count)):
                break
            if start[0] == "\\":
                self._mark(lines, file)
                continue
            line = _line(self.lines.take())
            lines.append(line)
            old, new = old + (line.kind != "+"), new + (line.kind != "-")
            if not self.lenient and (old > old_count or new > new_count):
                raise InputError(_mismatch(first, file, number, (old_count, new_count), (old, new), "or more"))
        if self.lines.peek(1) == "\\":
            self._mark(lines, file)
        if (old, new) != (old_count, new_count):
            if not self.lenient:
                raise InputError(self._short(first, file, number, (old_count, new_count), (old, new)))
            self.notices.append(
                f"line {first}: {shown(file.path)}: hunk {number} announces {old_count} old and {new_count} new lines "
                f"and has {old} and {new}: counted anew"
            )
            header = ""
        return Hunk(old_start, new_start, numbered(tuple(lines), old_start, new_start), match[5] or "", header)

    def _mark(self, lines: list[Line], file: FilePatch) -> None:
        """Tell the line before that its file ends there without a line feed."""
        if not lines or lines[-1].no_newline:
            raise InputError(
                f"line {self.lines.number}: {shown(file.path)}: no line of a file ends there: {self._seen()}"
            )
        written = self.lines.take()
        end = "\n" if written.endswith("\n") else ""
        lines[-1] = replace(lines[-1], no_newline=written.removesuffix("\n"), end=end)

    def _ended(self, complete: bool) -> bool:
        """Where counts do not tell: whether a hunk's body ends before the next line."""
        return self._at_start() or (complete and (self._at_signature() or not self.lines.peek(2).strip("\r\n")))

    def _short(
        self, first: int, file: FilePatch, number: int, announced: tuple[int, int], found: tuple[int, int]
    ) -> str:
        told = _mismatch(first, file, number, announced, found)
        if self.lines.done:
            return f"{told}; the diff ends there"
        return f"{told}; line {self.lines.number} is none of it: {self._seen()}"

    def _surplus(self, file: FilePatch, number: int) -> str:
        """The message for a body that goes on behind the lines that its header announces."""
        return (
            f"line {self.lines.number}: {shown(file.path)}: hunk {number} goes on behind the lines that its header "
            f"announces: {self._seen()}; correct the header, or count anew with --lenient"
        )

    def _seen(self) -> str:
        return shown(_bare(self.lines.peek(400)))

    def _skip_file(self, named: bool) -> None:
        """Go on to the next file. Of a `named` one, with a line `diff`, the next has one, too; its hunks may hold lines
        that look like the two that name other files."""
        while not self.lines.done:
            start = self.lines.peek(20)
            if start.startswith(("diff --git ", "diff --cc ", "diff --combined ")):
                return
            if not named and start.startswith("--- ") and self.lines.second().startswith(b"+++ "):
                return
            self.lines.skip()


def shown(text: str) -> str:
    """Text of a diff for a message: escaped, and no longer than a line."""
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return short.encode("unicode_escape").decode() if not short.isprintable() else short


def _no_diff(raw: bytes) -> str:
    for number, line in enumerate(raw[: 2**16].split(b"\n"), 1):
        if line.strip():
            found = shown(line[:400].decode("utf-8", "surrogateescape").rstrip("\r"))
            return f"line {number}: expected 'diff --git', '---' or '@@', found {found!r}: this is no diff"
    return "no diff: more than 64 KB of blank lines"


def _bare(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _line(written: str) -> Line:
    end = "\n" if written.endswith("\n") else ""
    body = written.removesuffix("\n")
    if body in ("", "\r"):
        return Line(" ", body, bare=True, end=end)
    kind = body[0]
    assert kind in " +-"
    return Line(kind, body[1:], end=end)  # type: ignore[arg-type]


def _mismatch(
    line: int,
    file: FilePatch,
    number: int,
    announced: tuple[int, int],
    found: tuple[int, int],
    more: str = "",
) -> str:
    told = f"{found[0]} and {found[1]}{f' {more}' if more else ''}"
    return (
        f"line {line}: {shown(file.path)}: hunk {number} announces {announced[0]} old and {announced[1]} new lines and "
        f"has {told}; correct its header, or count anew with --lenient"
    )
