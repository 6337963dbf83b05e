"""What commands print of what libraries say. That they then print nothing else is part of the domains' contract."""

from __future__ import annotations

import os
import subprocess
import sys

TALK = """
import logging, warnings
from suite.cli.quiet import quiet

logging.getLogger("lightning").setLevel(logging.ERROR)
with quiet():
    warnings.warn_explicit("of torch", UserWarning, "/x/site-packages/torch/nn/a.py", 1)
    warnings.warn_explicit("of nobody\\nknown", UserWarning, "/x/site-packages/a_plugin/a.py", 2)
    warnings.warn_explicit("cuDNN SDPA is not deterministic.", UserWarning, "/x/suite/a.py", 3)
    logging.getLogger("peft.tuners").warning("advice of peft")
    logging.getLogger("peft.tuners").error("error of peft")
    logging.getLogger("a_plugin").warning("advice of nobody known")
warnings.warn_explicit("after", UserWarning, "/x/site-packages/torch/nn/a.py", 4)
"""


def said(*options: str, **variables: str) -> list[str]:
    environment = {**os.environ, **variables}
    command = [sys.executable, *options, "-c", TALK]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stderr.splitlines()


def test_libraries_are_kept_out_and_errors_come_through() -> None:
    *during, after = said()
    assert during == ["warning: of nobody known", "error of peft", "advice of nobody known"]
    assert after == "/x/site-packages/torch/nn/a.py:4: UserWarning: after"


def test_what_is_asked_for_is_shown() -> None:
    assert any("UserWarning: of torch" in line for line in said("-W", "always"))


def test_the_libraries_own_variables_win() -> None:
    code = "import os; from suite.cli.quiet import quiet\nwith quiet(): print(os.environ['TRANSFORMERS_VERBOSITY'])"
    for variables, level in (({}, "error"), ({"TRANSFORMERS_VERBOSITY": "info"}, "info")):
        environment = {name: value for name, value in os.environ.items() if name != "TRANSFORMERS_VERBOSITY"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment | variables)
        assert done.stdout.strip() == level
