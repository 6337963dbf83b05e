"""What an evaluation says: figures, what they are figures of, tables and pictures beside them; one folder of files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite.files import write_text
from suite.tables import records_csv

Drawn = Callable[[Path], Sequence[Path]]
"""Draws into a folder and returns the files, the one for the page first."""


@dataclass(frozen=True)
class Scores:
    """Figures of one evaluation.

    Attributes:
        metrics: the figures, ready for `json.dumps`; the numbers among them are shown to people.
        about: what was scored and how: data, split, adapter, protocol, cost.
        title: of the page; without one no page is written.
        tables: records by name; each is a file `<name>.csv`. shown: further records, on the page alone.
        pictures: by heading, what draws them.
        files: text of further files by name, in a format of the benchmark.
        notices: what the reader must know, one line each.
        message: what people read in place of the bare figures.
        record: what stands in `metrics.json` in place of `about` and `metrics`, where a domain has a form of its own.
    """

    metrics: Mapping[str, Any]
    about: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    pictures: Mapping[str, Drawn] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    message: str = ""
    record: Mapping[str, Any] | None = None
    shown: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What was scored, then the figures and the notices, ready for `json.dumps`."""
        said = {**self.about, **self.metrics} if self.record is None else self.record
        return {**said, **({"notices": list(self.notices)} if self.notices else {})}

    def __str__(self) -> str:
        lines = [self.message] if self.message else [f"{name}  {text}" for name, text in self._shown().items()]
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])

    def save(self, folder: str | Path) -> list[Path]:
        """Write `metrics.json`, the tables, files and pictures, and `report.html` with all of them."""
        folder = Path(folder)
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n"
        written = [write_text(folder / "metrics.json", text)]
        for name, records in self.tables.items():
            written.append(write_text(folder / f"{name}.csv", records_csv(records)))
        for name, content in self.files.items():
            written.append(write_text(folder / name, content))
        drawn = {heading: list(draw(folder)) for heading, draw in self.pictures.items()}
        written += [path for paths in drawn.values() for path in paths]
        return [*written, self._page(drawn).save(folder / "report.html")] if self.title else written

    def answer(self, out: str | Path | None = None) -> dict[str, Any]:
        """What the verb returns: the figures, the files where `out` asks for some, and the text for people."""
        files = [] if out is None else [str(path) for path in self.save(out)]
        record = self.to_dict() | ({"files": files} if files else {})
        return {"message": "\n".join([str(self), *files]), **record}

    def _shown(self) -> dict[str, str]:
        numbers = {name: value for name, value in self.metrics.items() if isinstance(value, int | float)}
        return {name: f"{value:.4f}" if isinstance(value, float) else f"{value:,}" for name, value in numbers.items()}

    def _page(self, drawn: Mapping[str, Sequence[Path]]) -> Any:
        from suite.media.report import Report

        page = Report(self.title).facts({name.replace("_", " "): text for name, text in self._shown().items()})
        for notice in self.notices:
            page.text(f"Note: {notice}")
        page.section("How").facts({name.replace("_", " "): value for name, value in self.about.items()})
        for name, records in {**self.tables, **self.shown}.items():
            page.section(name.replace("_", " ").capitalize()).records(records)
        for heading, paths in drawn.items():
            page.section(heading).image(paths[0])
        return page
