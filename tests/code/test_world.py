"""The made world of code keeps its promises: tests pass, faults are noticed, shares are apart."""

from __future__ import annotations

import ast
from collections import Counter
from itertools import islice

import pytest
from scipy.stats import mannwhitneyu

from suite.code.changes import changes
from suite.code.faults import FAULTS, fault_named
from suite.code.repositories import repositories
from suite.code.world import functions, outcome, outcomes


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
    seen, held_out = ({one.kind for one in islice(functions(1, share), 600)} for share in ("seen", "held out"))
    assert len(seen) >= 40 and len(held_out) >= 16 and not seen & held_out
    assert (
        len(FAULTS["seen"]) >= 7 and len(FAULTS["held out"]) >= 8 and not set(FAULTS["seen"]) & set(FAULTS["held out"])
    )


@pytest.mark.parametrize(("share", "of"), [("seen", "seen"), ("held out", "held out"), ("held out", "seen")])
def test_half_of_the_changes_have_a_fault_that_the_tests_notice(share, of):
    made = list(islice(changes(0, share, of), 400))
    faults = Counter(change.fault for change in made)
    assert faults[""] == 200 and set(faults) - {""} == set(FAULTS[share])
    for change in made:
        function = change.function
        assert change.before != change.after
        assert function.notices(change.after) == bool(change.fault) == bool(change.comment)
        assert fault_named(change.comment) == change.fault
        assert change.diff("a.py").startswith("--- a/a.py\n+++ b/a.py\n@@ ")
        # What a fault does to every call, a glance would show.
        gives = [how for how, _ in outcomes(change.after, function.name, function.calls)]
        assert any(how != "raises" for how in gives)


def test_a_fault_is_known_by_what_its_comment_says():
    assert fault_named("Off by one: use `range(3)`.") == "off by one"
    assert not fault_named("") and not fault_named("Looks off by one to me.")


@pytest.mark.parametrize("share", ["seen", "held out"])
def test_nothing_trivial_tells_good_changes_from_faulty_ones(share):
    measured: dict[str, list[list[float]]] = {}
    kinds: dict[str, list[bool]] = {}
    for repository in islice(repositories(0, "test", share), 60):
        for change in repository.changes():
            lines = [line for line in change.diff.splitlines() if not line.startswith(("---", "+++"))]
            added, removed = (sum(line[:1] == sign for line in lines) for sign in "+-")
            place = next(line for line in lines if line.startswith("@@ ")).split()[1].partition(",")[0]
            for name, value in {
                **{"added": added, "removed": removed, "net": added - removed, "length": len(change.diff)},
                "line": abs(int(place)),
            }.items():
                measured.setdefault(name, [[], []])[bool(change.fault)].append(value)
            kinds.setdefault(change.function.kind, []).append(bool(change.fault))
    for name, (good, faulty) in measured.items():
        auroc = mannwhitneyu(faulty, good).statistic / (len(good) * len(faulty))
        assert 0.4 < auroc < 0.6, name
    assert all(0.25 < sum(found) / len(found) < 0.75 for found in kinds.values() if len(found) > 20)


def test_the_seed_is_all_that_matters():
    first, again, other = (list(islice(changes(seed), 20)) for seed in (1, 1, 2))
    assert first == again != other
