"""The demo tells what it shows, on machines with and without namespaces."""

from __future__ import annotations

import pytest

from domains.unit_tests.demo import demo
from domains.unit_tests.inference import sandbox
from domains.unit_tests.inference.sandbox import Isolation, probe


@pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
def test_the_demo_keeps_the_good_tests(tmp_path):
    shown = demo(tmp_path)
    assert shown["pictures"][0].stat().st_size > 10_000
    reasons = {row["test"]: row["dropped as"] for row in shown["tables"]["Tests that were dropped"]}
    assert (
        reasons.items()
        >= {
            "test_wrong": "failed",
            "test_silent": "no assertion",
            "test_certain": "trivial assertion",
            "test_endless": "timeout",
            "test_online": "network",
            "test_leaving": "ended the process",
            "test_hasty": "flaky",
        }.items()
    )
    assert (tmp_path / "project" / "shop.py").is_file() and "were kept" in shown["summary"]


def test_where_nothing_can_be_isolated_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "probe", lambda: Isolation(False, False, True, True, "no unshare"))
    shown = demo(tmp_path)
    assert "cannot isolate generated tests (no unshare)" in shown["summary"] and shown["pictures"] == []
