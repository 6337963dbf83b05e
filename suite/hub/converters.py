"""The functions of the domains' `official.py` that read and write other people's formats, by their import strings."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from suite.errors import InputError
from suite.files import ADAPTER, atomic_folder
from suite.hub import formats


def run(converter: str, source: Path, out: Path, **options: Any) -> Path:
    """Let a converter fill `out`; what it leaves there must be an adapter, or nothing is kept."""
    convert = function(converter)
    with atomic_folder(out, ADAPTER) as temporary:
        convert(source, temporary, **options)
        if formats.detect(temporary) not in (formats.PEFT, formats.BUNDLE):
            raise TypeError(f"{converter} wrote no adapter: neither adapter_config.json nor suite.json")
    return out


def function(reference: str) -> Callable[..., None]:
    """The converter or exporter that an import string names.

    Raises:
        InputError: its domain reads no other format.
    """
    module, separator, name = reference.partition(":")
    if not separator:
        raise ValueError(f"{reference!r} is not an import string; write package.module:name")
    try:
        found = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise InputError(f"there is no converter {reference}: this domain reads no other format") from error
    return cast("Callable[..., None]", found)
