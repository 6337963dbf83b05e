"""A segmenter with random weights, and the shipped models."""

from __future__ import annotations

import pytest

from tests.point_cloud.small import segmenter


@pytest.fixture(scope="session")
def small():
    return segmenter()
