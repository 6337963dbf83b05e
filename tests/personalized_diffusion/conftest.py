"""A base of the tiny base's size with random weights, an adapter on it, and the domain's command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from domains.personalized_diffusion.model import bases
from suite.cli.main import main
from tests.personalized_diffusion.made import DOMAIN, write_adapter


@pytest.fixture(scope="session")
def random_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline and its encoders that have learnt nothing."""
    from domains.personalized_diffusion.tiny import networks as small

    return small.save_random(tmp_path_factory.mktemp("base") / "random")


@pytest.fixture(scope="session")
def base(random_base: Path) -> bases.Base:
    return bases.load(random_base, torch.float32, "cpu")


@pytest.fixture(scope="session")
def adapter(random_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(random_base, tmp_path_factory.mktemp("use") / "krona")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: Any) -> tuple[int, str, str]:
        code = main([DOMAIN, *map(str, words)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err, said.err
        return code, said.out, said.err

    return call
