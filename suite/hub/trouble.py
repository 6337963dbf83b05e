"""What a reader is told when files cannot be had: one line, with the command to run."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from suite.errors import InputError
from suite.hub import paths
from suite.hub.references import HubRepository, Url

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def offline(reference: HubRepository | Url, host: str, why: str = "", *, answer: str = "") -> InputError:
    """The one sentence for a machine without a network; or, with `answer`, for a host that is there and in trouble."""
    reason = answer or "cannot be reached" + (f" ({why})" if why else "")
    when = "later" if answer else "when online"
    return InputError(
        f"{reference} is not on this machine and {host} {reason}; {when} run: suite adapters pull {reference}"
    )


def declared_offline() -> bool:
    """Whether the user has forbidden downloads, by the variable that every Hugging Face library obeys."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def need_space(folder: Path, wanted: int, name: str) -> None:
    """Refuse a download that cannot fit before it fills the disk.

    Raises:
        InputError: fewer than `wanted` bytes are free where `folder` is or will be.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if wanted > free:
        raise _no_room(name, folder, f"it needs {megabytes(wanted)} and {megabytes(free)} are free")


@contextmanager
def disk_full_as_input_error(name: str, folder: Path) -> Iterator[None]:
    """Turn a disk that fills up into one line that says where, and how to use another."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _no_room(name, folder, os.strerror(error.errno)) from error


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _no_room(name: str, folder: Path, why: str) -> InputError:
    return InputError(
        f"no room for {name} in {folder}: {why}; free some space or set {paths.CACHE_VARIABLE} to a folder elsewhere"
    )
