"""What the catalogue and the page say of the shipped adapter is what the documented command prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite import hub
from suite.cli.main import main

COMMAND = "suite tracking evaluate world:test:24"


@pytest.mark.slow
def test_the_catalogues_figure_is_what_its_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    [entry] = [e for e in hub.catalogue("tracking", "adapter") if e.name == "tiny"]
    assert entry.metric is not None
    assert main([*COMMAND.split()[1:], "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["tiny"]["auc"]
    shown = f"{entry.metric.value:.3f}"
    assert f"{printed:.3f}" == shown
    page = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
    assert COMMAND in page and shown in page
