"""The toy domain, found by name like an installed one."""

from __future__ import annotations

from pathlib import Path

import pytest

import suite.domain
from suite.domain import Domain, Task


def toy_domain() -> Domain:
    """Two tasks: one adapter, and two adapters in turn on one base."""
    places = "tests.training.toys"
    tasks = {
        name: Task(f"{places}:{recipe}", f"{places}:Rows", "unused:X", "unused:X", "unused:X")
        for name, recipe in (("plain", "Language"), ("staged", "TwoVoices"))
    }
    return Domain("toys", "Toys for tests", "dev", tasks)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder in which the domain `toys` exists."""
    monkeypatch.setattr(suite.domain, "discover", lambda: {"toys": toy_domain()})
    monkeypatch.chdir(tmp_path)
    return tmp_path
