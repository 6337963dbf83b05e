"""Tests as classes of unittest: the same assertions, judged by the same funnel, run without pytest at the end."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from domains.unit_tests.data.java_files import read_java
from domains.unit_tests.inference.sandbox import probe
from domains.unit_tests.inference.unittest_style import method
from tests.unit_tests.scripted import Scripted

isolated = pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")

MODULE = '''"""Functions."""


def half(x):
    if x < 0:
        raise ValueError("below zero")
    return x / 2


async def later(x):
    return x
'''


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("assert f(1) == 2", "self.assertEqual(f(1), 2)"),
        ("assert f(1) != 2, 'no'", "self.assertNotEqual(f(1), 2, msg='no')"),
        ("assert f(1) is None", "self.assertIsNone(f(1))"),
        ("assert f(1) is not None", "self.assertIsNotNone(f(1))"),
        ("assert f(1) is True", "self.assertIs(f(1), True)"),
        ("assert f(1) >= 2", "self.assertGreaterEqual(f(1), 2)"),
        ("assert 1 not in f(1)", "self.assertNotIn(1, f(1))"),
        ("assert not f(1)", "self.assertFalse(f(1))"),
        ("assert isinstance(f(1), int)", "self.assertIsInstance(f(1), int)"),
        ("assert 0 < f(1) < 2", "self.assertTrue(0 < f(1) < 2)"),
        ("assert f(1) == pytest.approx(200.0)", "self.assertAlmostEqual(f(1), 200.0, delta=0.0002)"),
        ("assert f(1) == pytest.approx(2, abs=0.5)", "self.assertAlmostEqual(f(1), 2, delta=0.5)"),
        ("with pytest.raises(ValueError):\n    f(1)", "with self.assertRaises(ValueError):\n    f(1)"),
        (
            "with pytest.raises(ValueError, match='a') as e:\n    f(1)\nassert e.value.args",
            "with self.assertRaisesRegex(ValueError, 'a') as e:\n    f(1)\nself.assertTrue(e.exception.args)",
        ),
        ("for x in (1, 2):\n    assert f(x) == x", "for x in (1, 2):\n    self.assertEqual(f(x), x)"),
    ],
)
def test_an_assertion_is_that_of_a_test_case(body, wanted):
    [test] = ast.parse("def test_f():\n" + "\n".join(f"    {line}" for line in body.splitlines())).body
    lines = ast.unparse(method(test)).splitlines()
    assert lines[0] == "def test_f(self):" and "\n".join(line[4:] for line in lines[1:]) == wanted


@pytest.mark.parametrize(
    "test",
    [
        "def test_f(tmp_path):\n    assert f(tmp_path) == 1",
        "@pytest.mark.parametrize('x', [1])\ndef test_f(x):\n    assert f(x) == 1",
        "def test_f():\n    assert f(1) == pytest.approx([1.0])",
        "def test_f():\n    with pytest.raises(ValueError) as e:\n        f(1)\n    assert e.match('a')",
    ],
)
def test_what_needs_pytest_is_no_method(test):
    assert method(ast.parse(test).body[0]) is None


@isolated
def test_classes_of_unittest_are_judged_by_the_same_funnel_and_run_without_pytest(project, tmp_path):
    script = {
        "half": [
            "):\n    assert half(4) == 2\n",
            "):\n    with pytest.raises(ValueError, match='below'):\n        half(-1)\n",
            "):\n    assert half(3) == 1\n",
            "(tmp_path):\n    assert half(len(str(tmp_path))) > 0\n".removeprefix("("),
            "):\n    assert half(4) == 2\n",
            "):\n    assert half == half\n",
        ],
        "later": ["):\n    assert asyncio.run(later(1)) == 1\n"],
    }
    options = {"project": project, "samples": 6, "repeat": 2, "framework": "unittest"}
    [written] = Scripted(script).predict(
        project / "mod.py", out=tmp_path / "out", keep_failing="xfail", mutants=3, **options
    )
    assert written.error is None, written.error
    assert [verdict.reason for verdict in written.judged.verdicts] == [
        *("", "", "failed", "needs pytest", "duplicate", "trivial assertion"),
        "",
    ]
    text = (tmp_path / "out" / "test_mod.py").read_text()
    assert "class TestHalf(unittest.TestCase):" in text and "class TestLater(unittest.TestCase):" in text
    assert "pytest" not in text and "self.assertRaisesRegex(ValueError, 'below')" in text
    assert "@unittest.expectedFailure" in text and "possible bug or wrong expectation" in text
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "-v", "test_mod"],
        cwd=tmp_path / "out",
        env={"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "Ran 4 tests" in done.stderr and "expected failures=1" in done.stderr, done.stderr
    assert written.judged.mutation_score > 0


@isolated
def test_users_functions_beside_classes_of_unittest_are_run_by_pytest(project):
    own = "from mod import half\n\n\ndef test_mine():\n    assert half(8) == 4\n\n\nclass TestHalf:\n    pass\n"
    mine = project / "test_mod.py"
    mine.write_text(own)
    script = {"half": ["):\n    with pytest.raises(ValueError):\n        half(-1)\n"]}
    options = {"project": project, "samples": 1, "repeat": 1, "framework": "unittest", "function": ("half",)}
    [written] = Scripted(script).predict(project / "mod.py", out=project, existing=(mine,), **options)
    assert mine.read_text().startswith(own.rstrip("\n")) and "class TestHalf_2(unittest.TestCase):" in written.tests


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mod.py", {"framework": "junit5"}, "--framework junit5 is for Java; take pytest or unittest"),
        ("A.java", {"framework": "unittest"}, "--framework unittest is for Python; leave it out"),
        ("A.java", {"snapshot": True}, "--snapshot is for Python; leave it out"),
    ],
)
def test_a_framework_of_the_other_language_is_refused_in_one_line(project, name, options, said):
    (project / "A.java").write_text("public class A { public int f() { return 1; } }\n")
    [written] = Scripted({}).predict(project / name, project=project, **options)
    assert said in written.error and "\n" not in written.error


def test_the_version_of_junit_may_be_said(project):
    (project / "A.java").write_text("public class A { public int f() { return 1; } }\n")
    script = {"F": ["    assertEquals(1, new A().f());\n  }"]}
    assert read_java(project / "A.java", project).junit == 4
    [written] = Scripted(script).predict(
        project / "A.java", project=project, samples=1, no_run=True, framework="junit5"
    )
    assert "import org.junit.jupiter.api.Test;" in written.tests
