"""What the contract test must know of code review."""

from __future__ import annotations

from pathlib import Path

from domains.code_review.model.wording import TASKS
from suite import training
from suite.hub import paths
from tests.code_review import small
from tests.domains.contract import Case, Subject

DIFF = """\
--- a/shop/prices.py
+++ b/shop/prices.py
@@ -1,5 +1,5 @@
 def total(prices):
-    found = 0
+    found = 1
     for price in prices:
         found += price
     return found
"""
BASE = str(small.home() / "base")


def good(folder: Path) -> Path:
    path = folder / "change.diff"
    path.write_text(DIFF, encoding="utf-8")
    return path


def bad(folder: Path) -> Path:
    path = folder / "page.diff"
    path.write_text("<html>502 Bad Gateway</html>\n", encoding="utf-8")
    return path


def score(adapter: str | None) -> float:
    """How well answers about held-out changes are told, as the loss; the frozen base has never seen the question."""
    config = training.load_config(paths.assets() / "configs" / "code_review" / "tiny.yaml", [*SMOKE])
    return -training.evaluate(config, None if adapter is None else Path(adapter))["val/loss"]


SMOKE = (
    *("--base", BASE, "--data.train", "world:train:24", "--data.val", "world:val:4", "--data.batch_size", "2"),
    *("--trainer.max_steps", "20", "--trainer.val_every", "12"),
)
SUBJECT = Subject(
    domain="code_review",
    good=good,
    bad=bad,
    score=score,
    margin=0.5,
    smoke=SMOKE,
    # What twenty steps have taught may say anything at any length.
    options=("--base", BASE, "--threshold", "0", "--max-new-tokens", "8"),
    evaluate=("world:test:8", "--adapter", str(small.home() / "adapter"), "--base", BASE),
    shipped=None,
    others=tuple(
        Case(
            f"code_review/tiny_{task}.yaml",
            (*SMOKE, "--data.train", "world:train:4", "--data.val", "world:val:2"),
            str(small.home() / "adapter"),
            ("--base", BASE, "--threshold", "0", "--max-new-tokens", "8"),
        )
        for task in TASKS
        if task != "necessity"
    ),
)
