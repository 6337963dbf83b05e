"""Where the suite's files are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import suite

CACHE_VARIABLE = "SUITE_CACHE"


def assets() -> Path:
    """The folder that holds `checkpoints/` and `configs/`: inside the installed package, or the root of a checkout."""
    package = Path(suite.__file__).resolve().parent
    packaged = package / "_assets"
    return packaged if packaged.is_dir() else package.parent


def checkpoints() -> Path:
    """The folder of the catalogue and of the embedded defaults."""
    return assets() / "checkpoints"


def cache() -> Path:
    """The folder of everything downloaded: `SUITE_CACHE`, else the user's cache folder. It may not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("peft-suite", appauthor=False)


def hub_cache() -> Path:
    """The Hugging Face cache: below `SUITE_CACHE` when that is set, else the one that every other program shares."""
    if os.environ.get(CACHE_VARIABLE):
        return cache() / "hub"
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)
