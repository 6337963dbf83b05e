"""What tests over the network share: a server at hand, and nobody who waits."""

from __future__ import annotations

import pytest

from domains.code_review.data.hosts import client


@pytest.fixture
def at_hand(monkeypatch) -> None:
    """No proxy is in the way of this machine's servers, and what does not answer at once never will."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client, "TIMEOUT", (2.0, 2.0))


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that were waited; nobody really waits."""
    found: list[float] = []
    monkeypatch.setattr(client, "sleep", found.append)
    return found
