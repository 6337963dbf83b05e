"""The demo tells what it shows, on machines with and without namespaces."""

from __future__ import annotations

import subprocess
import sys

import pytest

from domains.unit_tests.demo import demo
from domains.unit_tests.inference import sandbox
from domains.unit_tests.inference.runs import Isolation
from domains.unit_tests.inference.sandbox import probe


@pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
def test_the_demo_writes_tests_that_pass(tmp_path):
    left = "from shop import gone\n\n\ndef test_gone():\n    assert gone() == 1\n"
    (tmp_path / "test_shop.py").write_text(left)  # by an earlier demo
    shown = demo(tmp_path)
    assert shown["pictures"][0].stat().st_size > 10_000
    kept = shown["tables"]["Tests that were kept"]
    assert kept and "were kept" in shown["summary"] and (tmp_path / "test_shop.html").is_file()
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_shop.py")]
    done = subprocess.run(argv, cwd=tmp_path / "project", capture_output=True, text=True)
    assert done.returncode == 0 and f"{len(kept)} passed" in done.stdout


def test_where_nothing_can_be_isolated_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "probe", lambda: Isolation(False, False, True, True, "no unshare"))
    shown = demo(tmp_path)
    assert "cannot isolate generated tests (no unshare)" in shown["summary"] and shown["pictures"] == []
