from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from suite.errors import InputError
from suite.media import plots, sheets
from suite.media.report import Part, Report

VOID = {"meta", "img", "link", "br"}


class Checker(HTMLParser):
    """Collects texts and outside addresses; fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []
        self.alts: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        self.alts += [dict(attrs).get("alt")] if tag == "img" else []

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


def test_columns_of_numbers_are_right_aligned_with_their_headings() -> None:
    rows = [["a", 1, "0.71 ± 0.02", "12 %", None], ["b", None, "-", "0.5", "0.3"], ["c", 2.5, "1,234.5", "-3e-05", ""]]
    page = Report("r").table(["name", "count", "score", "share", "gap"], rows).html()
    assert re.findall(r'<th scope="col"( class="number")?>', page) == ["", *[' class="number"'] * 4]
    assert page.count('<td class="number">') == 12
    mixed = Report("r").table(["name", "when"], [["a", 1], ["b", "after 2"]]).html()
    assert 'class="number"' not in mixed


def test_tables_and_pictures_wider_than_the_page_scroll_in_a_container_of_their_own(tmp_path: Path) -> None:
    wide = sheets.save_png(np.zeros((10, 3000, 3), np.uint8), tmp_path / "wide.png")
    page = Report("r").table(["a"] * 40, [["words that are long"] * 40]).image(wide, "a scan").html()
    check(page)
    assert page.count('<div class="scroll" tabindex="0"><table>') == 1
    # Shrunk to no less than 70 %: texts stay readable, the rest is scrolled to.
    assert re.search(r'<div class="scroll" tabindex="0"><img [^>]*min-width: 2100px', page)
    assert ".scroll { max-width: 100%; overflow-x: auto; }" in page


def test_a_chart_is_drawn_twice_as_fine_as_shown_and_turned_round_in_the_dark(tmp_path: Path) -> None:
    chart = plots.save(plots.bars({"a": 1}), tmp_path / "chart.png")
    photo = sheets.save_png(np.zeros((10, 20, 3), np.uint8), tmp_path / "photo.png")
    page = Report("r").image(chart, "chart").image(photo, "photo").html()
    assert 'width="560" height="350"' in page
    assert page.count('class="chart"') == 1
    assert 'width="20" height="10"' in page
    assert "prefers-color-scheme: dark" in page


def test_details_are_folded_and_pictures_have_words_for_those_who_do_not_see_them() -> None:
    picture = plots.bars({"a": 1})
    details = Part().heading("more").text("a detail").image(picture, "below")
    page = Report("r").feature("Fish", "A line.", picture, above="Sea", alt="a fish").fold("Details", details).html()
    checker = check(page)
    assert checker.alts == ["a fish", "below"]
    [folded] = re.findall(r"<details>(.*?)</details>", page, re.DOTALL)
    assert "a detail" in folded and "A line." not in folded
    assert page.index("A line.") < page.index("<details>")


def test_users_texts_run_in_their_own_direction() -> None:
    page = Report("r").text("שלום").table(["text"], [["שלום"]]).facts({"text": "שלום"}).html()
    assert page.count('dir="auto">שלום<') == 3


def test_a_picture_without_a_caption_is_known_by_its_heading() -> None:
    picture = plots.bars({"a": 1})
    page = Report("r").section("Confusion").image(picture).gallery([(picture, "bars")], captions=False).html()
    assert check(page).alts == ["Confusion", "bars"]
    assert "<figcaption" not in page


def test_a_picture_too_wide_for_a_column_has_a_row_of_its_own(tmp_path: Path) -> None:
    wide = sheets.save_png(np.zeros((10, 960, 3), np.uint8), tmp_path / "wide.png")
    narrow = sheets.save_png(np.zeros((10, 480, 3), np.uint8), tmp_path / "narrow.png")
    page = Report("r").gallery([(wide, "wide"), (narrow, "narrow")]).html()
    assert page.count('<figure class="wide">') == 1 and page.count("<figure>") == 1


def test_records_make_a_column_of_every_key() -> None:
    page = Report("r").records([{"a_b": 1}, {"c": [1, 2], "a_b": {"tp": 3}}]).html()
    assert re.findall(r"<th[^>]*>([^<]*)</th>", page) == ["a b", "c"]
    assert ">1, 2</td>" in page and ">tp 3</td>" in page
    assert "None." in Report("r").records([]).html()


def test_a_recording_is_played_from_its_file_or_from_within_the_page() -> None:
    page = Report("Music").audio("a piece/<1>.wav", "a <slow> waltz").audio(b"RIFF", kind="audio/ogg").html()
    assert 'src="a%20piece/%3C1%3E.wav"' in page
    assert "a &lt;slow&gt; waltz" in page
    assert 'src="data:audio/ogg;base64,UklGRg=="' in page
