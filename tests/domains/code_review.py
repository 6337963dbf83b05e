"""What the contract test must know of code review."""

from __future__ import annotations

from pathlib import Path

from domains.code_review.model.change_manifest import CHANGE_TASKS
from domains.code_review.model.wording import TASKS
from suite import hub, training
from suite.hub import paths
from tests.code_review import small_changes
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


def good(folder: Path) -> Path:
    path = folder / "change.diff"
    path.write_text(DIFF, encoding="utf-8")
    return path


def bad(folder: Path) -> Path:
    path = folder / "page.diff"
    path.write_text("<html>502 Bad Gateway</html>\n", encoding="utf-8")
    return path


def score(adapter: str | None) -> float:
    """Area under the ROC curve of necessity, on changes of test repositories."""
    config = training.load_config(
        paths.assets() / "configs" / "code_review" / "tiny.yaml", ["--data.val", "world:test:64"]
    )
    return training.evaluate(config, None if adapter is None else hub.resolve(adapter, "code_review"))["val/auroc"]


SMOKE = (
    *("--data.train", "world:train:40", "--data.val", "world:val:4", "--data.batch_size", "2"),
    *("--trainer.max_steps", "20", "--trainer.val_every", "20"),
)
SHORT = ("--threshold", "0", "--max-new-tokens", "8")


def of_commits(task: str) -> Case:
    """A task of commits, on a base that has learnt nothing: the suite ships none for it."""
    config, base = {"defects": ("telly_k6", "roberta"), "message": ("cmg_lora_plbart", "plbart")}[task]
    place = str(small_changes.home() / base)
    smoke = (
        *("--base", place, "--data.train", "world:train:4", "--data.val", "world:val:2", "--data.batch_size", "2"),
        *(
            "--data.max_length",
            "64",
            "--recipe.adapter",
            "{preset: telly-k1}" if task == "defects" else "{preset: cmg-lora}",
        ),
    )
    adapter = str(small_changes.adapter(task))
    return Case(f"code_review/{config}.yaml", smoke, adapter, ("--base", place, "--max-new-tokens", "4"))


SUBJECT = Subject(
    domain="code_review",
    good=good,
    bad=bad,
    score=score,
    margin=0.2,
    smoke=SMOKE,
    options=SHORT,
    evaluate=("world:test:8",),
    others=tuple(
        Case(
            f"code_review/tiny_{task}.yaml",
            (*SMOKE, "--data.train", "world:train:4", "--data.val", "world:val:2"),
            options=SHORT,
        )
        for task in TASKS
        if task != "necessity"
    )
    + tuple(map(of_commits, CHANGE_TASKS)),
)
