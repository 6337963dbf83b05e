"""The process of a command: what its libraries are told before they are imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOWN = """
import os, sys
from suite.cli.main import command

sys.argv = ["suite", "--version"]
command()
print(os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("given", "turns"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_waiting_threads_leave_their_cores_unless_the_user_says_otherwise(given: dict[str, str], turns: str) -> None:
    own = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in own} | given
    done = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == f"{turns} False"
