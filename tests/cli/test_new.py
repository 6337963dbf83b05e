"""`suite new`: what it writes passes lint and the contracts as it is; what it cannot write is one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from suite.cli import new
from tests.cli.conftest import Command

CHECKOUT = Path(__file__).resolve().parents[2]
LONGEST = "abcdefghij_abcdefghij_abcdefgh"
KINDS = get_args(new.Kind)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout with a new domain and a new method of every kind."""
    root = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__", "cases")
    for folder in ("suite", "domains", "tests", "configs", "docs"):
        shutil.copytree(CHECKOUT / folder, root / folder, ignore=ignored)
    for shared in ("checkpoints", "pyproject.toml"):
        (root / shared).symlink_to(CHECKOUT / shared)
    new.domain("shapes", checkout=root)
    for kind in KINDS:
        new.method(f"probe_{kind}", kind=kind, checkout=root)
    return root


def tool(root: Path, *words: str) -> None:
    """Run a module of Python in the copy, and fail with what it says."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", *words], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def written(root: Path) -> list[str]:
    """The new modules of `domains` and `suite`."""
    files = [*(root / "domains/shapes").rglob("*.py"), *(root / "suite/adapters/methods").rglob("probe_*.py")]
    return [str(file.relative_to(root)) for file in files]


def test_skeletons_pass_lint(checkout: Path) -> None:
    longest = [checkout / "domains" / LONGEST, checkout / f"suite/adapters/methods/additive/{LONGEST}.py"]
    new.domain(LONGEST, checkout=checkout)
    new.method(LONGEST, kind="additive", checkout=checkout)
    try:
        for check in (("check",), ("format", "--check")):
            tool(
                checkout,
                "ruff",
                *check,
                "--no-cache",
                *written(checkout),
                *map(str, longest),
                "tests/domains/shapes.py",
            )
    finally:
        shutil.rmtree(longest[0])
        longest[1].unlink()
    tool(checkout, "mypy", *written(checkout))


def test_skeletons_keep_to_the_layers(checkout: Path) -> None:
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    words = [sys.executable, "-c", lint, "--no-cache"]

    def said() -> str:
        return subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True).stdout

    assert " 0 broken" in said()
    room = checkout / "domains/shapes/model.py"
    text = room.read_text()
    room.write_text(text + "\nfrom domains.shapes.data import read as read\n")
    try:
        assert "domains.shapes.model -> domains.shapes.data" in said(), "no contract holds the new domain's rooms"
    finally:
        room.write_text(text)


def test_skeletons_keep_their_contracts(checkout: Path) -> None:
    """Those that start no process of their own, which cost most: the fake domain stands for them."""
    wanted = "shapes and not resume and not quiet and not budget or probe and mlp"
    files = ("tests/domains/test_contract.py", "tests/adapters/test_contract.py")
    tool(checkout, "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, "-k", wanted)


def test_the_page_names_what_there_is(checkout: Path) -> None:
    page = checkout / "docs" / "shapes.md"
    text = page.read_text(encoding="utf-8")
    assert all((page.parent / link).is_file() for link in re.findall(r"\]\(([^)#:]+)", text))
    verbs = {"train", "predict", "evaluate", "count", "demo"}
    assert set(re.findall(r"^suite shapes (\w+)", text, re.MULTILINE)) == verbs
    assert all((checkout / path).is_file() for path in re.findall(r"configs/\S+", text))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("domain", "Code-Review"), "cannot name a module; use lower-case words"),
        (("domain", "class"), "cannot name a module"),
        (("domain", "x" * 31), "31 characters; use at most 30"),
        (("domain", "point_cloud"), "suite point_cloud exists already"),
        (("domain", "doctor"), "suite doctor exists already"),
        (("domain", "contract"), "tests/domains/contract.py exists already"),
        (("method", "ssf"), "ssf.py exists already"),
        (("method", "lora"), "a method is called lora already"),
        (("method", "hut", "--kind", "clever"), "is none of reparameterized, additive"),
    ],
)
def test_what_cannot_be_written_is_one_line(suite: Command, words: tuple[str, ...], said: str) -> None:
    outcome = suite("new", *words, "--checkout", CHECKOUT)
    assert outcome.code == 2
    assert said in outcome.err and outcome.err.count("\n") == 1
    outcome = suite("new", "domain", "shapes")
    assert outcome.code == 2 and "no checkout of this repository" in outcome.err
