"""Made repositories: their tests pass, their changes are what they say, and no split shows another's functions."""

from __future__ import annotations

import ast
from itertools import islice

import pytest

from suite.code.repositories import repositories, split_of

SPLITS = ("train", "validation", "test")


def _ran(source: str, tests: str) -> int:
    """Run a module and its tests in one scope; how many tests fail."""
    scope: dict = {}
    lines = [line for line in tests.splitlines(keepends=True) if not line.startswith(("import ", "from "))]
    exec(source + "".join(lines), scope)
    failed = 0
    for name, test in list(scope.items()):
        if name.startswith("test_"):
            try:
                test()
            except Exception:
                failed += 1
    return failed


@pytest.mark.parametrize("share", ["seen", "held out"])
def test_tests_of_a_repository_pass_and_notice_every_fault(share):
    for repository in islice(repositories(0, "train", share), 3):
        assert len({name for module in repository.modules for name in module.name.split(".")[1:]}) == 3
        for module in repository.modules:
            assert repository.files[module.path] == module.source
            assert repository.files[module.tests_path] == module.tests
            assert f"from {module.name} import " in module.tests
            assert _ran(module.source, module.tests) == 0
        tests = {module.path: module.tests for module in repository.modules}
        changes = list(repository.changes())
        assert 4 <= len(changes) <= 15 and abs(sum(1 if one.fault else -1 for one in changes)) <= 1
        for change in changes:
            assert bool(change.fault) == bool(change.comment) == (change.after != change.right)
            assert change.before != change.after
            assert _ran(change.right, tests[change.path]) == 0
            assert bool(_ran(change.after, tests[change.path])) == bool(change.fault)


def test_splits_share_no_function():
    texts = {}
    for split in SPLITS:
        made = islice(repositories(1, split), 30)
        functions = [one for repository in made for found in repository.functions.values() for one in found]
        assert all(split_of(one) == split for one in functions)
        texts[split] = {ast.unparse(ast.parse(one.source)) for one in functions}
        assert len(texts[split]) > 200
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]


def test_the_seed_is_all_that_matters():
    first, again, other = ([one.files for one in islice(repositories(seed), 2)] for seed in (1, 1, 2))
    assert first == again != other
