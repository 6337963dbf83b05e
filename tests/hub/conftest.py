"""Caches, catalogues and adapters of their own for every test of the hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from suite.hub import download, paths
from tests.hub.server import Site, serving


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SUITE_CACHE", str(folder))
    return folder


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty catalogue in place of the suite's own."""
    folder = tmp_path / "assets" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setattr(paths, "assets", lambda: folder.parent)
    return folder


@pytest.fixture
def write_adapter() -> Callable[[Path], Path]:
    """Write a small peft folder."""

    def write(folder: Path, fill: float = 1.0) -> Path:
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
        save_file({"layer.lora_A.weight": torch.full((2, 4), fill)}, folder / "adapter_model.safetensors")
        return folder

    return write


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setattr(download, "TIMEOUT", (1.0, 0.5))
