"""Tests in Java: parsed where no JDK is there, compiled and run where one is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from domains.unit_tests.data.java_files import junit_of, read_java
from domains.unit_tests.inference import java_runner
from domains.unit_tests.inference.sandbox import probe
from suite.errors import InputError
from tests.unit_tests.scripted import Scripted

COUNTER = """package shop;

import java.util.List;

public class Counter {
  private int count = 0;

  public Counter() { }

  public int add(int by) {
    count += by;
    return count;
  }

  public int size(List<String> words) { return words.size(); }

  private void hidden() { }
}
"""
GOOD = (
    "    Counter counter = new Counter();\n    assertEquals(3, counter.add(3));\n  }\n\n  @Test\n  public void more() {"
)
ANSWERS = {
    "Add": [GOOD, "    assertEquals(4, new Counter().add(3));\n  }", "    assertEquals(Counter.total(3), 3);\n  }"],
    "Size": [
        '    assertEquals(1, new Counter().size(List.of("}")));\n  }',
        "    new Counter().size(null);\n  }",
        "    int = ;",
    ],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "src" / "main" / "java" / "shop" / "Counter.java"
    path.parent.mkdir(parents=True)
    path.write_text(COUNTER)
    tmp_path.chmod(0o755)
    return path


def written(file: Path, out: Path, **options):
    [found] = Scripted(ANSWERS).predict(file, project=file.parents[4], samples=3, out=out, **options)
    return found


def test_without_a_jdk_tests_are_parsed_and_that_is_said(file, tmp_path, monkeypatch):
    """Acceptance 6: never a silent zero."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = written(file, tmp_path / "out")
    assert found.exit_code == 0 and found.to_dict()["executed"] is False
    assert "NOT RUN, only parsed (no JDK on this machine: java and javac not found)" in str(found)
    assert {row["name"]: row["reason"] for row in found.details["tests"]} == {
        "testAdd": None,
        "testAdd2": None,
        "testAdd3": None,
        "testSize": None,
        "testSize2": "no assertion",
        "testSize3": "does not parse",
    }
    text = (tmp_path / "out" / "src" / "test" / "java" / "shop" / "CounterTest.java").read_text()
    assert "\npackage shop;\n" in text and "import org.junit.Test;" in text and "import java.util.List;" in text
    assert "more()" not in text and text.count("@Test") == 4 and "// NOT RUN" in text


@pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
@pytest.mark.skipif(shutil.which("javac") is None or not java_runner._from_maven(), reason="no JDK with JUnit 4 here")
def test_with_a_jdk_tests_are_compiled_and_run(file, tmp_path):
    """Acceptance 6."""
    found = written(file, tmp_path / "out", timeout=60.0)
    assert {row["name"]: row["reason"] for row in found.details["tests"]} == {
        "testAdd": None,
        "testAdd2": "failed",
        "testAdd3": "does not compile",
        "testSize": None,
        "testSize2": "no assertion",
        "testSize3": "does not parse",
    }
    assert found.to_dict()["executed"] is True and found.to_dict()["verified"] is True
    assert "expected:<4> but was:<3>" in found.details["tests"][1]["detail"]


def test_the_version_of_junit_is_the_build_files(file, tmp_path):
    assert junit_of(file) == 4
    (tmp_path / "pom.xml").write_text("<artifactId>junit-jupiter</artifactId>")
    assert read_java(file, tmp_path).junit == 5
    (tmp_path / "src" / "build.gradle").write_text("testImplementation 'junit:junit:4.13'")
    assert junit_of(file) == 4
    assert "import org.junit.Test;" in written(file, tmp_path / "out", no_run=True).tests


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("public class A {\n  int f( { return 1; }\n}\n", r":2:\d+: invalid syntax"),
        ("public class A {", r":1:\d+: invalid syntax"),
        ("interface A { int f(); }\n", r"nothing to test: no class with a public method"),
        ("class A { private int f() { return 1; } }\n", r"nothing to test: no class with a public method"),
    ],
)
def test_what_is_wrong_with_a_java_file_is_one_line(tmp_path, text, said):
    path = tmp_path / "A.java"
    path.write_text(text)
    [found] = Scripted({}).predict(path, project=tmp_path)
    error = found.error or found.message
    assert re.search(said, error) and "\n" not in error
    assert found.error is not None or found.exit_code == 3


def test_names_that_a_java_file_has_not_are_refused(file, tmp_path):
    with pytest.raises(InputError, match=r"has no 'sub'; it has add, size, hidden"):
        read_java(file, tmp_path, ["Counter.sub"])
    assert [one.name for one in read_java(file, tmp_path, ["hidden"]).methods] == ["hidden"]
    with pytest.raises(InputError, match=r"outside the project"):
        read_java(file, tmp_path / "src" / "other")
