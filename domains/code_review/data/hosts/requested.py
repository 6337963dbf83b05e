"""What a host says of a pull or merge request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RequestedDiff:
    """A request's diff as it was read.

    Attributes:
        raw: its bytes.
        head: the revision that its new files are of. base: that its old ones are of.
        start: the revision of the branch that it is to go into.
        newer: the diff since a revision, where that was asked for.
        unseen: files whose diff the host does not show, each with the reason.
    """

    raw: bytes
    head: str
    base: str
    start: str
    newer: bytes | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)
