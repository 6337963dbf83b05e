from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from suite.errors import InputError
from suite.media import plots
from suite.media.report import Report

VOID = {"meta", "img", "link", "br"}


class Checker(HTMLParser):
    """Collects texts and outside addresses; fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    return checker


def test_a_report_is_one_well_formed_file(tmp_path: Path) -> None:
    figure = plots.bars({"a": 1})
    picture = plots.save(figure, tmp_path / "picture.svg")
    report = Report("Title", "subtitle").section("Part").text("one\n\ntwo").facts({"F1": 0.71, "no": None})
    report.table(["name", "value"], [["a", 1234], ["b", 0.5]], "figures").code("x < y")
    report.image(figure, "drawn").gallery([(picture, "file"), (plots.to_bytes(figure), "bytes")])
    checker = check(report.save(tmp_path / "report.html").read_text(encoding="utf-8"))
    assert {"Title", "one", "two", "1,234", "0.71", "x < y", "drawn"} <= set(checker.text)
    assert len(checker.sources) == 3
    assert all(source.startswith("data:image/") for source in checker.sources)


def test_text_stays_text() -> None:
    evil = '<script>alert(1)</script> & "quotes" \udcff'
    report = Report(evil, evil).section(evil).text(evil).facts({evil: evil}).table([evil], [[evil]], evil).code(evil)
    page = report.image(plots.bars({"a": 1}), evil).html()
    page.encode("utf-8")
    assert "<script" not in page
    assert check(page).text.count('<script>alert(1)</script> & "quotes" ?') >= 9


@pytest.mark.parametrize("source", [b"", b"hello", "missing.png"])
def test_what_is_no_picture_is_refused(source: str | bytes) -> None:
    with pytest.raises(InputError):
        Report("r").image(source)


def test_a_short_row_is_refused() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        Report("r").table(["a", "b"], [[1]])
