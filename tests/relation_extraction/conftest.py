"""The shipped extractor."""

from __future__ import annotations

import pytest

from domains.relation_extraction import RelationExtractor


@pytest.fixture(scope="session")
def tiny():
    return RelationExtractor.from_pretrained("tiny", device="cpu")
