"""What code review reads and gives: a diff's files, hunks and lines. Imports no torch.

Text keeps every byte of the diff: what is no UTF-8 stands in it as lone surrogates (`surrogateescape`), so that it is
written again as it was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol

from suite.errors import InputError
from suite.prediction.options import normalise
from suite.tables import counted

Kind = Literal[" ", "+", "-"]
Status = Literal["modified", "added", "deleted", "renamed", "copied", "mode changed"]
Side = Literal["LEFT", "RIGHT"]

NO_NEWLINE = "\\ No newline at end of file"


@dataclass(frozen=True)
class Line:
    """A line of a hunk.

    Attributes:
        kind: blank (context), `+` (added) or `-` (removed).
        text: the line without its mark and without the line feed; a carriage return before that is part of it.
        old: its number in the old file, counted from 1; None for an added one.
        new: its number in the new file; None for a removed one.
        no_newline: what the diff says below a line that ends its file without a line feed; empty elsewhere.
        bare: an empty context line that lost its blank, as mail programs leave it.
        end: what ends it in the diff: a line feed, or nothing where the diff itself is cut off there.
    """

    kind: Kind
    text: str
    old: int | None = None
    new: int | None = None
    no_newline: str = ""
    bare: bool = False
    end: str = "\n"

    def render(self) -> str:
        """The line as the diff has it."""
        written = self.text if self.bare else self.kind + self.text
        return f"{written}\n{self.no_newline}{self.end}" if self.no_newline else f"{written}{self.end}"

    @property
    def content(self) -> str:
        """The line as its file has it."""
        return self.text if self.no_newline else f"{self.text}\n"


@dataclass(frozen=True)
class Hunk:
    """A hunk: lines that follow one another in both files.

    Attributes:
        old_start, new_start: number of its first line in either file; where it has none there, of the line before it.
        section: what stands behind the second `@@`, usually the enclosing definition.
        header: the first line as the diff has it, with its line end; empty: it is made from the numbers.
    """

    old_start: int
    new_start: int
    lines: tuple[Line, ...]
    section: str = ""
    header: str = ""

    @property
    def old_count(self) -> int:
        return sum(line.kind != "+" for line in self.lines)

    @property
    def new_count(self) -> int:
        return sum(line.kind != "-" for line in self.lines)

    @property
    def changed(self) -> tuple[Line, ...]:
        """The added and removed lines."""
        return tuple(line for line in self.lines if line.kind != " ")

    def title(self) -> str:
        """The line that begins the hunk, made from its numbers."""
        section = f" {self.section}" if self.section else ""
        old, new = _range(self.old_start, self.old_count), _range(self.new_start, self.new_count)
        return f"@@ -{old} +{new} @@{section}"

    def render(self) -> str:
        """The hunk as the diff has it, byte for byte once encoded with `surrogateescape`."""
        return (self.header or f"{self.title()}\n") + "".join(line.render() for line in self.lines)

    def rows(self) -> list[str]:
        """Its lines with their marks, for a model to read: no line ends, nothing about a missing line feed."""
        return [line.kind + line.text.removesuffix("\r") for line in self.lines]

    def side(self, side: Side) -> tuple[Line, ...]:
        """The lines that the old (`LEFT`) or the new (`RIGHT`) file has."""
        dropped = "+" if side == "LEFT" else "-"
        return tuple(line for line in self.lines if line.kind != dropped)


@dataclass(frozen=True)
class FilePatch:
    """What a diff does to one file.

    Attributes:
        old_path, new_path: without `a/` and `b/`, unquoted; None where the file does not exist on that side.
        status: what happened to it.
        old_mode, new_mode: file modes in octal, as git writes them; empty where the diff does not say.
        similarity: per cent that a renamed or copied file has kept; None where the diff does not say.
        binary: its content is not shown, or as git's encoded binary patch.
        refused: why its hunks cannot be read (a merge's combined diff, a limit); empty otherwise.
        head: the lines before its first hunk as the diff has them.
        tail: the lines behind its last hunk that belong to no file: signatures, mail.
    """

    old_path: str | None
    new_path: str | None
    hunks: tuple[Hunk, ...] = ()
    status: Status = "modified"
    old_mode: str = ""
    new_mode: str = ""
    similarity: int | None = None
    binary: bool = False
    refused: str = ""
    head: str = ""
    tail: str = ""

    @property
    def path(self) -> str:
        """The path of the file today, or the one that it had."""
        return self.new_path or self.old_path or ""

    @property
    def submodule(self) -> bool:
        """Whether it is another repository's commit that changes."""
        return "160000" in (self.old_mode, self.new_mode)

    @property
    def unsafe(self) -> bool:
        """Whether a path leaves the tree that the diff is of: the file is never opened, nor a patch of it written."""
        return any(leaves_tree(path) for path in (self.old_path, self.new_path) if path is not None)

    @property
    def added(self) -> int:
        """How many lines are added."""
        return sum(line.kind == "+" for hunk in self.hunks for line in hunk.lines)

    @property
    def removed(self) -> int:
        """How many lines are removed."""
        return sum(line.kind == "-" for hunk in self.hunks for line in hunk.lines)

    def render(self) -> str:
        """This file's part of the diff, as it was read."""
        return self.head + "".join(hunk.render() for hunk in self.hunks) + self.tail


@dataclass(frozen=True)
class Diff:
    """A diff of any number of files.

    Attributes:
        files: in the diff's order.
        preamble: what stands before the first file: a mail's header and message.
        notices: what the reader passed over or mended, one line each.
    """

    files: tuple[FilePatch, ...] = ()
    preamble: str = ""
    notices: tuple[str, ...] = field(default=(), compare=False)

    def __iter__(self) -> Iterator[FilePatch]:
        return iter(self.files)

    def render(self) -> bytes:
        """The diff as it was read, byte for byte."""
        text = self.preamble + "".join(file.render() for file in self.files)
        return text.encode("utf-8", "surrogateescape")


class ChangeRequest(Protocol):
    """A pull request of GitHub's or a merge request of GitLab's; as a text its short name.

    Attributes:
        KIND: `pull request` or `merge request`.
    """

    KIND: ClassVar[str]

    @property
    def repository(self) -> str:
        """Its repository's place in the host's interface."""
        ...

    @property
    def path(self) -> str:
        """Its own place there."""
        ...


@dataclass(frozen=True)
class Suggestion:
    """New text for lines of the new file.

    Attributes:
        start, end: the lines that it replaces, both inside, counted from 1.
        lines: what stands there then, without line ends.
        patch: the same as a unified diff against the new file.
    """

    start: int
    end: int
    lines: tuple[str, ...]
    patch: str


@dataclass(frozen=True)
class Finding:
    """A comment on a hunk.

    Attributes:
        path: of the file as it is after the diff; of a deleted one, as it was.
        side: `RIGHT`: `line` counts in the new file; `LEFT`: in the old one.
        line: where the comment stands. start_line: the first line it is about, where that is another one.
        hunk: the hunk's header. first, last: the hunk's lines on the same side.
        rule: `review/needs-review`, `review/comment`, or a rule's own name.
        comment: what is said; empty where only the need for a review is known.
        need: the chance that the hunk needs a review; None where nothing tells it.
        logprob: mean log-probability of the comment's tokens; None where no model wrote it.
        suggestion: new text for the lines.
        nearest: of a comment on deleted lines, the line of the new file next to them; None where the file is gone.
        fingerprint: the same for the same change in another run.
        engine: what found it: an adapter's name, or `rules`.
    """

    path: str
    side: Side
    line: int
    hunk: str
    first: int
    last: int
    rule: str
    comment: str = ""
    start_line: int | None = None
    need: float | None = None
    logprob: float | None = None
    suggestion: Suggestion | None = None
    nearest: int | None = None
    fingerprint: str = ""
    engine: str = ""

    def __str__(self) -> str:
        """One line that editors can jump to."""
        need = "" if self.need is None else f" {self.need:.2f}"
        return (
            f"{printable(self.path)}:{self.line}: [{self.rule.removeprefix('review/')}{need}] {printable(self.comment)}"
        )


MOST_CHANGED = 3000
"""Changed lines of a file; more than a person reviews, and mostly made by a program."""


@dataclass(frozen=True)
class ReviewQuery:
    """What one review may be asked for.

    Attributes:
        range: of a repository, as `git diff` takes it, e.g. `main...HEAD`; what is not committed where it is left out.
        paths: patterns of files to look at, e.g. `src/**`; all by default.
        max_comments: keep at most this many findings of a diff, those likeliest to need a review first.
        most_changed: pass over files with more added and removed lines.
        lenient: count hunks anew whose headers announce other lines than they have.
        since: look only at hunks in which something changed after this commit, of a work tree or a request.
        context: unchanged lines of a work tree around each change; as many as git shows by default.
        commit: the revision that the new files are of, for GitHub; a repository tells its own.
        base_commit: the one that the old files are of, for GitLab; a range of a repository tells its own.
        threshold: a chance of at least this calls for a review; what the adapter states where it is left out, or 0.5.
        suggest: ask for new code, too, where there is a comment.
        anchor: where a comment on a hunk stands: `change`, at the end of its first change, or `likelihood`, at the
            changed line without which the comment would be least likely (one forward a line).
        max_new_tokens: longest comment.
        batch_size: hunks side by side.
        temperature: of drawing tokens; 0 takes the likeliest.
        top_p: draw from the likeliest tokens that together have this chance.
        seed: of the drawing.
        num_beams: go on with this many beginnings of a text at once; 1 takes the likeliest token each time.
        repetition_penalty: above 1 makes tokens less likely that stand in the prompt or were written before.
        min_confidence: show no comment whose tokens are less likely than this, as the geometric mean.
        cache: take what the same model said of the same hunk before.
    """

    range: str | None = None
    paths: tuple[str, ...] = ()
    max_comments: int | None = None
    most_changed: int = MOST_CHANGED
    lenient: bool = False
    since: str = ""
    context: int | None = None
    commit: str = ""
    base_commit: str = ""
    threshold: float | None = None
    suggest: bool = True
    anchor: Literal["change", "likelihood"] = "change"
    max_new_tokens: int = 128
    batch_size: int = 16
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    num_beams: int = 1
    repetition_penalty: float = 1.0
    min_confidence: float = 0.0
    cache: bool = True

    def __post_init__(self) -> None:
        least = {"max_new_tokens": 1, "batch_size": 1, "temperature": 0, "top_p": 0, "most_changed": 0, "num_beams": 1}
        normalise(self, least=least)
        if not self.repetition_penalty > 0:
            raise InputError(f"repetition_penalty is {self.repetition_penalty}; give more than 0, 1 for none")
        for name in ("max_comments", "context"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InputError(f"{name} is {value}; give 0 or more")
        for name in ("threshold", "top_p", "min_confidence"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}; give a number from 0 to 1")


@dataclass(frozen=True)
class Review:
    """The findings of one diff, or the `error` of one that could not be read.

    Attributes:
        source: the file that was read, or `stdin`.
        findings: by file and line.
        diff: what was reviewed.
        passed_over: files that were not looked at, each with the reason.
        dropped: suggestions and comments that were not given, by reason.
        commit: the revision that the new files are of; empty: not known.
        notices: what the user should know, one line each.
        name: how its files are named.
        base, start: the revisions that the old files are of, and of the branch that the change is to go into.
        request: the pull or merge request that was read.
        reviewer: what found it: base, adapter, and the prompts' name by task; empty for rules.
    """

    source: str
    error: str | None = None
    findings: tuple[Finding, ...] = ()
    diff: Diff = Diff()
    passed_over: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    commit: str = ""
    notices: tuple[str, ...] = ()
    name: str = "review"
    base: str = ""
    start: str = ""
    request: ChangeRequest | None = None
    reviewer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What was reviewed, for headings: `.` and `..` say nothing to who reads them elsewhere."""
        return self.name if self.source.strip("./\\") == "" else self.source

    @property
    def hunks(self) -> int:
        """How many hunks were looked at."""
        return sum(len(file.hunks) for file in self.diff if file.path not in self.passed_over)

    def summary(self) -> str:
        """How much was found in how much."""
        return f"{counted(len(self.findings), 'finding')} in {counted(self.hunks, 'hunk')}"


@dataclass(frozen=True)
class ChangeQuery:
    """What commits may be asked for.

    Attributes:
        range: of a work tree, as `git log` takes it, e.g. `main..HEAD`; the last commit where it is left out.
        batch_size: commits side by side.
        threshold: a chance of at least this is a defect.
        max_new_tokens: longest message. num_beams: of the search for it; 1 takes the likeliest token.
    """

    range: str | None = None
    batch_size: int = 16
    threshold: float = 0.5
    max_new_tokens: int = 128
    num_beams: int = 10

    def __post_init__(self) -> None:
        normalise(self, least={"batch_size": 1, "max_new_tokens": 1, "num_beams": 1})
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold}; give a number from 0 to 1")


def printable(text: str) -> str:
    """Text of a diff or a model for a terminal: on one line, without control characters and lone surrogates."""
    plain = "".join(c if c.isprintable() else ("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else " ") for c in text)
    return " ".join(plain.split())


def numbered(lines: tuple[Line, ...], old: int, new: int) -> tuple[Line, ...]:
    """Lines numbered anew from the numbers of their first old and first new line."""
    result = []
    for line in lines:
        own_old = None if line.kind == "+" else old
        own_new = None if line.kind == "-" else new
        result.append(replace(line, old=own_old, new=own_new))
        old += own_old is not None
        new += own_new is not None
    return tuple(result)


def leaves_tree(path: str) -> bool:
    """Whether a path is absolute, climbs out of its folder, or names what no repository can hold."""
    parts = path.replace("\\", "/").split("/")
    return path.startswith(("/", "\\")) or ".." in parts or "\0" in path or (len(path) > 1 and path[1] == ":")


def _range(start: int, count: int) -> str:
    return str(start) if count == 1 else f"{start},{count}"
