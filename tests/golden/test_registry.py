"""The rules by which golden cases are found and run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.golden import copy_cases, registry
from tests.golden.registry import COPIES, NOT_BUILT, Case, discover, kind, not_built
from tests.golden.test_golden import test_golden as run_case


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of cases with every irregularity that there is."""
    folder = tmp_path / "area"
    folder.mkdir()
    for name in ("scoring.json", "scoring__b.json", "samples.json", "samples__b.json", "metrics.json"):
        (folder / name).write_text(json.dumps({"file": name}))
    for name in ("metrics.safetensors", "metrics__b.safetensors", "layer__b.safetensors", "README.md"):
        (folder / name).write_text("")
    (folder / "keys.tsv").write_text("# where from\nkey\tshape\nw\t1,2\n")
    (folder / "keys__b.tsv").write_text('table\tkey\tshape\nx\t"quoted\t3\n')
    return tmp_path


def test_every_file_is_a_case_and_key_tables_are_one_case_a_folder(root: Path) -> None:
    cases = dict(discover(root))
    assert set(cases) == {
        "area/keys",
        *(f"area/{name}.json" for name in ("scoring", "scoring__b", "samples", "samples__b", "metrics")),
        *(f"area/{name}.safetensors" for name in ("metrics", "metrics__b", "layer__b")),
    }
    assert cases["area/layer__b.safetensors"].kind == "area/layer"
    assert cases["area/scoring__b.json"].kind == "area/scoring"


def test_a_companion_runs_as_the_case_it_belongs_to(root: Path) -> None:
    cases = dict(discover(root))
    assert cases["area/metrics.safetensors"].path.name == "metrics.json"
    with_suffix = cases["area/metrics__b.safetensors"]
    assert with_suffix.path.name == "metrics.json"
    assert with_suffix.companion("metrics.safetensors").path.name == "metrics__b.safetensors"


def test_companions_share_the_suffix_or_are_plain(root: Path) -> None:
    case = dict(discover(root))["area/scoring__b.json"]
    assert case.companion("samples.json").json() == {"file": "samples__b.json"}
    (root / "area" / "samples__b.json").unlink()
    assert case.companion("samples.json").json() == {"file": "samples.json"}
    with pytest.raises(FileNotFoundError, match=r"absent__b\.json or absent\.json"):
        case.companion("absent.json")


def test_rows_of_all_tables(root: Path) -> None:
    assert dict(discover(root))["area/keys"].rows() == [
        {"table": "keys", "key": "w", "shape": "1,2"},
        {"table": "x", "key": '"quoted', "shape": "3"},
    ]


def test_an_unknown_kind_fails(root: Path) -> None:
    with pytest.raises(AssertionError, match="nothing runs golden kind area/scoring"):
        run_case(dict(discover(root))["area/scoring.json"])


def test_a_runner_that_fails_fails_its_case(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_runners", {})

    @kind("area/samples")
    def samples(case: Case) -> None:
        assert case.json() == {"file": "samples.json"}

    cases = dict(discover(root))
    run_case(cases["area/samples.json"])
    with pytest.raises(AssertionError):
        run_case(cases["area/samples__b.json"])


def test_a_kind_has_one_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_runners", {})
    kind("area/twice")(print)
    with pytest.raises(ValueError, match="two runners"):
        kind("area/twice")(print)


def test_a_kind_that_is_built_does_not_stand_among_the_unbuilt() -> None:
    listed = not_built()
    assert listed == sorted(set(listed))
    assert [name for name in listed if registry.runner(name)] == []


def test_a_listed_kind_is_skipped_only_while_it_has_no_runner(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_runners", {})
    monkeypatch.setattr("tests.golden.test_golden.not_built", lambda: ["area/scoring"])
    case = dict(discover(root))["area/scoring.json"]
    with pytest.raises(pytest.skip.Exception):
        run_case(case)
    kind("area/scoring")(lambda case: None)
    with pytest.raises(AssertionError, match=r"not_built\.txt"):
        run_case(case)


def test_the_list_of_unbuilt_kinds_only_shrinks() -> None:
    folder = NOT_BUILT.parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout

    try:
        commits = git("log", "--format=%H", "--first-parent", "--", NOT_BUILT.name).split()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git history here")
    kinds = set(not_built())
    for commit in commits:
        earlier = set(git("show", f"{commit}:./{NOT_BUILT.name}").split())
        assert kinds <= earlier, f"{sorted(kinds - earlier)} came back since {commit[:10]}"
        kinds = earlier


def test_golden_dir_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOLDEN_DIR", str(tmp_path / "absent"))
    with pytest.raises(NotADirectoryError, match="GOLDEN_DIR"):
        registry.golden_folder()
    (tmp_path / "metrics.json").write_text("{}")
    monkeypatch.setenv("GOLDEN_DIR", str(tmp_path))
    assert registry.golden_folder() == tmp_path


@pytest.mark.parametrize(
    ("content", "may"),
    [
        ({"f1": 0.5, "by_class": [1, None, True]}, True),
        ({"f1": "0.5"}, False),
        ({"Skai TV is a Greek channel": 1}, False),
        ([[1, 2], ["word"]], False),
    ],
)
def test_only_numbers_are_copied(tmp_path: Path, content: object, may: bool) -> None:
    path = tmp_path / "case.json"
    path.write_text(json.dumps(content))
    assert copy_cases.copyable(path) is may


def test_what_is_kept_may_be_kept() -> None:
    files = [path for path in COPIES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= copy_cases.LIMIT
    assert [path.name for path in files if not copy_cases.copyable(path)] == []
    unbuilt = set(not_built())
    assert [name for name, case in discover(COPIES) if case.kind in unbuilt] == []


def test_copying_takes_built_kinds_and_their_companions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    area = root / "area"
    (area / "metrics.json").write_text("[0.5]")
    (area / "samples.json").write_text("[1]")
    monkeypatch.setattr(copy_cases, "not_built", lambda: ["area/layer"])
    taken = {path.name for _, path in copy_cases.chosen(root)}
    assert taken == {"metrics.json", "metrics.safetensors", "metrics__b.safetensors", "samples.json"}
    shutil.rmtree(area)
    assert list(copy_cases.chosen(root)) == []


def test_an_empty_folder_is_no_set_of_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would pass every case by running none."""
    empty = tmp_path / "shared" / "golden"
    empty.mkdir(parents=True)
    monkeypatch.setenv("GOLDEN_DIR", str(empty))
    with pytest.raises(FileNotFoundError, match="holds no golden case"):
        registry.golden_folder()
    monkeypatch.delenv("GOLDEN_DIR")
    monkeypatch.setattr(registry, "HERE", tmp_path / "main" / "tests" / "golden")
    assert registry.golden_folder() == COPIES
    (empty / "metrics.json").write_text("{}")
    assert registry.golden_folder() == empty
