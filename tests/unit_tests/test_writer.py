"""From a file to tests that are kept, with a model that says what the test wants it to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domains.unit_tests.data.focal import project_of
from domains.unit_tests.inference.sandbox import probe
from domains.unit_tests.output.test_file import BEGIN
from suite.errors import InputError
from tests.unit_tests import hostile
from tests.unit_tests.scripted import Scripted
from tests.unit_tests.test_judge import position

isolated = pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")

STUBBED = (
    "):\n    import types\n    sys.modules['pkg.mod'] = types.SimpleNamespace(clamp=lambda *given: 3)\n"
    "    from pkg.mod import clamp as other\n    assert other(5, 0, 3) == 3\n"
)
QUICK = {"repeat": 1}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "pkg").mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "mod.py").write_text(hostile.MODULE)
    return folder


def tree(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".pytest_cache" not in path.parts
    }


def plain_pytest(project: Path, *words: Path | str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, words)]
    return subprocess.run(argv, cwd=project, capture_output=True, text=True)


@isolated
def test_of_a_hostile_models_tests_exactly_the_good_ones_are_written(project, tmp_path):
    """Acceptance 3 and 4: a reason for each other one, nothing changed, a bounded time; the file stands by itself."""
    filled = {"today": int(time.time()) + 1000, "order": position()}
    named = {name: body % filled[name] if name in filled else body for name, (_, body) in hostile.TESTS.items()}
    script = [
        *((f"):\n    {body}\n", hostile.TESTS[name][0]) for name, body in named.items() if name != "chance"),
        ("):\n    assert clamp(\n", "does not parse"),
        (STUBBED, "focal code not executed"),
        ("self):\n    assert clamp(9, 0, 2) == 9\n", "failed"),
    ]
    clamp, wanted = zip(*(pair for pair in script if "count(" not in pair[0]), strict=True)
    before, started = tree(project), time.monotonic()
    writer = Scripted(
        {"clamp": list(clamp), "count": ["words=None):\n    assert count(['a', 'b', 'a']) == {'a': 2, 'b': 1}\n"]}
    )
    options = {"project": project, "samples": len(clamp), "timeout": 10.0}
    out = tmp_path / "out"
    [written] = writer.predict(project / "pkg" / "mod.py", out=out, **options)
    assert time.monotonic() - started < 180
    assert [verdict.reason for verdict in written.judged.verdicts] == [*wanted, ""]
    assert tree(project) == before and written.exit_code == 0
    text = (out / "test_mod.py").read_text()
    assert "base none, adapter scripted, seed 0" in text and '"""Tests clamp."""' in text.replace("'''", '"""')
    file = out / "test_mod.py"
    names = [f"{file}::{name}" for name in re.findall(r"def (test_\w+)", text)]
    for words in ([file], names[::-1], sorted(names)):
        done = plain_pytest(project, *words)
        assert done.returncode == 0 and f"{len(names)} passed" in done.stdout, done.stdout
    again = Scripted(
        {"clamp": list(clamp), "count": ["words=None):\n    assert count(['a', 'b', 'a']) == {'a': 2, 'b': 1}\n"]}
    )
    [second] = again.predict(project / "pkg" / "mod.py", out=out, **{**options, "repeat": 1, "function": ("count",)})
    assert second.tests.count("def test_") == 1


