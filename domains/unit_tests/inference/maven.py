"""Runs tests of a Maven project, with JaCoCo's coverage and PIT's mutants where Maven has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

from domains.unit_tests.data.java_files import JavaFile
from domains.unit_tests.data.readers import java_reports
from domains.unit_tests.inference.builds import Build, BuildTool
from domains.unit_tests.inference.runs import Limits
from domains.unit_tests.types import MutantFate
from suite.errors import InputError

_SETTINGS = "<settings/>\n"
_MUTATION = 10.0
"""How many times the seconds of a build mutants may take."""
PIT = "target/pit-reports"


@dataclass(frozen=True)
class Maven(BuildTool):
    """A project that Maven builds offline.

    Attributes:
        root, module: folders of the outermost and of the nearest pom.xml, relative to the project.
        jacoco, pit: versions of the plugins in the repository; empty where there is none.
        pit_junit5: version of PIT's plugin for JUnit 5.
    """

    name: ClassVar[str] = "Maven"
    outcomes: ClassVar[str] = "target/surefire-reports/TEST-*.xml"
    coverage_report: ClassVar[str] = "target/site/jacoco/jacoco.xml"

    pit: str = ""
    pit_junit5: str = ""

    @property
    def coverage_missing(self) -> str:
        """Why coverage is not measured; empty where it is."""
        return "" if self.jacoco else f"jacoco-maven-plugin is not in {self.repository}"

    def mutants_missing(self, junit: int) -> str:
        """Why mutants are not tried; empty where they are."""
        if not self.pit:
            return f"pitest-maven is not in {self.repository}"
        return f"pitest-junit5-plugin is not in {self.repository}" if junit == 5 and not self.pit_junit5 else ""

    def _test(
        self, file: JavaFile, source: str, names: Sequence[str], existing: Sequence[str], jacoco: str
    ) -> dict[str, Any] | Build:
        own = f"{file.test_class}#{'+'.join(names)}" if names else file.test_class
        wanted = [*([own] if source else []), *existing]
        plugin = f"org.jacoco:jacoco-maven-plugin:{jacoco}:"
        goals = [f"{plugin}prepare-agent", "test", f"{plugin}report"] if jacoco else ["test"]
        words = [f"-Dtest={','.join(wanted)}", "-Dmaven.test.failure.ignore=true"]
        words += ["-DfailIfNoTests=false", "-Dsurefire.failIfNoSpecifiedTests=false"]
        return self._run(file, source, [*goals, *words], [self.outcomes, self.coverage_report])

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
        more = {"pom.xml": (self._with_junit5(), "pom.xml")} if file.junit == 5 else {}
        found = self._run(file, source, [*goals, *words], [f"{PIT}/mutations.xml"], more, limits)
        if isinstance(found, Build):
            raise InputError(f"{file.path}: PIT was ended: {found.reason}")
        report = next(iter(found["reports"].values()), None)
        if report is None:
            raise InputError(f"{file.path}: PIT gives no report: {self._why(found['said'])}")
        return list(java_reports.mutants(java_reports.parse(report), file.path.name, focal))

    def _run(
        self,
        file: JavaFile,
        source: str,
        words: Sequence[str],
        reports: Sequence[str],
        more: Mapping[str, tuple[str, str]] | None = None,
        limits: Limits | None = None,
    ) -> dict[str, Any] | Build:
        """What the worker says of goals and options, or why it says nothing."""
        part = self.module.removeprefix(self.root).strip("/")
        argv = [
            *(self.tools.program("mvn"), "-o", "-B", "-Dstyle.color=never"),
            *("-s", "{home}/settings.xml", "-gs", "{home}/settings.xml"),
            *(f"-Dmaven.repo.local={self.repository}", "-f", f"{{home}}/copy/{self.root}/pom.xml".replace("//", "/")),
            *(["-pl", part, "-am"] if part else []),
            *words,
        ]
        files = {"settings.xml": (_SETTINGS, ""), **(more or {})}
        return self._work(file, source, argv, reports, files, limits)

    def _shown(self) -> list[Path]:
        return self.tools.shown("mvn", "java", "javac")

    def _why(self, said: str) -> str:
        return next((line.strip() for line in said.splitlines() if line.startswith("[ERROR]")), said.strip()[-300:])

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
