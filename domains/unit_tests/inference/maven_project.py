"""Finds what builds a Java file's project: Maven, its poms, and what Maven keeps on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from domains.unit_tests.data.java_files import JavaFile
from domains.unit_tests.inference.builds import common, newest, unreadable
from domains.unit_tests.inference.container import container_of
from domains.unit_tests.inference.java_tools import JavaTools
from domains.unit_tests.inference.maven import Maven
from domains.unit_tests.types import WriterQuery

_JACOCO = "org/jacoco/jacoco-maven-plugin"
_PIT = "org/pitest/pitest-maven"
_PIT_JUNIT5 = "org/pitest/pitest-junit5-plugin"
POM = "pom.xml"


def find_maven(file: JavaFile, query: WriterQuery) -> Maven | str:
    """What builds a file's project, or why nothing can; empty where that is no project of Maven's."""
    project = (query.project or file.path.parent).resolve()
    poms = [folder for folder in file.path.resolve().parents if (folder / POM).is_file()]
    inner = [folder for folder in poms if folder.is_relative_to(project)]
    if not poms:
        return ""
    if not inner:
        return f"{poms[0] / POM} lies outside of the project {project}: give --project"
    tools = JavaTools(container_of(query.runner, query.image))
    if missing := tools.missing("mvn", "java", "javac"):
        return f"{' and '.join(missing)} not found {tools.where}"
    repository = _repository()
    if not repository.is_dir():
        return f"Maven keeps nothing in {repository}: build the project once, online"
    if why := unreadable(repository):
        return why
    return Maven(
        **common(query, project, inner[0], inner[-1], tools),
        repository=repository,
        jacoco=_newest(repository, _JACOCO),
        pit=_newest(repository, _PIT),
        pit_junit5=_newest(repository, _PIT_JUNIT5),
    )


def _repository() -> Path:
    """The local repository: as MAVEN_OPTS says, otherwise Maven's own place."""
    told = re.search(r"-Dmaven\.repo\.local=(\S+)", os.environ.get("MAVEN_OPTS", ""))
    return Path(told[1] if told else "~/.m2/repository").expanduser().resolve()


def _newest(repository: Path, artifact: str) -> str:
    """The newest version of which the archive is there; empty where none is."""
    return newest([path.parent.name for path in repository.glob(f"{artifact}/*/*.jar")])
