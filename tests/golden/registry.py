"""Golden cases: what is on disk, and which runner proves it.

A case's kind is its folder and its stem without any `__suffix`: `point_cloud/pcsa__b.safetensors` is of kind
`point_cloud/pcsa`. A runner for a kind stands in `tests/golden/kinds/<folder>.py`, or in a `<folder>_<topic>.py`, and
registers itself:

    @kind("point_cloud/pcsa")
    def pcsa(case: Case) -> None:
        assert ...
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import Tensor

HERE = Path(__file__).resolve().parent
COPIES = HERE / "cases"
NOT_BUILT = HERE / "not_built.txt"

# Of the files that share a case's stem the first of these is the case, the others are its companions.
_MAIN_FIRST = (".json", ".jsonl", ".safetensors", ".tsv")

Runner = Callable[["Case"], None]
_runners: dict[str, Runner] = {}


@dataclass(frozen=True)
class Case:
    """One golden case.

    Attributes:
        path: the file that holds it; for a folder's key tables the first of them.
        kind: `<folder>/<stem without __suffix>`.
        suffix: what follows `__` in the stem, or an empty string.
        tables: every `keys*.tsv` of the folder when the case is one of key tables.
    """

    path: Path
    kind: str
    suffix: str = ""
    tables: tuple[Path, ...] = ()

    def json(self) -> Any:
        return json.loads(self.path.read_text(encoding="utf-8"))

    def lines(self) -> list[Any]:
        """The records of a JSONL case."""
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines() if line.strip()]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a safetensors case by name."""
        from safetensors.torch import load_file

        return load_file(self.path)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The string metadata in a safetensors file's header."""
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as file:
            return dict(file.metadata() or {})

    @property
    def config(self) -> Any:
        """Sizes, seeds and hyper-parameters: the JSON under `config` in the metadata."""
        return json.loads(self.metadata["config"])

    def companion(self, name: str) -> Case:
        """Return the file `name` that goes with this case: with the same `__suffix`, else the plain one.

        Raises:
            FileNotFoundError: there is neither.
        """
        plain = self.path.with_name(name)
        own = plain.with_stem(f"{plain.stem}__{self.suffix}") if self.suffix else plain
        for path in (own, plain):
            if path.is_file():
                return Case(path, f"{self.kind.rpartition('/')[0]}/{plain.stem}", self.suffix)
        raise FileNotFoundError(f"{self.path.name} needs {own.name} or {plain.name} beside it")

    def rows(self) -> list[dict[str, str]]:
        """The rows of every key table by column name, `#` comments left out.

        A row of a file without a `table` column of its own gets one: the file's stem.
        """
        rows: list[dict[str, str]] = []
        for table in self.tables:
            lines = [line for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
            for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                rows.append({"table": table.stem, **row})
        return rows


def kind(name: str) -> Callable[[Runner], Runner]:
    """Register the decorated function as the runner of kind `name`."""

    def register(runner: Runner) -> Runner:
        if name in _runners:
            raise ValueError(f"golden kind {name} has two runners")
        _runners[name] = runner
        return runner

    return register


def runner(name: str) -> Runner | None:
    """Return the runner of kind `name`, or None when nothing registers one.

    The runners of a folder stand in `kinds/<folder>.py`, or by topic in `kinds/<folder>_<topic>.py`.
    """
    folder = name.partition("/")[0]
    for file in sorted((HERE / "kinds").glob(f"{folder}*.py")):
        if file.stem == folder or file.stem.startswith(f"{folder}_"):
            import_module(f"tests.golden.kinds.{file.stem}")
    return _runners.get(name)


def run_official(kind: str) -> None:
    """Run every official case of a kind, for a test that stands for an item of a list; skip where none is at hand."""
    cases = [case for _, case in discover(golden_folder()) if case.kind == kind]
    if not cases:
        pytest.skip(f"no golden case of kind {kind} (set GOLDEN_DIR)")
    run = runner(kind)
    assert run is not None
    for case in cases:
        run(case)


def not_built() -> list[str]:
    """The kinds that no code runs yet."""
    return [line.strip() for line in NOT_BUILT.read_text(encoding="utf-8").splitlines() if line.strip()]


def golden_folder() -> Path:
    """The folder that holds the cases: `GOLDEN_DIR`, else `shared/golden` beside the checkout, else our copies.

    An empty folder would pass every case by running none: named, it is an error; beside the checkout, our copies stand
    in.

    Raises:
        NotADirectoryError: `GOLDEN_DIR` is no folder.
        FileNotFoundError: `GOLDEN_DIR` holds no case.
    """
    if named := os.environ.get("GOLDEN_DIR"):
        if not Path(named).is_dir():
            raise NotADirectoryError(f"GOLDEN_DIR={named} is not a folder")
        if not _holds_cases(Path(named)):
            raise FileNotFoundError(f"GOLDEN_DIR={named} holds no golden case")
        return Path(named)
    shared = HERE.parents[2] / "shared" / "golden"
    return shared if _holds_cases(shared) else COPIES


def discover(root: Path) -> Iterator[tuple[str, Case]]:
    """Yield one `(test id, case)` for every case file below `root`, and one for each folder's key tables."""
    for folder in sorted({path.parent for path in root.rglob("*") if _holds_a_case(path)}):
        name = folder.relative_to(root).as_posix()
        files = sorted(path for path in folder.iterdir() if _holds_a_case(path))
        tables = tuple(path for path in files if path.match("keys*.tsv"))
        if tables:
            yield f"{name}/keys", Case(tables[0], f"{name}/keys", tables=tables)
        for path in files:
            if path not in tables:
                yield f"{name}/{path.name}", _case(name, path)


def _holds_cases(folder: Path) -> bool:
    return any(_holds_a_case(path) for path in folder.rglob("*"))


def _holds_a_case(path: Path) -> bool:
    return path.is_file() and not path.name.startswith((".", "README", "LICENSE"))


def _case(folder: str, path: Path) -> Case:
    """The case that the file `path` belongs to: itself, or the one whose companion it is."""
    stem, _, suffix = path.stem.partition("__")
    rank = {ending: place for place, ending in enumerate(_MAIN_FIRST)}
    for ending in _MAIN_FIRST[: rank.get(path.suffix, 0)]:
        for main in (path.with_suffix(ending), path.with_name(stem + ending)):
            if main.is_file():
                return Case(main, f"{folder}/{stem}", suffix)
    return Case(path, f"{folder}/{stem}", suffix)
