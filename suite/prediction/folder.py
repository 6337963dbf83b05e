"""The folder of a prediction: each result's own files as it comes, and at the end what is said of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from suite.domain import Result
from suite.files import write_text
from suite.tables import records_csv, records_jsonl

SHEET = "contact_sheet.png"

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

    Attributes:
        files: of the result that was added last. summary: of all results, once it is finished.
    """

    def __init__(self, out: str | Path | None = None) -> None:
        self.path = None if out is None else Path(out)
        self.files: list[Path] = []
        self.summary: list[Path] = []
        self._summaries: list[Summary] = []

    @classmethod
    def of(cls, out: ResultFolder | str | Path | None) -> ResultFolder:
        """`out` itself where it is a folder of results already."""
        return out if isinstance(out, ResultFolder) else cls(out)

    def summarise(self, *summaries: Summary) -> Self:
        """Say these of all results, too."""
        self._summaries += summaries
        return self

    def add(self, result: Result) -> list[Path]:
        """Write one result; one that failed has no files of its own."""
        self.files = []
        if self.path is not None:
            self.files = result.save(self.path) if result.error is None else []
            for summary in self._summaries:
                summary.add(result)
        return self.files

    def finish(self) -> list[Path]:
        """Write what is said of all results."""
        if self.path is not None:
            self.summary = [file for summary in self._summaries for file in summary.finish(self.path)]
        return self.summary

    def keep(self, results: Iterable[R]) -> Iterator[R]:
        """Yield the results, each one written before it is seen, and finish after the last."""
        for result in results:
            self.add(result)
            yield result
        self.finish()

    def next_steps(self) -> list[str]:
        """What to look at."""
        return [f"open {file}" for file in self.summary if file.name == SHEET]


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
