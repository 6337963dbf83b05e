"""Finds what builds a Java file's project: Maven, its poms, and what Maven keeps on this machine."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from domains.unit_tests.data.java_files import JavaFile
from domains.unit_tests.inference.java_runner import ADDRESSES
from domains.unit_tests.inference.maven import Maven
from domains.unit_tests.inference.runs import MEGABYTE, Limits
from domains.unit_tests.types import WriterQuery

_LEAST_SECONDS = 120.0
"""Of a build."""
_JACOCO = "org/jacoco/jacoco-maven-plugin"
_PIT = "org/pitest/pitest-maven"
_PIT_JUNIT5 = "org/pitest/pitest-junit5-plugin"


def find_maven(file: JavaFile, query: WriterQuery) -> Maven | str:
    """What builds a file's project, or why nothing can."""
    project = (query.project or file.path.parent).resolve()
    poms = [folder for folder in file.path.resolve().parents if (folder / "pom.xml").is_file()]
    inside = [folder for folder in poms if folder.is_relative_to(project)]
    if not poms:
        return "the project has no pom.xml"
    if not inside:
        return f"{poms[0] / 'pom.xml'} lies outside of the project {project}: give --project"
    if missing := [name for name in ("mvn", "java", "javac") if shutil.which(name) is None]:
        return f"{' and '.join(missing)} not found"
    repository = _repository()
    if not repository.is_dir():
        return f"Maven keeps nothing in {repository}: build the project once, online"
    if os.geteuid() == 0 and not _open_to_all(repository):
        return f"{repository} is for its owner alone, and the sandbox runs as nobody: chmod -R o+rX {repository}"
    seconds = max(query.timeout, _LEAST_SECONDS)
    return Maven(
        project,
        _inside(inside[-1], project),
        _inside(inside[0], project),
        repository,
        Limits(
            seconds=seconds,
            processor=round(seconds),
            memory=ADDRESSES,
            file=64 * MEGABYTE,
            disk=512 * MEGABYTE,
            processes=512,
            files=4096,
            output=16 * MEGABYTE,
        ),
        min(query.memory, 512),
        _newest(repository, _JACOCO),
        _newest(repository, _PIT),
        _newest(repository, _PIT_JUNIT5),
        query.unsafe,
    )


def _inside(folder: Path, project: Path) -> str:
    return "" if folder == project else folder.relative_to(project).as_posix()


def _repository() -> Path:
    """The local repository: as MAVEN_OPTS says, otherwise Maven's own place."""
    told = re.search(r"-Dmaven\.repo\.local=(\S+)", os.environ.get("MAVEN_OPTS", ""))
    return Path(told[1] if told else "~/.m2/repository").expanduser().resolve()


def _open_to_all(folder: Path) -> bool:
    """Whether others than the owner may enter a folder and those in it."""
    return all(
        path.stat().st_mode & 0o005 == 0o005 for path in (folder, *(one for one in folder.iterdir() if one.is_dir()))
    )


def _newest(repository: Path, artifact: str) -> str:
    """The newest version of which the archive is there; empty where none is."""
    versions = [path.parent.name for path in repository.glob(f"{artifact}/*/*.jar")]
    return max(versions, key=lambda version: [int(part) for part in re.findall(r"\d+", version)], default="")
