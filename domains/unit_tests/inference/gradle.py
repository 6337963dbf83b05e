"""Runs tests of a Gradle project, with JaCoCo's coverage where Gradle has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from domains.unit_tests.data.java_files import JavaFile
from domains.unit_tests.inference.builds import Build, BuildTool
from domains.unit_tests.types import MutantFate
from suite.errors import InputError

_PLAIN = """\
allprojects { project ->
  project.plugins.withId('java') {
    project.tasks.withType(Test).configureEach {
      ignoreFailures = true
      filter.failOnNoMatchingTests = false
      outputs.upToDateWhen { false }
    }
  }
}
"""
_MEASURED = """\
allprojects { project ->
  project.plugins.withId('java') {
    project.apply plugin: 'jacoco'
    project.jacoco.toolVersion = 'VERSION'
    project.tasks.withType(JacocoReport).configureEach {
      def xml = reports.xml
      if (xml.hasProperty('required')) { xml.required.set(true) } else { xml.enabled = true }
    }
  }
}
"""
"""What a project that measures coverage itself says of its version stands behind this, and holds."""


@dataclass(frozen=True)
class Gradle(BuildTool):
    """A project that Gradle builds offline.

    Attributes:
        root, module: folders of the settings file and of the file's project in it, relative to the project.
        repository: Gradle's read-only cache of modules, `modules-2`.
        jacoco: version of JaCoCo in the cache; empty where there is none.
        program: of the distribution that the project's wrapper names; None where Gradle is taken as it is found.
        parts: of that distribution, which are shown.
    """

    name: ClassVar[str] = "Gradle"
    outcomes: ClassVar[str] = "build/test-results/test/TEST-*.xml"
    coverage_report: ClassVar[str] = "build/reports/jacoco/test/jacocoTestReport.xml"
    # Gradle talks with the processes that it runs tests in over the loopback device.
    loopback: ClassVar[bool] = True

    program: Path | None = None
    parts: tuple[Path, ...] = field(default=())

    @property
    def coverage_missing(self) -> str:
        """Why coverage is not measured; empty where it is."""
        return "" if self.jacoco else f"org.jacoco.ant is not in {self.repository}, or the build fails with it"

    def mutants_missing(self, junit: int) -> str:
        """Why mutants are not tried; empty where they are."""
        return "PIT is run where Maven builds the project; Gradle has none of its own"

    def mutate(self, file: JavaFile, source: str) -> list[MutantFate]:
        """There is no PIT.

        Raises:
            InputError: always.
        """
        raise InputError(f"{file.path}: {self.mutants_missing(file.junit)}")

    def _test(
        self, file: JavaFile, source: str, names: Sequence[str], existing: Sequence[str], jacoco: str
    ) -> dict[str, Any] | Build:
        own = [f"{file.qualified_tests}.{name}" for name in names] or [file.qualified_tests]
        classes = [f"*.{name}" if file.package else name for name in existing]
        words = [word for one in [*(own if source else []), *classes] for word in ("--tests", one)]
        argv = [
            *(str(self.program) if self.program else self.tools.program("gradle"), "--offline", "--no-daemon"),
            *("--console=plain", "-g", "{home}/gradle", "-I", "{home}/init.gradle", "-p", self._folder()),
            # A heap that differs from the client's would be another process's.
            *(f"-Dorg.gradle.jvmargs=-Xmx{self.memory}m", "-Dorg.gradle.vfs.watch=false", "-Dorg.gradle.caching=false"),
            *("test", *words, *(["jacocoTestReport"] if jacoco else [])),
        ]
        script = _PLAIN + (_MEASURED.replace("VERSION", jacoco) if jacoco else "")
        reports = [self.outcomes, *([self.coverage_report] if jacoco else [])]
        return self._work(file, source, argv, reports, {"init.gradle": (script, "")})

    def _folder(self) -> str:
        return f"{{home}}/copy/{self.module}".rstrip("/")

    def _environment(self) -> Mapping[str, str]:
        return {"GRADLE_RO_DEP_CACHE": str(self.repository.parent)}

    def _shown(self) -> list[Path]:
        if self.program is None:
            return self.tools.shown("gradle", "java", "javac")
        return [*self.parts, *self.tools.shown("java", "javac")]

    def _why(self, said: str) -> str:
        """Gradle tells what went wrong in a paragraph, from the task down to the cause."""
        told = said.partition("* What went wrong:")[2].strip().partition("\n\n")[0] or said.strip()
        return " ".join(line.strip().removeprefix("> ") for line in told.splitlines())[-400:]
