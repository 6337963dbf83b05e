"""Real data of others, never part of the project: read from `SUITE_DATA`, or the test skips and says what is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


def real_data(name: str) -> Path:
    """Return the file or folder `name` below `SUITE_DATA` (default: `shared/data` beside the checkout), or skip."""
    root = Path(os.environ.get("SUITE_DATA") or CHECKOUT.parent / "shared" / "data")
    if not (root / name).exists():
        pytest.skip(f"real data absent: {name} (set SUITE_DATA to the folder that holds it)")
    return root / name
