"""The folder of a prediction: each result's own files as it comes, and at the end what is said of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from suite.domain import Result
from suite.errors import InputError
from suite.files import write_text
from suite.prediction.inputs import RESULTS, STDIN, exists
from suite.prediction.loop import reason
from suite.tables import records_csv, records_jsonl

SHEET = "contact_sheet.png"
LOOKED_AT = (".html", ".mp4", ".png")
"""Files of a result that people look at, the best first."""

R = TypeVar("R", bound=Result)
Card = TypeVar("Card")


class Summary(Protocol):
    """Something said of all results together."""

    def add(self, result: Any) -> None:
        """Take note of one result, failed ones too."""
        ...

    def finish(self, folder: Path) -> list[Path]:
        """Write it; return the files."""
        ...


class ResultFolder:
    """The only writer of results.

    >>> for result in ResultFolder("out/").keep(predictor.predict(paths)):
    ...     print(result.source)

    Args:
        out: where the files go; None: nothing is written.

    Raises:
        InputError: `out` is a file, or lies below one.

    Attributes:
        files: of the result that was added last. summary: of all results, once it is finished.
    """

    def __init__(self, out: str | Path | None = None) -> None:
        self.path = None if out is None else Path(out)
        if self.path is not None:
            for folder in (self.path, *self.path.parents):
                if folder.exists() and not folder.is_dir():
                    raise InputError(f"{folder}: is a file; give a folder for the results")
        self.files: list[Path] = []
        self.summary: list[Path] = []
        self._summaries: list[Summary] = []
        self._lists, self._noted = False, set[str]()
        self._first: list[Path] = []

    @classmethod
    def of(cls, out: ResultFolder | str | Path | None) -> ResultFolder:
        """`out` itself where it is a folder of results already."""
        return out if isinstance(out, ResultFolder) else cls(out)

    def beside(self, inputs: Iterable[Any]) -> Self:
        """Say what is read: where results come into a folder of inputs, they are listed there as results."""
        if self.path is not None:
            own = self.path.expanduser().resolve()
            folders = [folder.resolve() for one in inputs for folder in _folder_of(one)]
            self._lists |= any(own.is_relative_to(folder) or folder.is_relative_to(own) for folder in folders)
        return self

    def summarise(self, *summaries: Summary) -> Self:
        """Say these of all results, too."""
        self._summaries += summaries
        return self

    def create(self) -> None:
        """Make the folder, where there is one to make.

        Raises:
            InputError: the system refuses it.
        """
        if self.path is not None:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{self.path}: cannot be written ({error.strerror}); give another folder") from error

    def add(self, result: Result) -> list[Path]:
        """Write one result; one that failed has no files of its own."""
        self.files = []
        if self.path is not None:
            self.files = result.save(self.path) if result.error is None else []
            self._first = self._first or self.files
            self.note(*self.files)
            for summary in self._summaries:
                summary.add(result)
        return self.files

    def note(self, *files: Path) -> None:
        """Remember files as results, so that a later prediction does not take them for inputs (see `files_in`)."""
        if self.path is None or not self._lists:
            return
        if not self._noted and (self.path / RESULTS).is_file():
            self._noted.update((self.path / RESULTS).read_text(encoding="utf-8").splitlines())
        inside = [file.resolve() for file in files if file.resolve().is_relative_to(self.path.resolve())]
        names = [file.relative_to(self.path.resolve()).as_posix() for file in inside]
        new = [name for name in dict.fromkeys(names) if name not in self._noted]
        if new:
            self._noted.update(new)
            with (self.path / RESULTS).open("a", encoding="utf-8") as listing:
                listing.writelines(f"{name}\n" for name in new)

    def finish(self) -> list[Path]:
        """Write what is said of all results."""
        if self.path is not None:
            self.summary = [file for summary in self._summaries for file in summary.finish(self.path)]
            self.note(*self.summary)
        return self.summary

    def keep(self, results: Iterable[R]) -> Iterator[R]:
        """Yield the results, each one written before it is seen, and finish after the last.

        One that cannot be written has that as its error, and the next one goes on.

        Raises:
            InputError: there is no folder to write to.
        """
        for result in results:
            if result.error is None:
                self.create()
            try:
                self.add(result)
            except InputError as error:
                result = _failed(result, reason(error, result.source))
                self.add(result)
            yield result
        self.finish()

    def next_steps(self) -> list[str]:
        """What to look at: the sheet or the page of all results; where there is none, the first result's own."""
        shown = [file for file in self.summary if file.name == SHEET or file.suffix == ".html"]
        own = sorted(
            (file for file in self._first if file.suffix in LOOKED_AT), key=lambda f: LOOKED_AT.index(f.suffix)
        )
        return [f"open {file}" for file in shown or own[:1]]


def _folder_of(one: Any) -> list[Path]:
    """The folder that an input is or lies in."""
    if not isinstance(one, str | Path) or one == STDIN or not exists(one):
        return []
    path = Path(one).expanduser()
    return [path if path.is_dir() else path.parent]


def _failed(result: R, why: str) -> R:
    """The same result with an error."""
    if not is_dataclass(result) or isinstance(result, type):
        raise InputError(f"{result.source}: {why}")
    return replace(result, error=why)


class Table(Generic[R]):
    """One row a result, or several, as `<name>.csv`, and as `<name>.jsonl` where asked for.

    Args:
        rows: the rows of a result, which may be none.
        columns: of the CSV; by default every key of any row.
        guard: cells that a spreadsheet would run as a formula.
    """

    def __init__(
        self,
        name: str,
        rows: Callable[[R], Iterable[Mapping[str, Any]]],
        *,
        columns: Sequence[str] = (),
        jsonl: bool = False,
        guard: bool = True,
    ) -> None:
        self.name, self.rows, self.columns, self.jsonl, self.guard = name, rows, columns, jsonl, guard
        self.records: list[Mapping[str, Any]] = []

    def add(self, result: R) -> None:
        self.records += self.rows(result)

    def finish(self, folder: Path) -> list[Path]:
        if not self.records:
            return []
        text = records_csv(self.records, guard=self.guard, columns=self.columns)
        written = [write_text(folder / f"{self.name}.csv", text)]
        if self.jsonl:
            written.append(write_text(folder / f"{self.name}.jsonl", records_jsonl(self.records)))
        return written


class Sheet(Generic[R, Card]):
    """A contact sheet: one picture of all results.

    Args:
        card: a result's part of it, or None.
        draw: draws the cards onto a file.
        most: cards that are kept.
    """

    def __init__(
        self, card: Callable[[R], Card | None], draw: Callable[[Sequence[Card], Path], Any], most: int | None = None
    ) -> None:
        self.card, self.draw, self.most = card, draw, most
        self.cards: list[Card] = []

    def add(self, result: R) -> None:
        if self.most is not None and len(self.cards) >= self.most:
            return
        if (card := self.card(result)) is not None:
            self.cards.append(card)

    def finish(self, folder: Path) -> list[Path]:
        if not self.cards:
            return []
        self.draw(self.cards, folder / SHEET)
        return [folder / SHEET]


def whole_record(result: Result) -> list[dict[str, Any]]:
    """A row of a result: where it comes from, its error, and its data."""
    return [{"source": result.source, "error": result.error, **result.to_dict()}]
