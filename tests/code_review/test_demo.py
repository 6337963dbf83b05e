"""The demo: what `suite demo` shows of the domain."""

from __future__ import annotations

from PIL import Image

from domains.code_review.types import printable
from suite.domain import find, load


def test_the_demo_shows_a_change_with_its_findings(tmp_path):
    shown = load(find("code_review").verbs["demo"])(out=tmp_path)
    assert shown["seconds"] < 20 and len(shown["pictures"]) == len(shown["captions"])
    with Image.open(shown["pictures"][0]) as picture:
        assert min(picture.size) > 300
    assert shown["tables"]["Findings"] and (tmp_path / "change.sarif").is_file()
    assert all(printable(row["comment"]) == row["comment"] for row in shown["tables"]["Findings"])
