"""The files of a pull or merge request as they are after it, over the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from domains.code_review.types import ChangeRequest, leaves_tree
from suite.errors import InputError

if TYPE_CHECKING:
    from domains.code_review.data.hosts.client import Client

LARGEST = 4 * 2**20
"""Bytes of a file that is read to see whether a suggestion fits."""


@dataclass
class RequestedFiles:
    """The files that a request leads to, each fetched when it is first read.

    Attributes:
        commit: that has them.
    """

    client: Client[Any]
    request: ChangeRequest
    commit: str
    _known: dict[str, bytes | None] = field(default_factory=dict)
    _silent: bool = False

    def read(self, path: str) -> bytes | None:
        """A file's content; None where it cannot be had, or is very large."""
        if path not in self._known:
            self._known[path] = None if leaves_tree(path) or self._silent else self._fetch(path)
        return self._known[path]

    def _fetch(self, path: str) -> bytes | None:
        from domains.code_review.data.hosts.client import Refused

        try:
            raw = self.client.file(self.request, path, self.commit)
        except Refused as error:
            self._silent = error.status != 404
            return None
        except InputError:
            self._silent = True  # a review goes on without the files; it need not wait for each
            return None
        return raw if len(raw) <= LARGEST else None
