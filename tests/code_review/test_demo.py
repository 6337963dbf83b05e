"""The demo: what `suite demo` shows of the domain."""

from __future__ import annotations

import time

from PIL import Image

from domains.code_review.types import printable
from suite.domain import find, load


def test_the_demo_shows_changes_with_what_is_said_of_them(tmp_path):
    started = time.process_time()
    shown = load(find("code_review").verbs["demo"])(out=tmp_path)
    assert time.process_time() - started < 20 and len(shown["pictures"]) == len(shown["captions"])
    with Image.open(shown["pictures"][0]) as picture:
        assert min(picture.size) > 300
    rows = shown["tables"]["Changes"]
    assert {row["fault"] == "none" for row in rows} == {True, False} and (tmp_path / "change.sarif").is_file()
    assert all(printable(row["said"]) == row["said"] for row in rows)
