"""What builds a project in Java in the sandbox, offline: what Maven and Gradle have in common.

The project is built in a copy; of the home folder what the tool keeps there of downloads is shown, read-only, and none
of its settings, which may hold passwords.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self
from xml.etree import ElementTree

from domains.unit_tests.data.java_files import JavaFile
from domains.unit_tests.data.readers import java_reports
from domains.unit_tests.inference.java_runner import ADDRESSES, Ran
from domains.unit_tests.inference.java_tools import JavaTools
from domains.unit_tests.inference.runs import MEGABYTE, Isolation, Limits
from domains.unit_tests.inference.sandbox import Sandbox
from domains.unit_tests.output.java_file import composed
from domains.unit_tests.types import Coverage, MutantFate, WriterQuery
from suite.errors import InputError

_WORKER = Path(__file__).with_name("java_worker.py")
_LEAST_SECONDS = 120.0
"""Of a build."""
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
            return Ran("error", f"no report of a test {name}; {self.said[-500:]}")
        one = self.tests[name]
        return Ran(one.state, one.said[-2000:], self.coverage, one.seconds)


@dataclass(frozen=True)
class BuildTool(ABC):
    """A project that one of its kind builds offline.

    Attributes:
        root, module: folders of the whole build and of the file's part of it, relative to the project.
        repository: where it keeps what it downloaded.
        memory: megabytes of a heap.
        jacoco: version of JaCoCo there; empty where there is none.
        tools: where the JDK and the tool are.
    """

    name: ClassVar[str]
    outcomes: ClassVar[str]
    coverage_report: ClassVar[str]
    loopback: ClassVar[bool] = False

    project: Path
    root: str
    module: str
    repository: Path
    limits: Limits
    memory: int
    jacoco: str = ""
    unsafe: bool = False
    tools: JavaTools = field(default_factory=JavaTools)

    @property
    @abstractmethod
    def coverage_missing(self) -> str:
        """Why coverage is not measured; empty where it is."""

    @abstractmethod
    def mutants_missing(self, junit: int) -> str:
        """Why mutants are not tried; empty where they are."""

    @abstractmethod
    def mutate(self, file: JavaFile, source: str) -> list[MutantFate]:
        """What a test class makes of mutants of the class that it is for.

        Raises:
            InputError: there is no report of them.
        """

    @abstractmethod
    def _test(
        self, file: JavaFile, source: str, names: Sequence[str], existing: Sequence[str], jacoco: str
    ) -> dict[str, Any] | Build:
        """Run tests (see `build`); what the worker says, or why it says nothing."""

    @abstractmethod
    def _why(self, said: str) -> str:
        """The line of a build's that says what is wrong with it."""

    @abstractmethod
    def _shown(self) -> list[Path]:
        """What is shown of this machine for the tool to start."""

    @property
    def isolation(self) -> Isolation:
        """What is held off from the tests."""
        return self._sandbox.isolation

    def tried(self, file: JavaFile) -> Self | str:
        """This, without what turns out not to be there; or why it cannot build the project."""
        build = self.build(file, composed(file, [_TRIAL], {}, ""))
        if build.ran("works").outcome == "passed":
            return self if build.coverage is not None else replace(self, jacoco="")
        if self.jacoco:
            return replace(self, jacoco="").tried(file)
        return f"{self.name} cannot build it offline: {build.reason or 'no outcome'}: {self._why(build.said)}"

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
        found = self._test(file, source, names, existing, self.jacoco if measured else "")
        if isinstance(found, Build):
            return found
        tests: dict[str, java_reports.Outcome] = {}
        for path, text in found["reports"].items():
            if path.endswith(f"/TEST-{file.qualified_tests}.xml"):
                tests |= {one.name: one for one in java_reports.outcomes(java_reports.parse(text))}
        if not tests and source:
            return Build("does not compile" if self._uncompiled(found["said"]) else "error", found["said"])
        report = next((text for path, text in found["reports"].items() if path.endswith(self.coverage_report)), None)
        if report is None:
            return Build("", found["said"], tests)
        parsed = java_reports.parse(report)
        return Build("", found["said"], tests, java_reports.lines(parsed, file.package, file.path.name), parsed)

    def _uncompiled(self, said: str) -> bool:
        return any(mark in said for mark in ("COMPILATION ERROR", "Compilation failure", "Compilation failed"))

    def _work(
        self,
        file: JavaFile,
        source: str,
        argv: Sequence[str],
        reports: Sequence[str],
        more: Mapping[str, tuple[str, str]],
        limits: Limits | None = None,
    ) -> dict[str, Any] | Build:
        """What the worker says of a build, or why it says nothing.

        Args:
            argv: of the tool; `{home}` is the folder that holds the copy.
            reports: patterns of paths in the module.
            more: texts by name, each with where it is put in the copy; nowhere where that is empty.
        """
        inside = f"{self.module}/" if self.module else ""
        texts = {name: text for name, (text, _) in more.items()}
        placed = {name: f"{inside}{target}" for name, (_, target) in more.items() if target}
        if source:
            folder = f"{file.package.replace('.', '/')}/" if file.package else ""
            texts["source.java"] = source
            placed["source.java"] = f"{inside}src/test/java/{folder}{file.test_class}.java"
        word = secrets.token_hex(16)
        job = {
            "project": "/project",
            "files": placed,
            "argv": list(argv),
            "reports": [f"{inside}{pattern}" for pattern in reports],
            "word": word,
        }
        words = [self._sandbox.python, "-B", "-s", str(_WORKER), json.dumps(job)]
        ended = self._sandbox.run(words, {f"/tmp/{name}": text for name, text in texts.items()}, limits or self.limits)
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
        options = f"-Xmx{self.memory}m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Duser.home=/tmp"
        return Sandbox(
            self.project,
            self.limits,
            (_WORKER.parent, self.repository, *self._shown()),
            self.unsafe,
            {**self.tools.environment(options), **self._environment()},
            self.tools.container,
            self.loopback,
        )

    def _environment(self) -> Mapping[str, str]:
        """Variables of the tool's own."""
        return {}


def common(query: WriterQuery, project: Path, module: Path, root: Path, tools: JavaTools) -> dict[str, Any]:
    """What every tool is made with.

    Args:
        module, root: folders in the project.
    """
    seconds = max(query.timeout, _LEAST_SECONDS)
    return {
        "project": project,
        "root": inside(root, project),
        "module": inside(module, project),
        "limits": Limits(
            seconds=seconds,
            processor=round(seconds),
            memory=ADDRESSES,
            file=64 * MEGABYTE,
            disk=512 * MEGABYTE,
            processes=512,
            files=4096,
            output=16 * MEGABYTE,
        ),
        "memory": min(query.memory, 512),
        "unsafe": query.unsafe,
        "tools": tools,
    }


def inside(folder: Path, project: Path) -> str:
    """A folder's path in a project; empty for the project itself."""
    return "" if folder == project else folder.relative_to(project).as_posix()


def unreadable(folder: Path) -> str:
    """Why the sandbox cannot read what a tool keeps; empty where it can."""
    if os.geteuid() != 0:
        return ""
    folders = (folder, *(one for one in folder.iterdir() if one.is_dir()))
    if all(path.stat().st_mode & 0o005 == 0o005 for path in folders):
        return ""
    return f"{folder} is for its owner alone, and the sandbox runs as nobody: chmod -R o+rX {folder}"


def newest(versions: Sequence[str]) -> str:
    """The newest of some versions; empty where there is none."""
    return max(versions, key=lambda version: [int(part) for part in re.findall(r"\d+", version)], default="")
