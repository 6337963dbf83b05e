"""Runs tests of a Maven project in the sandbox, offline, with JaCoCo's coverage and PIT's mutants where Maven has them.

The project is built in a copy; the user's settings, which may hold passwords, are not shown, and of the home folder the
local repository alone is, read-only.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from domains.unit_tests.data.java_files import JavaFile
from domains.unit_tests.data.readers import java_reports
from domains.unit_tests.inference.java_runner import Ran, homes, program
from domains.unit_tests.inference.runs import Limits
from domains.unit_tests.inference.sandbox import Sandbox
from domains.unit_tests.output.java_file import composed
from domains.unit_tests.types import Coverage, MutantFate
from suite.errors import InputError

_WORKER = Path(__file__).with_name("java_worker.py")
_SETTINGS = "<settings/>\n"
_MUTATION = 10.0
"""How many times the seconds of a build mutants may take."""

SUREFIRE, JACOCO, PIT = "target/surefire-reports/TEST-*.xml", "target/site/jacoco/jacoco.xml", "target/pit-reports"
_TRIAL = "  @Test\n  public void works() {\n  }"


@dataclass(frozen=True)
class Build:
    """What a build gave.

    Attributes:
        reason: why it has no outcomes; empty where it has. said: its last lines.
        tests: outcomes by name, of the class that was asked for. coverage: of the focal file, if it was measured.
        report: JaCoCo's.
    """

    reason: str = ""
    said: str = ""
    tests: Mapping[str, java_reports.Outcome] = field(default_factory=dict)
    coverage: Coverage | None = None
    report: ElementTree.Element | None = None

    def ran(self, name: str) -> Ran:
        """What became of one test."""
        if self.reason:
            return Ran(self.reason, self.said)
        if name not in self.tests:
            return Ran("error", f"Surefire reports no test {name}; {self.said[-500:]}")
        one = self.tests[name]
        return Ran(one.state, one.said[-2000:], self.coverage, one.seconds)


@dataclass(frozen=True)
class Maven:
    """A project that Maven builds offline.

    Attributes:
        root, module: folders of the outermost and of the nearest pom.xml, relative to the project.
        repository: where Maven keeps what it downloaded.
        jacoco, pit: versions of the plugins there; empty where there is none.
        pit_junit5: version of PIT's plugin for JUnit 5.
        memory: megabytes of a heap.
    """

    project: Path
    root: str
    module: str
    repository: Path
    limits: Limits
    memory: int
    jacoco: str = ""
    pit: str = ""
    pit_junit5: str = ""
    unsafe: bool = False

    @property
    def coverage_missing(self) -> str:
        """Why coverage is not measured; empty where it is."""
        return "" if self.jacoco else f"jacoco-maven-plugin is not in {self.repository}"

    def mutants_missing(self, junit: int) -> str:
        """Why mutants are not tried; empty where they are."""
        if not self.pit:
            return f"pitest-maven is not in {self.repository}"
        return f"pitest-junit5-plugin is not in {self.repository}" if junit == 5 and not self.pit_junit5 else ""

    def tried(self, file: JavaFile) -> Maven | str:
        """This, without what turns out not to be there; or why Maven cannot build the project."""
        build = self.build(file, composed(file, [_TRIAL], {}, ""))
        if build.ran("works").outcome == "passed":
            return self if build.coverage is not None else replace(self, jacoco="")
        if self.jacoco:
            return replace(self, jacoco="").tried(file)
        return f"Maven cannot build it offline: {build.reason or 'no outcome'}: {_error(build.said)}"

    def build(
        self,
        file: JavaFile,
        source: str,
        names: Sequence[str] = (),
        existing: Sequence[str] = (),
        measured: bool = True,
    ) -> Build:
        """Compile the project with a test class in it and run tests.

        Args:
            source: of the class; empty: only the project's own tests are run.
            names: of the class's tests; all where there is none.
            existing: names of more classes whose tests are run, too.
            measured: collect coverage where JaCoCo is there.
        """
        own = f"{file.test_class}#{'+'.join(names)}" if names else file.test_class
        wanted = [*([own] if source else []), *existing]
        jacoco = f"org.jacoco:jacoco-maven-plugin:{self.jacoco}:" if measured and self.jacoco else ""
        goals = [f"{jacoco}prepare-agent", "test", f"{jacoco}report"] if jacoco else ["test"]
        words = [f"-Dtest={','.join(wanted)}", "-Dmaven.test.failure.ignore=true"]
        words += ["-DfailIfNoTests=false", "-Dsurefire.failIfNoSpecifiedTests=false"]
        found = self._run(file, source, [*goals, *words], [SUREFIRE, JACOCO], self.limits)
        if isinstance(found, Build):
            return found
        tests: dict[str, java_reports.Outcome] = {}
        for path, text in found["reports"].items():
            if path.endswith(f"/TEST-{file.qualified_tests}.xml"):
                tests |= {one.name: one for one in java_reports.outcomes(java_reports.parse(text))}
        if not tests and source:
            return Build(_why(found["said"]), found["said"])
        report = next((text for path, text in found["reports"].items() if path.endswith(JACOCO)), None)
        if report is None:
            return Build("", found["said"], tests)
        parsed = java_reports.parse(report)
        return Build("", found["said"], tests, java_reports.lines(parsed, file.package, file.path.name), parsed)

    def mutate(self, file: JavaFile, source: str) -> list[MutantFate]:
        """What a test class makes of PIT's mutants of the class that it is for.

        Raises:
            InputError: PIT gives no report.
        """
        focal = f"{file.package}.{file.focal.name}" if file.package else file.focal.name
        words = [
            f"-DtargetClasses={focal},{focal}$*",
            f"-DtargetTests={file.qualified_tests}",
            "-DoutputFormats=XML",
            "-DfullMutationMatrix=true",
            "-DtimestampedReports=false",
            "-DfailWhenNoMutations=false",
        ]
        goals = ["test-compile", f"org.pitest:pitest-maven:{self.pit}:mutationCoverage"]
        seconds = self.limits.seconds * _MUTATION
        limits = replace(self.limits, seconds=seconds, processor=round(seconds))
        found = self._run(file, source, [*goals, *words], [f"{PIT}/mutations.xml"], limits, pit=True)
        if isinstance(found, Build):
            raise InputError(f"{file.path}: PIT was ended: {found.reason}")
        report = next(iter(found["reports"].values()), None)
        if report is None:
            raise InputError(f"{file.path}: PIT gives no report: {_error(found['said'])}")
        return list(java_reports.mutants(java_reports.parse(report), file.path.name, focal))

    def _run(
        self, file: JavaFile, source: str, words: list[str], reports: list[str], limits: Limits, pit: bool = False
    ) -> dict[str, Any] | Build:
        """What the worker says, or why it says nothing."""
        module = f"{self.module}/" if self.module else ""
        files = {"settings.xml": _SETTINGS, **({"source.java": source} if source else {})}
        placed = {"source.java": f"{module}src/test/java/{_folder(file)}{file.test_class}.java"} if source else {}
        if pit and file.junit == 5:
            files["pom.xml"] = self._with_junit5()
            placed["pom.xml"] = f"{module}pom.xml"
        inner = self.module.removeprefix(self.root).strip("/")
        at = [
            *("-o", "-B", "-Dstyle.color=never", "-s", "{home}/settings.xml", "-gs", "{home}/settings.xml"),
            *(f"-Dmaven.repo.local={self.repository}", "-f", f"{{home}}/copy/{self.root}/pom.xml".replace("//", "/")),
            *(["-pl", inner, "-am"] if inner else []),
        ]
        word = secrets.token_hex(16)
        job = {
            "project": "/project",
            "files": placed,
            "argv": [program("mvn"), *at, *words],
            "reports": [f"{module}{pattern}" for pattern in reports],
            "word": word,
        }
        argv = [sys.executable, "-B", "-s", str(_WORKER), json.dumps(job)]
        ended = self._sandbox.run(argv, {f"/tmp/{name}": text for name, text in files.items()}, limits)
        if ended.reason:
            return Build(ended.reason, ended.stderr.decode("utf-8", "replace")[-2000:])
        for line in reversed(ended.stdout.decode("utf-8", "replace").splitlines()):
            if line.startswith(word):
                found: dict[str, Any] = json.loads(line[len(word) :])
                if not found["copied"]:
                    raise InputError(f"{self.project}: cannot be copied to be built: {found['said']}")
                return found
        return Build("ended the process", ended.stderr.decode("utf-8", "replace")[-2000:])

    @cached_property
    def _sandbox(self) -> Sandbox:
        # Debian keeps what neither starts without beside the settings of the system.
        patterns = ("java*", "maven/m2.conf", "maven/logging")
        settings = [path for pattern in patterns for path in sorted(Path("/etc").glob(pattern))]
        shown = (_WORKER.parent, *homes("mvn", "java", "javac"), self.repository, *settings)
        options = f"-Xmx{self.memory}m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Duser.home=/tmp"
        environment = {"JDK_JAVA_OPTIONS": options, "JAVA_HOME": str(Path(program("javac")).parent.parent)}
        return Sandbox(self.project.resolve(), self.limits, shown, unsafe=self.unsafe, environment=environment)

    def _with_junit5(self) -> str:
        """The module's pom.xml with PIT's plugin for JUnit 5, which no option of the command line names."""
        path = Path(self.project, self.module, "pom.xml")
        tree = java_reports.parse(path.read_bytes())
        space = tree.tag[: tree.tag.find("}") + 1]
        ElementTree.register_namespace("", space.strip("{}"))
        holder = tree
        for name in ("build", "plugins"):
            inside = holder.find(f"{space}{name}")
            holder = ElementTree.SubElement(holder, f"{space}{name}") if inside is None else inside
        for plugin in holder.findall(f"{space}plugin"):
            if plugin.findtext(f"{space}artifactId") == "pitest-maven":
                return path.read_text(encoding="utf-8")  # the project says itself how PIT finds its tests
        plugin = ElementTree.SubElement(holder, f"{space}plugin")
        named = {"groupId": "org.pitest", "artifactId": "pitest-maven", "version": self.pit}
        of_junit5 = {"groupId": "org.pitest", "artifactId": "pitest-junit5-plugin", "version": self.pit_junit5}
        for tag, text in named.items():
            ElementTree.SubElement(plugin, f"{space}{tag}").text = text
        dependencies = ElementTree.SubElement(plugin, f"{space}dependencies")
        dependency = ElementTree.SubElement(dependencies, f"{space}dependency")
        for tag, text in of_junit5.items():
            ElementTree.SubElement(dependency, f"{space}{tag}").text = text
        return ElementTree.tostring(tree, encoding="unicode")


def _folder(file: JavaFile) -> str:
    return f"{file.package.replace('.', '/')}/" if file.package else ""


def _why(said: str) -> str:
    """Why a build has no outcome."""
    if "COMPILATION ERROR" in said or "Compilation failure" in said:
        return "does not compile"
    return "error"


def _error(said: str) -> str:
    """The line of Maven's that says what is wrong."""
    return next((line.strip() for line in said.splitlines() if line.startswith("[ERROR]")), said.strip()[-300:])
