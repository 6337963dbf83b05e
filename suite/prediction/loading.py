"""Which adapter and which base a prediction loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite import hub
from suite.errors import InputError
from suite.manifest import read_manifest


@dataclass(frozen=True)
class Chosen:
    """An adapter on this machine and the base that it goes with.

    Attributes:
        folder: of the adapter. manifest: what it says about itself.
        base: reference of the base, as the user or the adapter gave it.
    """

    folder: Path
    manifest: Mapping[str, Any]
    base: str
    domain: str

    @property
    def settings(self) -> dict[str, Any]:
        """What the domain needs at prediction; empty for a plain peft folder."""
        return dict(self.manifest["domain"])

    def base_folder(self) -> Path:
        """The base on this machine, downloaded first where need be."""
        return hub.resolve(self.base, self.domain, kind="base")


def choose(adapter: str, base: str | None, domain: str) -> Chosen:
    """Find an adapter and its base; nothing is loaded yet.

    Args:
        adapter: reference of the adapter.
        base: reference of the base; the one that the adapter names where it is None.

    Raises:
        InputError: there is no such adapter, or it does not name its base and none is given.
    """
    folder = hub.resolve(adapter, domain, kind="adapter")
    manifest = read_manifest(folder)
    return Chosen(folder, manifest, base or stated_base(manifest["base"]["reference"], folder, domain), domain)


def stated_base(stated: str | None, where: Path, domain: str) -> str:
    """The reference of a base that an adapter states; a hub id, as plain peft folders have it, in our own spelling.

    Raises:
        InputError: it states none.
    """
    if not stated:
        raise InputError(f"{where}: the adapter does not name its base; give one with --base")
    bare = stated.count("/") == 1 and ":" not in stated and not stated.startswith((".", "/", "~", f"{domain}/"))
    return f"hf:{stated}" if bare else stated
