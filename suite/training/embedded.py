"""What makes a domain's embedded default: the folder of a base, an adapter of a shipped configuration, their cards."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from suite import hub
from suite.files import atomic_folder, write_text
from suite.hub import paths
from suite.training.config import ExperimentConfig, load_config
from suite.training.experiment import run

LICENCE = "Apache-2.0"

Figures = TypeVar("Figures")

Part = Literal["all", "base", "adapter"]
"""What of an embedded default is rebuilt; a new base needs a new adapter."""


def write_base(folder: Path, save: Callable[[Path], Any], card: str) -> Path:
    """Put a base into `folder`, whole or not at all.

    Args:
        save: fills an empty folder.
    """
    with atomic_folder(folder, own=True) as temporary:
        save(temporary)
        write_text(temporary / "README.md", card)
    return folder


def train_adapter(
    folder: Path,
    domain: str,
    config_name: str,
    run_dir: Path,
    *,
    measure: Callable[[ExperimentConfig, Path], Figures],
    card: Callable[[ExperimentConfig, Figures], str | None],
    base: str = "tiny",
    seed: int = 42,
) -> Figures:
    """Train by a shipped configuration, put the adapter into `folder`, and return what it reaches.

    Args:
        measure: of the configuration and the adapter's folder, what the card tells.
        card: the adapter's README; None keeps the one that training wrote.
    """
    config = load_config(paths.assets() / "configs" / domain / config_name)
    config = dataclasses.replace(config, base=base, seed=seed)
    shutil.rmtree(run_dir, ignore_errors=True)
    trained = run(config, run_dir=run_dir)
    figures = measure(config, trained.adapter)
    with atomic_folder(folder, own=True) as temporary:
        shutil.copytree(trained.adapter, temporary, dirs_exist_ok=True)
        if (text := card(config, figures)) is not None:
            write_text(temporary / "README.md", text)
    return figures


def rebuild(
    domain: str, part: Part, *, base: Callable[[Path], Any], adapter: Callable[[Path], hub.Metric], method: str
) -> None:
    """Rebuild a domain's embedded default in place, and its entries in the catalogue.

    Args:
        base: writes the base into a folder.
        adapter: writes the adapter into a folder; returns what it reaches.
        method: of the adapter.
    """
    place = home(domain)
    if part in ("all", "base"):
        base(place / "base")
        record(place / "base", domain, kind="base")
    if part in ("all", "adapter"):
        metric = adapter(place / "adapter")
        record(place / "adapter", domain, method=method, base="tiny", metric=metric)


def record(folder: Path, domain: str, **entry: Any) -> None:
    """Put a base or an adapter into the catalogue."""
    hub.record(folder, domain=domain, licence=LICENCE, **entry)


def home(domain: str) -> Path:
    """Where a domain's embedded default is."""
    return paths.checkpoints() / "tiny" / domain


def card(title: str, text: str, head: Mapping[str, str]) -> str:
    """A README as the hub reads it: `head` in front, then the title and the text."""
    facts = "".join(f"{name}: {value}\n" for name, value in {"license": LICENCE.lower(), **head}.items())
    return f"---\n{facts}---\n\n# {title}\n\n{text.strip()}\n"
