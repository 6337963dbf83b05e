"""Our methods, one file each. Every file in these folders is imported, so adding a method needs no edit elsewhere."""

from __future__ import annotations

import pkgutil
from importlib import import_module


def import_all() -> None:
    """Import every method file, which registers the method with peft."""
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        import_module(module.name)
