"""Runs a JUnit 4 test in the sandbox, where a JDK and JUnit's archives are on this machine and no Maven is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from domains.unit_tests.data.java_files import JavaFile
from domains.unit_tests.inference.container import container_of
from domains.unit_tests.inference.java_tools import JavaTools
from domains.unit_tests.inference.runs import MEGABYTE, Isolation, Limits
from domains.unit_tests.inference.sandbox import Sandbox
from domains.unit_tests.types import Coverage, WriterQuery

ADDRESSES = 8192 * MEGABYTE
"""A virtual machine reserves far more addresses than it uses; what it uses is limited by `-Xmx`."""
_REPOSITORY = Path("~/.m2/repository")
_ARCHIVES = ("junit/junit/4.*/junit-4.*.jar", "org/hamcrest/hamcrest-core/1.3/hamcrest-core-1.3.jar")


@dataclass(frozen=True)
class Ran:
    """What became of a test: `passed`, or why not, and the last that was said.

    Attributes:
        coverage: of the focal file; None where it was not measured. seconds: that the test took.
    """

    outcome: str
    detail: str = ""
    coverage: Coverage | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Runner:
    """A JDK and what tests are compiled with.

    Attributes:
        archives: JUnit 4 and whatever else the project needs.
        memory: megabytes of the heap.
        tools: where the JDK is.
    """

    project: Path
    archives: tuple[Path, ...]
    limits: Limits
    memory: int
    unsafe: bool = False
    tools: JavaTools = field(default_factory=JavaTools)

    @property
    def isolation(self) -> Isolation:
        """What is held off from the tests."""
        return self._sandbox.isolation

    def run(self, file: JavaFile, source: str, name: str) -> Ran:
        """Compile a test class with the file that it is for and run it.

        Args:
            source: of the class. name: of its test.
        """
        path = ":".join(["/tmp/out", *map(str, self.archives)])
        inside = file.path.resolve().relative_to(self.project.resolve()).as_posix()
        root = inside.rpartition(f"{file.package.replace('.', '/')}/{file.path.name}")[0] if file.package else ""
        qualified = f"{file.package}.{file.test_class}" if file.package else file.test_class
        heap = f"-Xmx{self.memory}m"
        # One shell for both steps: what is compiled lies in the sandbox's own memory, which ends with it.
        program = self.tools.program
        steps = (
            f"mkdir /tmp/out && {program('javac')} -J{heap} -nowarn -d /tmp/out -cp {path} -sourcepath /project/{root} "
            f"/project/{inside} /tmp/test/{file.test_class}.java || exit 97; "
            f"exec {program('java')} {heap} -XX:+UseSerialGC -cp {path} org.junit.runner.JUnitCore {qualified}"
        )
        files = {f"/tmp/test/{file.test_class}.java": source}
        ended = self._sandbox.run(["/bin/sh", "-c", steps], files)
        said = (ended.stdout + ended.stderr).decode("utf-8", "replace").strip()[-2000:]
        if ended.reason:
            return Ran(ended.reason, said, None, ended.seconds)
        if ended.code == 97:
            return Ran("does not compile", said, None, ended.seconds)
        return Ran("passed" if ended.code == 0 and "OK (" in said else "failed", said, None, ended.seconds)

    @cached_property
    def _sandbox(self) -> Sandbox:
        shown = (*self.archives, *self.tools.shown("java", "javac"))
        container = self.tools.container
        return Sandbox(self.project.resolve(), self.limits, shown=shown, unsafe=self.unsafe, container=container)


def find(file: JavaFile, query: WriterQuery) -> Runner | str:
    """What runs the tests of a file, or why nothing can."""
    tools = JavaTools(container_of(query.runner, query.image))
    if missing := tools.missing("java", "javac"):
        return f"no JDK {tools.where}: {' and '.join(missing)} not found"
    if file.junit == 5:
        return "the project builds with JUnit 5, whose launcher belongs to its build tool"
    archives = tuple(path.resolve() for path in query.classpath) or _from_maven()
    if not archives:
        return "no archive of JUnit 4 in ~/.m2: give --classpath junit.jar hamcrest.jar"
    seconds = max(query.timeout, 30.0)
    limits = Limits(
        seconds=seconds, processor=round(seconds), memory=ADDRESSES, file=64 * MEGABYTE, disk=128 * MEGABYTE
    )
    return Runner(query.project or file.path.parent, archives, limits, min(query.memory, 512), query.unsafe, tools)


def _from_maven() -> tuple[Path, ...]:
    folder = _REPOSITORY.expanduser()
    found: list[Sequence[Path]] = [sorted(folder.glob(pattern)) for pattern in _ARCHIVES]
    return tuple(paths[-1] for paths in found if paths) if all(found) else ()
