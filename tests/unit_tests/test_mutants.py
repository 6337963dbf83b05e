"""Mutants: each is another program, and the tests' verdict on each is what running them by hand gives."""

from __future__ import annotations

import ast
import json
import warnings
from collections import Counter
from pathlib import Path

import pytest

from domains.unit_tests import discover
from domains.unit_tests.inference.candidates import split
from domains.unit_tests.inference.judge import Judge, Rules
from domains.unit_tests.inference.mutants import mutants
from domains.unit_tests.inference.runs import Limits
from domains.unit_tests.inference.sandbox import probe
from domains.unit_tests.types import Focal
from suite.cli.main import main
from tests.unit_tests.scripted import Scripted

MODULE = '''"""Thirty lines."""
import logging

LIMIT = 10


def total(prices, rate=0.5, most=None):
    """The sum with a rate on top."""
    found = 0
    for price in prices:
        if price < 0:
            continue
        if price == 99 and not rate:
            break
        found += price
        logging.debug("added %s", price)
    found = found * (1 + rate)
    if most is not None and found > most:
        return most
    return found


def middle(values):
    if len(values) < 3:
        raise ValueError("too few")
    return values[1:-1]
'''
TESTS = """
import pytest
from mod import middle, total

def test_total():
    assert total([1, 2, -4], rate=1) == 6

def test_most():
    assert total([10], 0, most=5) == 5

def test_middle():
    assert middle([1, 2, 3, 4]) == [2, 3]
"""


@pytest.fixture
def project(tmp_path) -> Path:
    tmp_path.chmod(0o755)
    (tmp_path / "mod.py").write_text(MODULE)
    return tmp_path


def test_every_mutant_is_another_program_and_keeps_what_is_no_code(project):
    made = mutants(MODULE, discover(project / "mod.py", project))
    assert len({mutant.source for mutant in made}) == len(made) > 30
    for mutant in made:
        ast.parse(mutant.source)
        assert "The sum with a rate on top." in mutant.source and "logging.debug('added %s', price)" in mutant.source
        assert mutant.diff.count("\n-") + mutant.diff.count("\n+") >= 1
    wanted = {"arithmetic", "comparison", "boolean", "negation", "constant", "return", "loop", "statement", "slice"}
    assert wanted | {"opposite", "condition"} == {mutant.operator for mutant in made}
    assert all(7 <= mutant.line <= 27 for mutant in made), "LIMIT is no part of a function"


def test_a_change_is_shown_in_the_file_as_its_author_wrote_it():
    """With its own lines, quotes and comments, and in brackets where it would mean something else without."""
    source = (
        "# a comment\n\n\ndef f(x, y='é'):\n    # why\n    if not (x or y) and x > 2:  # small\n"
        '        return "low"\n    return [x,\n            x + 1]\n'
    )
    shown = {mutant.diff for mutant in mutants(source, [Focal("f", "mod", "mod.py", 4, 9, "")])}
    wanted = (
        "@@ -5,3 +5,3 @@\n     # why\n-    if not (x or y) and x > 2:  # small\n"
        '+    if (x or y) and x > 2:  # small\n         return "low"'
    )
    assert wanted in shown
    for line in ("+            x - 1]", "+    if not (not (x or y) and x > 2):  # small", "+def f(x, y=''):"):
        assert any(line in one.split("\n") for one in shown), line
    assert all("'low'" not in one for one in shown)


def test_few_are_drawn_by_the_seed(project):
    focal = discover(project / "mod.py", project)
    first, again, other = (mutants(MODULE, focal, 7, seed) for seed in (1, 1, 2))
    assert first == again != other and len(first) == 7


@pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
def test_the_score_is_that_of_brute_force(project):
    focal = discover(project / "mod.py", project)
    judge = Judge(project, focal, Rules(repeat=1, limits=Limits(seconds=15, processor=3)))
    judged = judge.judge(split(TESTS))
    assert len(judged.kept) == 3
    made = mutants(MODULE, focal, most=24, seed=0)
    scored = judge.mutate(judged, made)
    by_hand = [noticed(mutant.source) for mutant in made]
    assert [one.fate in ("killed", "timeout") for one in scored.mutants] == by_hand
    assert scored.mutation_score == pytest.approx(sum(by_hand) / len(by_hand)) and 0 < scored.mutation_score < 1
    assert Counter(one.fate for one in scored.mutants)["not run"] > 0


def noticed(source: str) -> bool:
    """Whether the three tests, written out here, fail on a module."""
    scope: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(source, "mod", "exec"), scope)
    try:
        return not (
            scope["total"]([1, 2, -4], rate=1) == 6
            and scope["total"]([10], 0, most=5) == 5
            and scope["middle"]([1, 2, 3, 4]) == [2, 3]
        )
    except Exception:
        return True


@pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
def test_the_command_tells_the_score(project, tmp_path, capsys):
    tests = tmp_path / "made.txt"
    tests.write_text(TESTS)
    words = ["unit_tests", "judge", str(project / "mod.py"), str(tests), "--project", str(project), "--repeat", "1"]
    out = tmp_path / "out"
    assert main([*words, "--function", "middle", "--mutants", "4", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    record = json.loads((out / "test_mod.json").read_text())["mutation"]
    assert record["total"] == 4 and f"mutation score: {record['score']:.0%}" in said
    assert "Changes that no test noticed" in (out / "test_mod.html").read_text()


GRADE = '''"""Grades."""


def grade(points):
    if points >= 50:
        return "pass"
    return "fail"
'''


@pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
def test_a_test_that_runs_nothing_new_and_kills_another_mutant_is_kept(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "mod.py").write_text(GRADE)
    script = [f"):\n    assert grade({points}) == '{wanted}'\n" for points, wanted in TRIED]
    options = {"project": tmp_path, "samples": len(script), "repeat": 1, "out": tmp_path / "out"}
    [written] = Scripted({"grade": script}).predict(tmp_path / "mod.py", mutants=20, **options)
    assert [one.reason for one in written.judged.verdicts] == ["", "", "covers nothing new", "", ""]
    assert "grade(50)" in written.tests and "grade(49)" in written.tests and "grade(90)" not in written.tests
    rows = written.to_dict()["tests"]
    assert [row["kills"] > 0 for row in rows] == [True, True, False, True, True]
    assert sum(row["kills"] for row in rows) == sum(one.fate == "killed" for one in written.judged.mutants)


TRIED = [(80, "pass"), (10, "fail"), (90, "pass"), (50, "pass"), (49, "fail")]
