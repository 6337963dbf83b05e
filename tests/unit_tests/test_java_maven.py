"""Tests in Java that a project's own Maven builds: outcomes, coverage and mutants from the reports of its tools."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from domains.unit_tests.data.java_files import read_java
from domains.unit_tests.data.readers import java_reports
from domains.unit_tests.inference import java_tools
from domains.unit_tests.inference.maven import Maven
from domains.unit_tests.inference.maven_project import find_maven
from domains.unit_tests.inference.sandbox import probe
from domains.unit_tests.types import WriterQuery
from suite.errors import InputError
from tests.unit_tests import stand_in_builds
from tests.unit_tests.scripted import Scripted

isolated = pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")

JACOCO, PIT = "org/jacoco/jacoco-maven-plugin", ("org/pitest/pitest-maven", "org/pitest/pitest-junit5-plugin")
OWN = """package shop;

import org.junit.jupiter.api.Test;

public class CounterTest {
  @Test
  public void mine() {
    assertEquals(-1, new Counter().add(-5));
  }
}
"""


def adds(wanted: int, by: int) -> str:
    return f"    assertEquals({wanted}, new Counter().add({by}));\n  }}"


ANSWERS = {
    "Add": [
        adds(3, 3),
        adds(3, 3),
        adds(9, 12),
        adds(4, 4),
        adds(5, 4),
        "    assertEquals(3, Counter.total(3));\n  }",
        "    new Counter().add(3);\n  }",
        "    assertEquals(1, 1);\n    assertTrue(true);\n  }",
        "    assertEquals(2, 1 + 1 * other);\n  }",
    ],
    "Size": ['    assertEquals(1, new Counter().size(List.of("a")));\n  }'],
}
REASONS = {
    "testAdd": None,
    "testAdd2": "duplicate",
    "testAdd3": None,
    "testAdd4": "covers nothing new",
    "testAdd5": "failed",
    "testAdd6": "does not compile",
    "testAdd7": "no assertion",
    "testAdd8": "trivial assertion",
    "testAdd9": "focal code not executed",
    "testSize": None,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    source = folder / "src" / "main" / "java" / "shop" / "Counter.java"
    source.parent.mkdir(parents=True)
    source.write_text(stand_in_builds.COUNTER)
    (folder / "pom.xml").write_text(stand_in_builds.POM)
    folder.chmod(0o755)
    return folder


def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *archives: str) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, value in stand_in_builds.install(folder, archives).items():
        monkeypatch.setenv(name, value)


def written(project: Path, out: Path | None = None, **options):
    source = project / "src" / "main" / "java" / "shop" / "Counter.java"
    options = {"samples": len(ANSWERS["Add"]), "repeat": 2, **options}
    [found] = Scripted(ANSWERS).predict(source, project=project, out=out, **options)
    assert found.error is None, found.error
    return found


@isolated
def test_tests_in_java_are_judged_with_coverage_and_mutants(project, tmp_path, monkeypatch):
    """The funnel of Python: a reason for each test, coverage before and after, reports in every form."""
    installed(tmp_path, monkeypatch, JACOCO, *PIT)
    found = written(project, tmp_path / "out", mutants=9)
    record = found.to_dict()
    assert {row["name"]: row["reason"] for row in record["tests"]} == REASONS
    assert record["executed"] is True and record["verified"] is True and record["missing_metrics"] == {}
    add, size = record["focal"]
    assert add["uncovered_lines"] == [12] and add["coverage_after"] == {"lines": 0.75, "branches": 0.75}
    assert size["coverage_after"]["lines"] == 1.0 and record["coverage_before"]["lines"] == 0.0
    assert record["methods"][0] == {"name": "add", "instruction_coverage": 17 / 19, "branch_coverage": 0.75}
    assert [row["runs"] for row in record["tests"][:1]] == [["passed", "passed"]]
    assert record["mutation"]["total"] == 4 and record["mutation"]["score"] == 0.25
    assert {one["line"] for one in record["mutation"]["survived"]} == {11, 15, 18}
    out = tmp_path / "out"
    text = (out / "src" / "test" / "java" / "shop" / "CounterTest.java").read_text()
    assert text.count("@Test") == 3 and "import org.junit.jupiter.api.Test;" in text
    assert {path.name for path in out.iterdir()} >= {f"CounterTest.{kind}" for kind in ("json", "lcov", "html")}
    saved = json.loads((out / "CounterTest.json").read_text())
    assert saved["executed"] is True and saved["mutation"]["total"] == 4
    rate = ElementTree.parse(out / "CounterTest.coverage.xml").getroot().get("line-rate")
    assert rate == "0.8000" and json.loads((out / "CounterTest.mutation.json").read_text())["files"]
    assert not (project / "target").exists() and not (project / "src" / "test").exists()


@isolated
def test_the_users_test_class_counts_as_there_already_and_stays_as_it_is(project, tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch, JACOCO)
    own = project / "src" / "test" / "java" / "shop" / "CounterTest.java"
    own.parent.mkdir(parents=True)
    own.write_text(OWN)
    found = written(project, project, existing=(own,), function=("add",), samples=1, repeat=1)
    assert own.read_text() == OWN and own.with_name("CounterGeneratedTest.java").is_file()
    assert found.judged.before.executed == {11, 12} and found.judged.after.executed == {11, 12, 14, 15}
    again = read_java(project / "src" / "main" / "java" / "shop" / "Counter.java", project)
    assert again.tests.endswith("/CounterGeneratedTest.java")  # ours may be written anew


@isolated
@pytest.mark.parametrize("archives", [(), (JACOCO,)])
def test_what_cannot_be_measured_of_java_is_named_and_no_zero(project, tmp_path, monkeypatch, archives):
    installed(tmp_path, monkeypatch, *archives)
    found = written(project, tmp_path / "out", mutants=9, function=("size",), samples=1)
    record = found.to_dict()
    assert record["executed"] is True and found.exit_code == 0
    assert "pitest-maven is not in" in record["missing_metrics"]["mutation score"]
    assert ("coverage" in record["missing_metrics"]) is not bool(archives)
    assert "mutation score is not known: pitest-maven" in str(found)
    if not archives:
        assert "coverage is not known: jacoco-maven-plugin is not in" in str(found) and "0%" not in str(found)
        assert "coverage_after" not in record


@isolated
def test_a_project_that_maven_cannot_build_offline_is_only_parsed(project, tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch)
    (project / "pom.xml").write_text(
        stand_in_builds.POM.replace("<modelVersion>", "<!-- unbuildable --><modelVersion>")
    )
    found = written(project, tmp_path / "out", function=("add",))
    record = found.to_dict()
    assert found.exit_code == 0 and record["executed"] is False and record["verified"] is False
    assert set(record["missing_metrics"]) == {"outcomes", "coverage", "mutation score"}
    assert "Plugin org.x:y:1 could not be resolved in offline mode" in str(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'<!DOCTYPE r [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><r>&b;</r>', "declares entities"),
        ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE r [<!ENTITY a "aa">]><r>&a;</r>'.encode("utf-16"), "no XML"),
        (b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><r>&x;</r>', "no XML"),
        (b"<report><package></report>", "no XML"),
    ],
)
def test_a_report_cannot_name_files_or_grow(text, said):
    with pytest.raises(InputError, match=said):
        java_reports.parse(text)


def test_a_report_that_is_too_large_is_refused_unread(monkeypatch):
    monkeypatch.setattr(java_reports, "MOST_BYTES", 10)
    with pytest.raises(InputError, match="the most is 10"):
        java_reports.parse(b"<r>0123456789</r>")


def test_branches_of_a_line_are_those_that_jacoco_counts():
    """The real report of JaCoCo of `new Counter().add(3)`, its source file alone."""
    rows = '<line nr="11" mi="0" ci="2" mb="1" cb="1"/><line nr="12" mi="2" ci="0" mb="0" cb="0"/>'
    report = f'<report name="s"><package name="shop"><sourcefile name="C.java">{rows}</sourcefile></package></report>'
    found = java_reports.lines(java_reports.parse(report), "shop", "C.java")
    assert (found.executed, found.missing) == ({11}, {12})
    assert (found.branches, found.missed_branches) == ({(11, 1)}, {(11, 2)})
    with pytest.raises(InputError, match=r"has no shop/D\.java"):
        java_reports.lines(java_reports.parse(report), "shop", "D.java")


@isolated
def test_a_module_is_built_from_its_outermost_pom(project, tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch)
    inner = project / "inner"
    shutil.copytree(project / "src", inner / "src")
    (inner / "pom.xml").write_text(stand_in_builds.POM)
    source = inner / "src" / "main" / "java" / "shop" / "Counter.java"
    found = find_maven(read_java(source, project), WriterQuery(project=project))
    assert isinstance(found, Maven) and (found.root, found.module) == ("", "inner")
    assert "lies outside of the project" in find_maven(
        read_java(source, source.parent), WriterQuery(project=source.parent)
    )


def test_of_mavens_home_what_it_starts_with_is_shown_and_its_settings_are_not(tmp_path, monkeypatch):
    for part in ("bin", "boot", "lib", "conf/logging"):
        (tmp_path / "maven" / part).mkdir(parents=True)
    (tmp_path / "maven" / "conf" / "settings.xml").write_text("<password>secret</password>")
    program = tmp_path / "maven" / "bin" / "mvn"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    shown = [path.relative_to(tmp_path / "maven").as_posix() for path in java_tools.homes("mvn")]
    assert shown == ["bin", "boot", "lib", "conf/logging"]
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "maven")
    assert list(java_tools.homes("mvn")) == [program]


@isolated
def test_neither_the_home_folder_nor_mavens_settings_are_seen_by_tests(project, tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch)
    monkeypatch.setenv("API_TOKEN", "secret")
    file = read_java(project / "src" / "main" / "java" / "shop" / "Counter.java", project)
    maven = find_maven(file, WriterQuery(project=project))
    own = f"glob.glob({str(Path.home() / '**')!r}, recursive=True)"
    look = f"import os, glob; print(dict(os.environ), glob.glob('/etc/maven/*'), {own})"
    said = maven._sandbox.run([sys.executable, "-c", look]).stdout.decode()
    assert "API_TOKEN" not in said and "settings.xml" not in said and ".ssh" not in said
    tried = "open('/project/x', 'w')", f"open({str(maven.repository / 'x')!r}, 'w')"
    assert all(maven._sandbox.run([sys.executable, "-c", code]).code != 0 for code in tried)


REAL_POM = stand_in_builds.POM.replace(
    "  </dependencies>",
    """    <dependency>
      <groupId>org.junit.jupiter</groupId><artifactId>junit-jupiter</artifactId><version>5.11.4</version>
    </dependency></dependencies><properties><maven.compiler.release>17</maven.compiler.release></properties>
  <build><plugins>
    <plugin><artifactId>maven-resources-plugin</artifactId><version>3.3.1</version></plugin>
    <plugin><artifactId>maven-compiler-plugin</artifactId><version>3.13.0</version></plugin>
    <plugin><artifactId>maven-surefire-plugin</artifactId><version>3.2.5</version></plugin>
  </plugins></build>""",
).replace(
    "<dependency><groupId>org.junit.jupiter</groupId><artifactId>junit-jupiter</artifactId></dependency>\n", "", 1
)


@pytest.mark.slow
@isolated
@pytest.mark.skipif(shutil.which("mvn") is None, reason="no Maven here")
def test_a_real_maven_runs_tests_of_junit_5(project, tmp_path):
    (project / "pom.xml").write_text(REAL_POM)
    source = project / "src" / "main" / "java" / "shop" / "Counter.java"
    maven = find_maven(read_java(source, project), WriterQuery(project=project))
    if isinstance(maven, Maven):
        maven = maven.tried(read_java(source, project))
    if isinstance(maven, str):
        pytest.skip(maven)
    answers = {"Add": [adds(3, 3), adds(5, 4), "    assertEquals(3, Counter.total(3));\n  }"]}
    options = {"project": project, "samples": 3, "repeat": 1, "function": ("add",)}
    [found] = Scripted(answers).predict(source, out=tmp_path / "out", **options)
    reasons = [row["reason"] for row in found.to_dict()["tests"]]
    assert reasons == [None, "failed", "does not compile"], found.error
    assert os.listdir(project / "src") == ["main"] and not (project / "target").exists()
