"""Java's programs: of this machine, shown to the sandbox; or of the image, where tests run in containers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from domains.unit_tests.inference.container import Container, examined

_MARKS = {"mvn": "boot", "gradle": "lib", "javac": "jmods", "java": "lib"}
"""Folders that a home has."""
_PARTS = {"mvn": ("bin", "boot", "lib", "conf/logging"), "gradle": ("bin", "lib")}
"""Of a build tool's home what it starts with: its settings, which may hold passwords, lie beside that."""


@dataclass(frozen=True)
class JavaTools:
    """Where programs of Java are.

    Attributes:
        container: that they run in; None: they are this machine's.
    """

    container: Container | None = None

    @property
    def where(self) -> str:
        """For people: `on this machine`."""
        return "on this machine" if self.container is None else f"in the image {self.container.image}"

    def missing(self, *names: str) -> list[str]:
        """Those that are not there."""
        if self.container is not None:
            return [name for name in names if name not in examined(self.container).programs]
        return [name for name in names if shutil.which(name) is None]

    def program(self, name: str) -> str:
        """What starts a program in the sandbox: its path with links followed, or its name in an image."""
        return name if self.container is not None else str(_path(name))

    def shown(self, *names: str) -> list[Path]:
        """What the sandbox must show of this machine for programs to start."""
        if self.container is not None:
            return []
        # Debian keeps what none starts without beside the settings of the system.
        patterns = ["java*", *(["maven/m2.conf", "maven/logging"] if "mvn" in names else [])]
        return [*homes(*names), *(path for pattern in patterns for path in sorted(Path("/etc").glob(pattern)))]

    def environment(self, options: str) -> dict[str, str]:
        """Variables for a virtual machine with options, and for programs that start one."""
        home = {} if self.container is not None else {"JAVA_HOME": str(_path("javac").parent.parent)}
        return {"JDK_JAVA_OPTIONS": options, **home}


def homes(*names: str) -> Iterator[Path]:
    """Folders of programs, to be shown; of a program that lies in no such home itself alone."""
    for name in names:
        yield from parts(_path(name), name)


def parts(program: Path, name: str) -> Iterator[Path]:
    """What a program of a known kind starts with.

    Args:
        program: its path. name: of its kind, `gradle`.
    """
    home = program.parent.parent
    if not (home / _MARKS[name]).is_dir() or home == Path.home():
        yield program
    elif name in _PARTS:
        yield from (home / part for part in _PARTS[name] if (home / part).exists())
    else:
        yield home


def _path(name: str) -> Path:
    return Path(shutil.which(name) or name).resolve()
