"""What the catalogue and the pages say of the shipped adapters is what their commands print, to the digit."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from suite import hub
from suite.cli.main import main
from suite.hub import paths

MEASURES = {"accuracy": "overall accuracy", "instance_miou": "instance mIoU"}
"""What `evaluate` calls the catalogue's measures."""

ENTRIES = [entry for entry in hub.catalogue("point_cloud", "adapter") if entry.embedded]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_catalogues_figure_is_what_its_command_prints(entry, capsys):
    stated = entry.metric
    [command] = re.findall(r"\((suite .*)\)", stated.data)
    assert main([*shlex.split(command)[1:], "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert f"{printed['metrics'][MEASURES[stated.name]]:.3f}" == f"{stated.value:.3f}"
    assert str(printed["clouds"]) in stated.data
    card = (paths.checkpoints() / entry.source / "README.md").read_text()
    assert command in card and f"{stated.value:.3f}" in card
    assert command in (Path(__file__).parents[2] / "docs" / "point_cloud.md").read_text()
