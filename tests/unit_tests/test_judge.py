"""The funnel keeps exactly the good tests, and says of each other one why."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from domains.unit_tests import discover
from domains.unit_tests.inference.candidates import assertion, pruned, split
from domains.unit_tests.inference.judge import Judge, Rules
from domains.unit_tests.inference.runs import Limits
from domains.unit_tests.inference.sandbox import probe
from suite.cli.main import main
from suite.errors import InputError
from tests.unit_tests import hostile

isolated = pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
QUICK = Rules(limits=Limits(seconds=10, processor=3, processes=32))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    folder.chmod(0o755)
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "mod.py").write_text(hostile.MODULE)
    return folder


def position() -> int:
    """Where a letter stands in a set under the hash seed of a first run."""
    code = "print(list({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}).index('a'))"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": "1"}, capture_output=True, check=True)
    return int(done.stdout)


@isolated
def test_of_hostile_tests_exactly_the_good_ones_are_kept(project, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "x")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    candidates = split(hostile.source(time.time(), position()))
    judge = Judge(project, discover(project / "pkg" / "mod.py", project), QUICK)
    judged = judge.judge([one for one in candidates if one.name != "test_chance"])
    found = {verdict.candidate.name.removeprefix("test_"): verdict.reason for verdict in judged.verdicts}
    wanted = {name: reason for name, (reason, _) in hostile.TESTS.items() if name != "chance"}
    assert {k: v for k, v in found.items() if v != wanted[k]} == {}
    assert judged.after.line_share == judged.after.branch_share == 1.0 and judged.before.line_share == 0.0
    assert before == {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}


@isolated
def test_the_command_writes_tests_that_pass_and_reports(project, tmp_path, capsys):
    tests = tmp_path / "made.py"
    tests.write_text(
        "# a comment that stays\nfrom pkg.mod import clamp\n\n\ndef test_a():\n    assert clamp(5, 0, 3) == 3\n\n\n"
        "def test_b():\n    assert clamp(5, 0, 3) == 4\n\n\nclass TestC:\n    low = 0\n\n    def test_d(self):\n"
        "        assert clamp(-1, self.low, 3) == 0\n\n    def test_e(self):\n        clamp(1, 0, 3)\n"
    )
    out = tmp_path / "out"
    words = ["unit_tests", "judge", str(project / "pkg/mod.py"), str(tests), "--project", str(project)]
    assert main([*words, "--out", str(out), "--repeat", "1"]) == 0
    kept = (out / "test_mod.py").read_text()
    assert [node.name for node in ast.walk(ast.parse(kept)) if isinstance(node, ast.FunctionDef)] == [
        "test_a",
        "test_d",
    ]
    assert kept.startswith("# a comment that stays\n") and "low = 0" in kept
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(project),
            str(out / "test_mod.py"),
        ],
        cwd=project,
        env={"PYTHONPATH": str(project), "PATH": "/usr/bin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    record = json.loads((out / "test_mod.json").read_text())
    assert record["totals"] == {"given": 4, "ran": 3, "passed": 2, "kept": 2}
    # clamp's `raise` and all of count are not run.
    assert record["uncovered_lines"] == [7, 14, 15, 16, 17]
    cobertura = ElementTree.parse(out / "test_mod.coverage.xml").getroot()
    lines = {int(line.get("number")): line.get("hits") for line in cobertura.iter("line")}
    assert lines[7] == "0" and lines[9] == "1"
    junit = ElementTree.parse(out / "test_mod.junit.xml").getroot()
    assert (junit.get("tests"), junit.get("failures"), junit.get("skipped")) == ("4", "1", "1")
    assert "DA:7,0" in (out / "test_mod.lcov").read_text()
    page = (out / "test_mod.html").read_text()
    assert '<tr class="missed"><td class="number">7</td>' in page and "test_b: dropped: failed" in page
    assert "2 of 4 tests kept" in capsys.readouterr().out


@isolated
def test_coverage_is_what_coverage_py_says_by_hand(project, tmp_path):
    [candidate] = split("from pkg.mod import clamp\ndef test_a():\n    assert clamp(5, 0, 3) == 3\n")
    judged = Judge(project, discover(project / "pkg/mod.py", project, ["clamp"]), replace(QUICK, repeat=1)).judge(
        [candidate]
    )
    script = tmp_path / "by_hand.py"
    script.write_text("from pkg.mod import clamp\nclamp(5, 0, 3)\n")
    words = [
        sys.executable,
        "-m",
        "coverage",
        "run",
        "--branch",
        "--include",
        "*/pkg/mod.py",
        f"--data-file={tmp_path}/c",
    ]
    subprocess.run([*words, str(script)], cwd=project, env={"PYTHONPATH": str(project)}, check=True)
    words = [
        sys.executable,
        "-m",
        "coverage",
        "json",
        f"--data-file={tmp_path}/c",
        "-o",
        str(tmp_path / "c.json"),
        "-q",
    ]
    subprocess.run(words, cwd=project, check=True)
    [file] = json.loads((tmp_path / "c.json").read_text())["files"].values()
    known = file["functions"]["clamp"]
    body = {line for line in judged.after.executed if line > judged.focal[0].first}
    assert body == set(known["executed_lines"])
    assert judged.after.missing == set(known["missing_lines"])
    assert judged.after.missed_branches == {tuple(pair) for pair in known["missing_branches"]}


@isolated
def test_existing_tests_count_as_there_already(project):
    own = project / "test_own.py"
    own.write_text("from pkg.mod import clamp\ndef test_own():\n    assert clamp(5, 0, 3) == 3\n")
    try:
        focal = discover(project / "pkg/mod.py", project, ["clamp"])
        candidates = split("from pkg.mod import clamp\ndef test_a():\n    assert clamp(7, 0, 3) == 3\n")
        judged = Judge(project, focal, replace(QUICK, repeat=1), [own]).judge(candidates)
    finally:
        own.unlink()
    assert [verdict.reason for verdict in judged.verdicts] == ["covers nothing new"]
    assert 0 < judged.before.line_share < 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("assert f(1) == 2", "real"),
        ("assert True", "trivial"),
        ("assert 1 + 1 == 2", "trivial"),
        ("x = f(1)\n    assert x == x", "trivial"),
        ("assert f() == f()", "real"),
        ("with pytest.raises(ValueError):\n        f()", "real"),
        ("mock.assert_called_once_with(1)", "real"),
        ("self.assertEqual(1, 1)", "trivial"),
        ("self.assertEqual(f(1), 1)", "real"),
        ("print('assert')", "none"),
    ],
)
def test_assertions_are_read_from_the_tree(body, kind):
    [candidate] = split(f"def test_x():\n    {body}\n")
    assert assertion(candidate) == kind


def test_a_pruned_file_keeps_all_else():
    marked = "@mark\ndef test_a():\n    pass\n\n\n"
    case = "class TestB:\n    def test_c(self):\n        pass\n\n\n"
    source = f"import a\n\n\n{marked}{case}def helper():\n    pass\n"
    assert pruned(source, {"test_a"}) == source.replace(marked, "")
    assert "TestB" not in pruned(source, {"TestB::test_c"}) and "helper" in pruned(source, {"TestB::test_c"})


@pytest.mark.parametrize(
    ("module", "tests", "said"),
    [
        ("def f(:\n", "def test_a(): assert f()", r"mod.py:1:7: "),
        ("x = 1\n", "def test_a(): assert 1", "nothing to test"),
        ("def f(): pass\n", "def test_a(:\n", r"made.py:1:12: "),
        ("def f(): pass\n", "def a(): pass\n", "holds no test"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, module, tests, said):
    (tmp_path / "mod.py").write_text(module)
    (tmp_path / "made.py").write_text(tests)
    words = [str(tmp_path / "mod.py"), str(tmp_path / "made.py"), "--project", str(tmp_path)]
    assert main(["unit_tests", "judge", *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(err)


def test_names_that_are_not_there_are_said(project):
    with pytest.raises(InputError, match="has no 'clmp'; it has clamp, count"):
        discover(project / "pkg/mod.py", project, ["clmp"])
    with pytest.raises(InputError, match="outside the project"):
        discover(project / "pkg/mod.py", project / "pkg" / "deeper")
