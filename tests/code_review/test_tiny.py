"""The embedded adapters on repositories that they have never seen, and how a mended file is told to work."""

from __future__ import annotations

import ast
import time

import pytest

from domains.code_review import CodeReviewer
from domains.code_review.tiny import measure
from domains.code_review.tiny.behaviour import harmless, passes
from suite import training
from suite.hub import paths
from tests.code_review import small

RIGHT = "def total(prices):\n    found = 0\n    for price in prices:\n        found += price\n    return found\n"
TESTS = "import pytest\n\nfrom shop import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n"


def test_the_same_code_in_another_layout_passes_unrun():
    assert passes(RIGHT.replace("found = 0", "found = (0)"), RIGHT, TESTS)


def test_other_code_that_does_the_same_passes_and_a_fault_does_not():
    assert passes("def total(prices):\n    return sum(prices)\n", RIGHT, TESTS)
    assert not passes(RIGHT.replace("found = 0", "found = 1"), RIGHT, TESTS)
    assert not passes("def total(prices:\n", RIGHT, TESTS)


@pytest.mark.parametrize(
    "text",
    [
        "import os\n",
        "def total(prices):\n    return __import__('os').getcwd()\n",
        "def total(prices):\n    return open('/etc/passwd')\n",
        "def total(prices):\n    return prices.__class__\n",
        "def total(prices):\n    return '{0.__class__}'.format(prices)\n",
        "def total(prices):\n    return eval('3')\n",
        "class total:\n    pass\n",
    ],
)
def test_code_that_reaches_for_more_is_never_run(text):
    assert not harmless(ast.parse(text)) and not passes(text, RIGHT, TESTS)


def test_code_without_end_is_stopped():
    started = time.monotonic()
    assert not passes("def total(prices):\n    while True:\n        pass\n", RIGHT, TESTS)
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_the_shipped_adapters_reach_the_goals():
    """Decisions where the frozen base is at chance, comments that name the fault, suggestions that pass the tests."""
    reviewer = CodeReviewer.from_pretrained("tiny", device="cpu")
    found = measure.table(reviewer, ("necessity", "comment", "refinement"), seed=1)
    assert found["necessity"]["auroc"] >= 0.85 and abs(found["necessity, frozen base"]["auroc"] - 0.5) < 0.15
    assert found["comment"]["right_kind"] >= 0.6
    assert found["suggestion"]["passes"] >= 0.5


@pytest.mark.slow
def test_what_is_separable_is_learnt_in_two_minutes(tmp_path):
    rows = []
    for number in range(96):
        word = ("grass", "money")[number % 2]
        rows.append({"patch": f"@@ -{number},1 +{number},1 @@\n-a = {number}\n+a = {word}", "y": number % 2})
    file = small.records(tmp_path / "cls.jsonl", rows)
    words = ["--data.train", str(file), "--data.val", f"{file}[:48]", "--trainer.max_steps", "60"]
    config = training.load_config(
        paths.assets() / "configs/code_review/tiny.yaml", [*words, "--trainer.val_every", "6"]
    )
    started = time.process_time()
    assert training.run(config, run_dir=tmp_path / "run").metrics["val/f1"] > 0.9
    assert time.process_time() - started < 120


@pytest.mark.slow
def test_words_and_chances_decide_alike():
    """Deciding by the likeliest words equals deciding by the chance of yes on at least 99 of 100 hunks."""
    from itertools import islice

    from domains.code_review.data.world import examples
    from domains.code_review.evaluation.scoring import answered, decided
    from domains.code_review.types import ReviewQuery

    reviewer = CodeReviewer.from_pretrained("tiny", device="cpu")
    cases = list(islice(examples("test", "necessity", 2), 200))
    session = reviewer.session(ReviewQuery(batch_size=32))
    by_chance = [one.prediction for one in answered(session, cases)]
    by_words = [decided(one.prediction) for one in answered(session, cases, decode=True)]
    assert sum(a == b for a, b in zip(by_chance, by_words, strict=True)) >= 198
