"""What several files of these tests need."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project of one file, `mod.py`, which is the test file's `MODULE`."""
    folder = tmp_path / "project"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "mod.py").write_text(request.module.MODULE)
    return folder
