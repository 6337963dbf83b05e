"""The demo of code review: a made change with faults in it, and what is said of each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

BEFORE = '''"""Prices."""


def total(prices):
    found = 0
    for price in prices:
        found += price
    return found
'''
AFTER = '''"""Prices."""
import os


def total(prices, seen=[]):
    found = 0
    for price in prices:
        if price == None:
            continue
        found += price
    return found


def fetch(path):
    try:
        os.system("cat " + path)
    except:
        print("failed", path)
'''


def demo(out: Path = Path("out/demo/code_review")) -> dict[str, Any]:
    """Review a made change, and draw its diff with the comments at their lines.

    Args:
        out: folder for the diff, the review in every format and the picture.
    """
    from difflib import unified_diff

    from domains.code_review.output import pictures
    from domains.code_review.predict import RuleReviewer
    from suite.files import write_text

    started, out = time.perf_counter(), Path(out)
    before, after = BEFORE.splitlines(keepends=True), AFTER.splitlines(keepends=True)
    text = "".join(unified_diff(before, after, "a/shop/prices.py", "b/shop/prices.py"))
    diff = write_text(out / "change.diff", text)
    [result] = RuleReviewer().review(diff)
    result.save(out)
    picture = pictures.drawn(result, out / "review.png")
    found = [{"line": one.line, "rule": one.rule.rpartition("/")[2], "comment": one.comment} for one in result.findings]
    return {
        "title": "A change and what a reviewer says of it",
        "summary": f"{result.summary()} of a made change, by fixed rules, each at its line; also written as SARIF, "
        "JSON and a page.",
        "text": str(result),
        "tables": {"Findings": found},
        "pictures": [picture],
        "captions": ["The change, and each finding below the line that it is on"],
        "seconds": time.perf_counter() - started,
    }
