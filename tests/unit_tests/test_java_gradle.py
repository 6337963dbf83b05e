"""Tests in Java that a project's own Gradle builds: the same funnel as with Maven, from the reports of its plugins."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from domains.unit_tests.data.java_files import junit_of, read_java
from domains.unit_tests.inference import container
from domains.unit_tests.inference.gradle import Gradle
from domains.unit_tests.inference.gradle_project import find_gradle
from domains.unit_tests.inference.sandbox import Sandbox, probe
from domains.unit_tests.types import WriterQuery
from tests.unit_tests import stand_in_builds, stand_in_docker
from tests.unit_tests.scripted import Scripted
from tests.unit_tests.test_java_maven import ANSWERS, JACOCO, OWN, REASONS

isolated = pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
CACHED = "org.jacoco/org.jacoco.ant"
WRAPPER = "distributionBase=GRADLE_USER_HOME\ndistributionUrl=https\\://services.gradle.org/distributions/gradle-8.5-bin.zip\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    source = folder / "src" / "main" / "java" / "shop" / "Counter.java"
    source.parent.mkdir(parents=True)
    source.write_text(stand_in_builds.COUNTER)
    (folder / "build.gradle").write_text(stand_in_builds.GRADLE)
    (folder / "settings.gradle").write_text("rootProject.name = 'shop'\n")
    folder.chmod(0o755)
    return folder


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, value in stand_in_builds.install(folder, (CACHED, JACOCO)).items():
        monkeypatch.setenv(name, value)
    return folder


def source(project: Path) -> Path:
    return project / "src" / "main" / "java" / "shop" / "Counter.java"


def written(project: Path, out: Path | None = None, **options):
    options = {"samples": len(ANSWERS["Add"]), "repeat": 1, **options}
    [found] = Scripted(ANSWERS).predict(source(project), project=project, out=out, **options)
    assert found.error is None, found.error
    return found


@isolated
def test_tests_that_gradle_runs_are_judged_with_coverage(project, tools, tmp_path):
    """Only mutants are missing, and that is said; what was built before is left behind, the project is as it was."""
    (project / "build" / "test-results" / "test").mkdir(parents=True)
    (project / "build" / "test-results" / "test" / "TEST-shop.CounterTest.xml").write_text("<testsuite/>")
    found = written(project, tmp_path / "out", mutants=9)
    record = found.to_dict()
    assert {row["name"]: row["reason"] for row in record["tests"]} == REASONS
    add, size = record["focal"]
    assert add["uncovered_lines"] == [12] and add["coverage_after"] == {"lines": 0.75, "branches": 0.75}
    assert size["coverage_after"]["lines"] == 1.0 and record["coverage_before"]["lines"] == 0.0
    assert record["methods"][0] == {"name": "add", "instruction_coverage": 17 / 19, "branch_coverage": 0.75}
    assert list(record["missing_metrics"]) == ["mutation score"] and "PIT is run where Maven" in str(found)
    text = (tmp_path / "out" / "src" / "test" / "java" / "shop" / "CounterTest.java").read_text()
    assert text.count("@Test") == 3 and "import org.junit.jupiter.api.Test;" in text
    assert not (project / ".gradle").exists() and not (project / "src" / "test").exists()


@isolated
def test_the_users_test_class_counts_as_there_already(project, tools):
    own = project / "src" / "test" / "java" / "shop" / "CounterTest.java"
    own.parent.mkdir(parents=True)
    own.write_text(OWN)
    found = written(project, project, existing=(own,), function=("add",), samples=1)
    assert own.read_text() == OWN and own.with_name("CounterGeneratedTest.java").is_file()
    assert found.judged.before.executed == {11, 12} and found.judged.after.executed == {11, 12, 14, 15}


@isolated
def test_without_jacoco_in_the_cache_coverage_is_named_and_no_zero(project, tools, tmp_path):
    (project / "build.gradle").write_text(stand_in_builds.GRADLE + "// unmeasurable\n")
    found = written(project, function=("size",), samples=1)
    assert found.exit_code == 0 and found.to_dict()["executed"] is True
    assert "coverage is not known: org.jacoco.ant is not in" in str(found) and "0%" not in str(found)


@isolated
def test_a_project_that_gradle_cannot_build_offline_is_only_parsed(project, tools):
    (project / "build.gradle").write_text(stand_in_builds.GRADLE + "// unbuildable\n")
    found = written(project, function=("add",))
    assert found.exit_code == 0 and found.to_dict()["executed"] is False
    assert (
        "Gradle cannot build it offline: error: Execution failed for task ':x'. Could not resolve org.x:y:1. No cached "
        "version of org.x:y:1 available for offline mode.; without it: the project builds with JUnit 5"
    ) in str(found)


@isolated
def test_of_two_build_files_the_other_is_asked_where_one_cannot_build(project, tools):
    (project / "pom.xml").write_text(
        stand_in_builds.POM.replace("<modelVersion>", "<!-- unbuildable --><modelVersion>")
    )
    found = written(project, function=("size",), samples=1)
    assert found.judged is not None and found.judged.after.line_share == 1.0
    (project / "build.gradle").write_text(stand_in_builds.GRADLE + "// unbuildable\n")
    said = str(written(project, function=("size",), samples=1))
    assert "Maven cannot build it offline" in said and "; Gradle cannot build it offline" in said


def find(project: Path, path: Path | None = None):
    path = path or source(project)
    return find_gradle(read_java(path, project), WriterQuery(project=project))


def test_gradle_is_found_with_its_settings_and_what_it_has_kept(project, tools):
    """A project in the build needs no build file of its own; the wrapper's own Gradle is taken where it is there."""
    found = find(project)
    assert isinstance(found, Gradle) and (found.root, found.module, found.jacoco) == ("", "", "0.8.12")
    inner = project / "parts" / "inner"
    shutil.copytree(project / "src", inner / "src")
    found = find(project, source(inner))
    assert (found.root, found.module, found.program) == ("", "parts/inner", None)
    wrapper = project / "gradle" / "wrapper" / "gradle-wrapper.properties"
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text(WRAPPER)
    assert find(project).program is None
    home = tools / "gradle-home" / "wrapper" / "dists" / "gradle-8.5-bin" / "abc" / "gradle-8.5"
    for part in ("bin", "lib", "init.d"):
        (home / part).mkdir(parents=True)
    (home / "bin" / "gradle").touch()
    found = find(project)
    assert found.program == home / "bin" / "gradle" and found.parts == (home / "bin", home / "lib")