@isolated
def test_the_users_tests_stay_as_they_are_and_the_same_seed_writes_the_same_file(project, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    own = "from pkg.mod import clamp\n\n\ndef test_clamp():  # mine\n    assert clamp( 5,0, 3) == 3\n"
    (project / "tests").mkdir()
    mine = project / "tests" / "test_mod.py"
    mine.write_text(own)
    script = {"clamp": ["):\n    assert clamp(-5, 0, 3) == 0\n", "):\n    assert clamp(9, 0, 3) == 3\n"], "count": []}
    texts = []
    for _ in range(2):
        [written] = Scripted(script).predict(
            project / "pkg" / "mod.py", project=project, existing=(mine,), samples=2, out=project / "tests", **QUICK
        )
        texts.append(mine.read_text())
        assert [verdict.reason for verdict in written.judged.verdicts] == ["", "covers nothing new"]
        assert written.judged.before.line_share > 0
    assert texts[0] == texts[1] and texts[0].startswith(own.rstrip("\n")) and "1970-01-02" in texts[0]
    assert texts[0].count(BEGIN) == 1 and "def test_clamp_2():" in texts[0]
    done = plain_pytest(project, mine)
    assert done.returncode == 0 and "2 passed" in done.stdout


@isolated
def test_the_next_round_is_told_what_failed_and_what_no_test_runs(project):
    writer = Scripted({"clamp": ["):\n    assert clamp(5, 0, 3) == 4\n", "):\n    assert clamp(5, 0, 3) == 3\n"]})
    [written] = writer.predict(
        project / "pkg" / "mod.py", project=project, function=["clamp"], samples=1, rounds=3, **QUICK
    )
    assert "#" not in writer.sources[0].partition("# tests/test_mod.py")[2]
    assert "# test_clamp: E assert 3 == 4" in writer.sources[1]
    assert "# no test runs: " in writer.sources[2]
    assert [verdict.reason for verdict in written.judged.verdicts] == ["failed", ""]


@isolated
def test_tests_that_fail_are_kept_apart_where_that_is_asked_for(project, tmp_path):
    script = {"clamp": ["):\n    assert clamp(5, 0, 3) == 4\n", "):\n    assert clamp(5, 0, 3) == 3\n"]}
    options = {"project": project, "function": ("clamp",), "samples": 2, **QUICK}
    [written] = Scripted(script).predict(project / "pkg/mod.py", out=tmp_path / "a", keep_failing="separate", **options)
    apart = (tmp_path / "a" / "test_mod_failing.py").read_text()
    assert (
        "possible bug of the code, or a wrong expectation" in apart and "== 4" in apart and "== 4" not in written.tests
    )
    [marked] = Scripted(script).predict(project / "pkg/mod.py", out=tmp_path / "b", keep_failing="xfail", **options)
    assert "@pytest.mark.xfail(reason='possible bug or wrong expectation: " in marked.tests
    done = plain_pytest(project, tmp_path / "b" / "test_mod.py")
    assert done.returncode == 0 and "1 passed, 1 xfailed" in done.stdout


@isolated
def test_a_test_must_add_as_much_as_is_asked_for(project):
    script = {"clamp": ["):\n    assert clamp(5, 0, 3) == 3\n", "):\n    assert clamp(-1, 0, 3) == 0\n"]}
    options = {"project": project, "function": ("clamp",), "samples": 2, **QUICK}
    [written] = Scripted(script).predict(project / "pkg/mod.py", min_coverage_gain=25, **options)
    # Of six lines and four branches the first test runs four and two, the second one line and one branch more.
    assert [one.reason for one in written.judged.verdicts] == ["", "covers nothing new"]
    assert [one.new_lines + one.new_branches for one in written.judged.verdicts] == [6, 2]
    assert written.judged.verdicts[1].detail == "it adds 20 % of the lines and branches, 25 % are asked for"


def test_without_a_run_it_is_said_loudly_that_nothing_was_verified(project, tmp_path):
    script = {"clamp": ["):\n    assert clamp(5, 0, 3) == 4\n", "):\n    assert (\n"], "count": []}
    [written] = Scripted(script).predict(project / "pkg/mod.py", project=project, samples=2, no_run=True, out=tmp_path)
    assert "NOT VERIFIED" in str(written) and "# NOT VERIFIED" in (tmp_path / "test_mod.py").read_text()
    assert written.to_dict()["verified"] is False and written.judged is None and written.exit_code == 0


@isolated
def test_the_report_tells_each_functions_funnel(project, tmp_path):
    script = {
        "clamp": ["):\n    assert clamp(5, 0, 3) == 3\n", "):\n    clamp(5, 0, 3)\n"],
        "count": ["):\n    assert (\n"],
    }
    [written] = Scripted(script).predict(
        project / "pkg/mod.py", project=project, samples=2, mutants=4, out=tmp_path, **QUICK
    )
    record = json.loads((tmp_path / "test_mod.json").read_text())
    clamp, count = record["focal"]
    assert (clamp["generated"], clamp["parsed"], clamp["ran"], clamp["kept"]) == (2, 2, 1, 1)
    assert clamp["dropped"] == [{"reason": "no assertion", "count": 1}]
    assert (count["generated"], count["parsed"], count["kept"]) == (1, 0, 0) and count["uncovered_lines"]
    assert [(row["finish_reason"], row["logprob"]) for row in record["tests"]] == [("stop", 0.0)] * 3
    assert record["base"] == "none" and record["seed"] == 0 and written.judged.mutants is not None
    elements = json.loads((tmp_path / "test_mod.mutation.json").read_text())
    assert {one["status"] for one in elements["files"]["pkg/mod.py"]["mutants"]} <= {"Killed", "Survived", "NoCoverage"}


def error_of(project: Path, text: str, name: str = "bad.py", **options) -> str:
    path = project / name
    path.write_text(text)
    [written] = Scripted({"f": ["):\n    assert f() == 1\n"]}).predict(
        path, project=project, samples=1, **QUICK, **options
    )
    return written.error or written.message


@isolated
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f():\n    return 1\n\n\ndef g(:\n", ":5:7: invalid syntax"),
        ("x = 'open\n", ":1:5: unterminated string literal"),
        ("LIMIT = 1\n", "nothing to test: no public function to be tested among 1 other statement"),
        (
            "import os\n\n\ndef _f():\n    pass\n",
            "nothing to test: no public function to be tested among 1 function, 1 import",
        ),
        ("", "nothing to test: the file is empty"),
        ("import not_there\n\n\ndef f():\n    return 1\n", "No module named 'not_there'"),
        ("from pkg.mod import absent\n\n\ndef f():\n    return 1\n", "cannot import name 'absent'"),
        ("import sys\nsys.exit(0)\n\n\ndef f():\n    return 1\n", "importing it ends the process"),
        (
            "import socket\nsocket.create_connection(('192.0.2.1', 80), 2)\n\n\ndef f():\n    return 1\n",
            "importing it was stopped: network",
        ),
        ("import os\nos.remove(__file__)\n\n\ndef f():\n    return 1\n", "importing it fails: OSError"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(project, text, said):
    error = error_of(project, text)
    assert said in error and "\n" not in error
    assert (project / "bad.py").read_text() == text


@isolated
def test_a_file_that_sleeps_when_imported_is_told_by_its_time(project):
    assert "importing it takes more than 0.5 s" in error_of(
        project, "import time\ntime.sleep(60)\n\n\ndef f():\n    return 1\n", timeout=0.5
    )


def test_without_a_project_the_nearest_folder_that_looks_like_one_is_it(project, tmp_path, monkeypatch):
    file = project / "pkg" / "mod.py"
    monkeypatch.chdir(tmp_path / "project" / "pkg")
    assert project_of(file) == project / "pkg"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert project_of(file) == project, "the first folder that is no package"
    (tmp_path / "setup.py").touch()
    assert project_of(file) == tmp_path
    (tmp_path / "my-code").mkdir()
    (tmp_path / "my-code" / "a.py").write_text("def f():\n    return 1\n")
    [written] = Scripted({}).predict(tmp_path / "my-code" / "a.py")
    assert "'my-code' is no name of a package; give --project" in written.error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": 0}, "--samples 0: give 1 or more"),
        ({"max_tests": -1}, "--max-tests -1: give 1 or more"),
        ({"temperature": -0.5}, "--temperature -0.5: give 0 or more"),
        ({"top_p": 0.0}, "--top-p 0.0: give more than 0"),
        ({"memory": 1}, "--memory 1: give 64 or more"),
        ({"min_coverage_gain": -1}, "--min-coverage-gain -1: give 0 or more"),
        ({"min_coverage_gain": 101}, "--min-coverage-gain 101: give a percentage, at most 100"),
        ({"framework": "nose"}, "--framework nose: choose one of auto, pytest, unittest, junit4, junit5"),
        ({"qkv_blocks": 0}, "--qkv-blocks 0: give 1 or more"),
        ({"keep_failing": "all"}, "--keep-failing all: choose none, xfail or separate"),
    ],
)
def test_options_that_make_no_sense_are_refused(project, options, said):
    with pytest.raises(InputError, match=re.escape(said)):
        list(Scripted({}).predict(project / "pkg" / "mod.py", **options))


@isolated
def test_only_functions_with_changed_lines_are_tested_where_that_is_asked_for(project):
    def git(*words: str) -> None:
        mine = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(project), *mine, *words], check=True, capture_output=True)

    file = project / "pkg" / "mod.py"
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    options = {"project": project, "samples": 1, "changed_since": "HEAD", **QUICK}
    [nothing] = Scripted({}).predict(file, **options)
    assert nothing.exit_code == 3 and "no function has a line that is changed since HEAD" in nothing.message
    file.write_text(hostile.MODULE.replace("found[word] = ", "found[word] = 0 + "))
    writer = Scripted({"count": ["):\n    assert count(['a']) == {'a': 1}\n"]})
    [written] = writer.predict(file, **options)
    assert written.exit_code == 0 and [one.name for one in written.judged.focal] == ["count"]
    [wrong] = Scripted({}).predict(file, **{**options, "changed_since": "nowhere"})
    assert "--changed-since: git says: fatal:" in wrong.error and "\n" not in wrong.error
