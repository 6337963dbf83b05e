"""Snapshots: tests with the values that the code gave, labelled so, and only where that is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from domains.unit_tests.inference.sandbox import probe
from domains.unit_tests.inference.snapshot import rewritten
from domains.unit_tests.types import Candidate, WriterQuery
from suite.errors import InputError
from tests.unit_tests.scripted import Scripted

isolated = pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")

MODULE = '''"""Functions."""

import random


def words(text):
    if not text:
        return []
    return [word.lower() for word in text.split()]


def share(part, whole):
    return part / whole


def drawn():
    return random.random()


def thing():
    return object()
'''


SCRIPT = {
    "words": [
        "):\n    assert words('A b') == ['A', 'b']\n    for text in ('', 'c'):\n        assert len(words(text)) < 2\n",
        "):\n    for text in ('a', 'b c'):\n        assert words(text) == ['a']\n",
    ],
    "share": ["):\n    assert share(1, 3) == pytest.approx(0.4)\n", "):\n    assert share(1, 0) == 0\n"],
    "drawn": ["):\n    assert drawn() == 0.5\n"],
    "thing": ["):\n    assert thing() == 1\n"],
}


def run(project: Path, out: Path, **options):
    [written] = Scripted(SCRIPT).predict(
        project / "mod.py", project=project, samples=options.pop("samples", 2), repeat=1, out=out, **options
    )
    assert written.error is None, written.error
    return written


@isolated
def test_a_snapshot_has_the_value_that_the_code_gave_and_says_so(project, tmp_path):
    """Neither values that differ from run to run nor those that cannot be written down; an exception is no value."""
    written = run(project, tmp_path / "out", snapshot=True, keep_failing="separate")
    reasons = {verdict.candidate.name: verdict.reason for verdict in written.judged.verdicts}
    assert {name: reason for name, reason in reasons.items() if name.endswith("_snapshot")} == {
        "test_words_snapshot": "",
        "test_share_snapshot": "",
        "test_drawn_snapshot": "failed",
    }
    assert all(reason == "failed" for name, reason in reasons.items() if not name.endswith("_snapshot"))
    text = (tmp_path / "out" / "test_mod.py").read_text()
    assert "assert words('A b') == ['a', 'b']" in text and "assert share(1, 3) == pytest.approx(0.333" in text
    assert "# Those named ..._snapshot hold on to what the code gave" in text
    assert text.count("Snapshot: what the code gave when this was written, right or wrong.") == 2
    assert "['A', 'b']" in (tmp_path / "out" / "test_mod_failing.py").read_text(), "the model's own stays to be read"
    rows = {row["name"]: row.get("snapshot", False) for row in written.to_dict()["tests"]}
    assert [name for name, is_one in rows.items() if is_one] == [name for name in rows if name.endswith("_snapshot")]


@isolated
def test_without_being_asked_no_expected_value_is_changed(project, tmp_path):
    written = run(project, tmp_path / "out", samples=1)
    assert written.exit_code == 3 and not written.judged.kept


@isolated
def test_a_snapshot_of_unittest_is_a_method(project, tmp_path):
    options = {"framework": "unittest", "function": ("words", "share"), "samples": 1}
    written = run(project, tmp_path / "out", snapshot=True, **options)
    assert "self.assertEqual(words('A b'), ['a', 'b'])" in written.tests
    assert re.search(r"self.assertAlmostEqual\(share\(1, 3\), 0\.333\d+, delta=", written.tests)


@pytest.mark.parametrize(
    "noted",
    [
        [],
        [[0, "<object object at 0x1>"]],
        [[0, "1"], [0, "2"]],
        [[0, "__import__('os')"]],
        [["0", "1"]],
        [[0, "[" * 5000]],
    ],
)
def test_what_cannot_be_written_down_is_no_snapshot(noted):
    code = "def test_f():\n    assert f() == 1\n"
    assert rewritten(Candidate("test_f", code, code), noted, "test_f_snapshot") is None


def test_a_snapshot_without_a_run_is_refused():
    with pytest.raises(InputError, match="--snapshot with --no-run"):
        WriterQuery(snapshot=True, no_run=True)
