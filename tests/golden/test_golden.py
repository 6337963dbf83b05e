"""Every case of the official code that is on disk, one test a file."""

from __future__ import annotations

import pytest

from tests.golden.registry import Case, discover, golden_folder, not_built, runner

_CASES = dict(discover(golden_folder()))


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES.keys())
def test_golden(case: Case) -> None:
    run = runner(case.kind)
    if case.kind in not_built():
        assert run is None, f"{case.kind} has a runner: take its line out of tests/golden/not_built.txt"
        pytest.skip("not built yet")
    assert run is not None, f"nothing runs golden kind {case.kind}: add it to tests/golden/kinds/"
    run(case)
