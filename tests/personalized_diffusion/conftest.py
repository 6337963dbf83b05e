"""A base of the tiny base's size with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def random_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline and its encoders that have learnt nothing."""
    from domains.personalized_diffusion.tiny import networks as small

    return small.save_random(tmp_path_factory.mktemp("base") / "random")