def test_why_gradle_cannot_build_is_said(project, tools, tmp_path, monkeypatch):
    wrapper = project / "gradle" / "wrapper" / "gradle-wrapper.properties"
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text(WRAPPER)
    (tools / "bin" / "gradle").unlink()
    assert find(project).startswith("gradle not found on this machine; the wrapper's gradle-8.5-bin is not in /")
    monkeypatch.setenv("GRADLE_USER_HOME", str(tmp_path / "other"))
    (tools / "bin" / "gradle").touch()
    (tools / "bin" / "gradle").chmod(0o755)
    assert "Gradle keeps nothing in" in find(project) and "build the project once, online" in find(project)
    assert "lies outside of the project" in find(source(project).parent, source(project))
    for path in project.glob("*.gradle"):
        path.unlink()
    assert find(project) == ""


@isolated
def test_neither_the_home_folder_nor_gradles_settings_are_seen_by_tests(project, tools):
    (tools / "gradle-home" / "gradle.properties").write_text("password=secret\n")
    look = "import os; print([os.path.join(*one[:1], name) for one in os.walk('/') for name in one[2]])"
    ended = find(project)._sandbox.run([sys.executable, "-S", "-c", look.replace("'/'", repr(str(tools)))])
    assert b"gradle.properties" not in ended.stdout and b"org.jacoco.ant-0.8.12.jar" in ended.stdout


@isolated
@pytest.mark.parametrize("loopback", [True, False])
def test_the_loopback_device_leads_nowhere_else(project, loopback):
    """Gradle talks so with the processes that it starts; other runs have not even that."""
    code = """
import socket
for address in ('127.0.0.1', '192.0.2.1'):
    try:
        socket.create_connection((address, 80), 1)
    except OSError as error:
        print(error.errno)
"""
    ended = Sandbox(project, loopback=loopback).run([sys.executable, "-I", "-S", "-c", code])
    assert ended.stdout.split() == [b"111" if loopback else b"101", b"101"]


@isolated
@pytest.mark.parametrize("tool", ["mvn", "gradle"])
def test_builds_run_in_containers_with_the_programs_of_the_image(project, tools, tmp_path, monkeypatch, tool):
    if tool == "mvn":
        (project / "build.gradle").unlink()
        (project / "pom.xml").write_text(stand_in_builds.POM)
    shown = [str(Path(path).resolve()) for path in dict.fromkeys((sys.prefix, sys.base_prefix))]
    path = [str(tools / "bin"), f"{sys.prefix}/bin", "/usr/bin"]
    images = {"java:1": {"path": path, "shown": [*shown, str(tools / "bin")]}}
    (tmp_path / "docker").mkdir()
    enter = Path(container.__file__).with_name("enter.py")
    state = stand_in_docker.install(tmp_path / "docker", "podman", enter, images)
    monkeypatch.setenv("PATH", f"{tmp_path / 'docker' / 'bin'}:/usr/bin:/bin")
    options = {"function": ("add",), "samples": 1, "runner": "podman", "image": "java:1"}
    record = written(project, **options).to_dict()
    assert [row["reason"] for row in record["tests"]] == [None] and record["executed"] is True
    assert record["focal"][0]["uncovered_lines"] == [12] and list(state.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "above", "version"),
    [
        ("dependencies { testImplementation libs.junit.jupiter }", "junit:junit:4.13", 5),
        ("dependencies { }", "subprojects { test { useJUnitPlatform() } }", 5),
        ("testing { suites { test { useJUnitJupiter() } } }", "", 5),
        ("testImplementation 'junit:junit:4.13'", "useJUnitPlatform()", 4),
        ("", "", 4),
    ],
)
def test_the_version_of_junit_is_that_of_the_nearest_build_file_that_names_one(tmp_path, own, above, version):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "build.gradle.kts").write_text(own)
    (tmp_path / "build.gradle").write_text(above)
    assert junit_of(inner / "A.java") == version
