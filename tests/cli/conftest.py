"""The command with a domain that a third party ships."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from suite.cli.main import main


@dataclass
class Outcome:
    """What one call of the command left: exit code and both streams."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one object on standard output; anything else there fails the test."""
        return json.loads(self.out)


Command = Callable[..., Outcome]


def entry_point(folder: Path, **domains: str) -> Path:
    """Make `folder` hold the metadata of a distribution that ships `domains`; put it on the path to install it."""
    metadata = folder / "fake_domain-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-domain\nVersion: 1.0\n")
    lines = "".join(f"{name} = {reference}\n" for name, reference in domains.items())
    (metadata / "entry_points.txt").write_text(f"[suite.domains]\n{lines}")
    return folder


@pytest.fixture
def fake_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the fake domain for this test."""
    monkeypatch.syspath_prepend(entry_point(tmp_path / "site", fake="tests.domains.fake:DOMAIN"))


@pytest.fixture
def suite(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*argv: str | Path) -> Outcome:
        capfd.readouterr()
        code = main([str(word) for word in argv])
        return Outcome(code, *capfd.readouterr())

    return call
