"""`suite new`: the skeleton of a domain or of a method, which runs, passes lint and keeps its contract as it is."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Literal

from suite.errors import InputError
from suite.files import write_text

MOST_CHARACTERS = 30
"""Of a name: lines that hold it stay within the line length."""

Kind = Literal["reparameterized", "additive", "selective", "prompt", "representation"]

_ROOMS = ("__init__", "types", "model", "data", "output", "recipe", "predict", "demo")


def domain(name: str, *, checkout: Path = Path()) -> dict[str, Any]:
    """Write the skeleton of a domain: its rooms, configuration, page and subject of the contract test.

    Args:
        name: of the folder and the command, e.g. `code_review`.
        checkout: the folder of a clone of this repository.
    """
    root = _checked(name, checkout)
    _check_free(name)
    targets = {root / "domains" / name / f"{room}.py": f"domain/{room}.py.in" for room in _ROOMS}
    targets |= {
        root / "configs" / name / "tiny.yaml": "domain/tiny.yaml.in",
        root / "docs" / f"{name}.md": "domain/page.md.in",
        root / "tests" / "domains" / f"{name}.py": "domain/subject.py.in",
    }
    return _written(
        name,
        root,
        targets,
        f"suite {name} train --config configs/{name}/tiny.yaml",
        f"python -m pytest tests/domains/test_contract.py -k {name}",
        f"an extra `{name} = []` in pyproject.toml for what it needs, and its row in README.md",
        "docs/writing_a_domain.md says what to replace first",
    )


def method(name: str, *, kind: Kind = "reparameterized", checkout: Path = Path()) -> dict[str, Any]:
    """Write the skeleton of an adapter method that starts at the identity.

    Args:
        name: that `adapters.attach` will take, e.g. `hut`.
        kind: its family: reparameterized, additive, selective, prompt or representation.
        checkout: the folder of a clone of this repository.
    """
    root = _checked(name, checkout)
    for existing in (root / "suite" / "adapters" / "methods").rglob(f"{name}.py"):
        raise InputError(f"{existing.relative_to(root)} exists already; choose another name")
    from suite import adapters

    if name in adapters.methods():
        raise InputError(f"a method is called {name} already (suite methods {name}); choose another name")
    return _written(
        name,
        root,
        {root / "suite" / "adapters" / "methods" / kind / f"{name}.py": f"method/{kind}.py.in"},
        f"python -m pytest tests/adapters/test_contract.py -k {name}",
        "python -m tests.adapters.test_methods_page, which adds its row to docs/methods.md",
        "settings that small test models need go into SETTINGS of tests/adapters/cases.py",
        "docs/writing_a_method.md says what to replace first",
    )


VERBS: Mapping[str, Callable[..., Any]] = {"domain": domain, "method": method}


def _checked(name: str, checkout: Path) -> Path:
    """The root of the checkout, where the name can become a module's.

    Raises:
        InputError: it cannot, or the folder is no checkout.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise InputError(f"{name!r} cannot name a module; use lower-case words joined by _, e.g. code_review")
    if len(name) > MOST_CHARACTERS:
        raise InputError(f"{name!r} has {len(name)} characters; use at most {MOST_CHARACTERS}")
    root = checkout.expanduser().resolve()
    if not all((root / part).exists() for part in ("pyproject.toml", "suite/adapters/methods", "domains", "tests")):
        raise InputError(f"{checkout} is no checkout of this repository; run it in one, or name it with --checkout")
    return root


def _check_free(name: str) -> None:
    """Refuse a name that the command line knows already.

    Raises:
        InputError: a domain or a command is called so.
    """
    from suite.cli.main import COMMANDS
    from suite.domain import discover

    if name in discover() or name in COMMANDS:
        raise InputError(f"suite {name} exists already; choose another name")


def _written(name: str, root: Path, targets: Mapping[Path, str], *steps: str) -> dict[str, Any]:
    """Fill in the templates, all or none.

    Raises:
        InputError: one of the files exists.
    """
    for target in targets:
        if target.exists():
            raise InputError(f"{target.relative_to(root)} exists already; choose another name, or remove it")
    words = name.split("_")
    fields = {
        "name": name,
        "Name": "".join(word.capitalize() for word in words),
        "Title": " ".join(words).capitalize(),
    }
    folder = files("suite.cli") / "skeletons"
    texts = {
        target: Template((folder / template).read_text(encoding="utf-8")).substitute(fields)
        for target, template in targets.items()
    }
    written = [str(write_text(target, text).relative_to(root)) for target, text in texts.items()]
    return {"files": written, "next": list(steps), "message": "\n".join([*written, *(f"next  {s}" for s in steps)])}
