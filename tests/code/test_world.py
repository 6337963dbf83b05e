"""The made world of code keeps its promises: tests pass, faults are noticed, shares are apart."""

from __future__ import annotations

import ast
from collections import Counter
from itertools import islice

import pytest

from suite.code.world import FAULTS, changes, functions, outcome


@pytest.mark.parametrize("share", ["seen", "held out"])
def test_functions_are_tested_by_what_they_give(share):
    made = list(islice(functions(0, share), 200))
    assert len({function.source for function in made}) == 200
    for function in made:
        [definition] = ast.parse(function.source).body
        assert definition.name == function.name
        assert all(outcome(function.source, function.name, call)[0] == "gives" for call in function.calls)
        for test in function.tests():
            scope: dict = {}
            exec(function.source + test, scope)
            next(value for name, value in scope.items() if name.startswith("test_"))()


def test_shares_have_no_kind_in_common():
    seen, held_out = ({one.kind for one in islice(functions(1, share), 300)} for share in ("seen", "held out"))
    assert len(seen) >= 10 and len(held_out) >= 4 and not seen & held_out
    assert not set(FAULTS["seen"]) & set(FAULTS["held out"])


@pytest.mark.parametrize(("share", "of"), [("seen", "seen"), ("held out", "held out"), ("held out", "seen")])
def test_half_of_the_changes_have_a_fault_that_the_tests_notice(share, of):
    made = list(islice(changes(0, share, of), 300))
    faults = Counter(change.fault for change in made)
    assert faults[""] == 150 and set(faults) - {""} == set(FAULTS[share])
    for change in made:
        assert not change.function.notices(change.function.source)
        assert change.before != change.after and not change.function.notices(change.before)
        assert change.function.notices(change.after) == bool(change.fault) == bool(change.comment)
        assert change.diff("a.py").startswith("--- a/a.py\n+++ b/a.py\n@@ ")


def test_the_seed_is_all_that_matters():
    first, again, other = (list(islice(changes(seed), 20)) for seed in (1, 1, 2))
    assert first == again != other
