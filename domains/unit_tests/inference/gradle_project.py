"""Finds what builds a Java file's project: Gradle, its settings, and what Gradle keeps on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from domains.unit_tests.data.java_files import JavaFile
from domains.unit_tests.inference.builds import common, newest, unreadable
from domains.unit_tests.inference.container import container_of
from domains.unit_tests.inference.gradle import Gradle
from domains.unit_tests.inference.java_tools import JavaTools, parts
from domains.unit_tests.types import WriterQuery

BUILDS = ("build.gradle", "build.gradle.kts")
_SETTINGS = ("settings.gradle", "settings.gradle.kts")
_WRAPPER = "gradle/wrapper/gradle-wrapper.properties"
_JACOCO = "files-2.1/org.jacoco/org.jacoco.ant"


def find_gradle(file: JavaFile, query: WriterQuery) -> Gradle | str:
    """What builds a file's project, or why nothing can; empty where that is no project of Gradle's."""
    project = (query.project or file.path.parent).resolve()
    builds = [folder for folder in file.path.resolve().parents if _has(folder, (*BUILDS, *_SETTINGS))]
    inner = [folder for folder in builds if folder.is_relative_to(project)]
    if not any(_has(folder, BUILDS) for folder in builds):
        return ""
    if not inner:
        return f"the build of {builds[0]} lies outside of the project {project}: give --project"
    # Gradle builds from the nearest settings upwards; without any the build file is all there is.
    root = next((folder for folder in inner if _has(folder, _SETTINGS)), inner[0])
    home, tools = _home(), JavaTools(container_of(query.runner, query.image))
    wanted = _distribution(root)
    program = _program(home, wanted) if wanted else None
    if missing := tools.missing("java", "javac", *(["gradle"] if program is None else [])):
        said = f"{' and '.join(missing)} not found {tools.where}"
        return f"{said}; the wrapper's {wanted} is not in {home / 'wrapper' / 'dists'}, either" if wanted else said
    repository = home / "caches" / "modules-2"
    if not repository.is_dir():
        return f"Gradle keeps nothing in {repository}: build the project once, online"
    if why := unreadable(repository):
        return why
    return Gradle(
        **common(query, project, _module(file.path.resolve(), root, inner[0]), root, tools),
        repository=repository,
        jacoco=newest([path.parent.parent.name for path in repository.glob(f"{_JACOCO}/*/*/*.jar")]),
        program=program,
        parts=tuple(parts(program, "gradle")) if program else (),
    )


def _has(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).is_file() for name in names)


def _module(path: Path, root: Path, nearest: Path) -> Path:
    """The folder of a file's project, which may have no build file of its own where the root's speaks for all."""
    above, mark, _ = path.as_posix().partition("/src/main/java/")
    return Path(above) if mark and Path(above).is_relative_to(root) else nearest


def _home() -> Path:
    return Path(os.environ.get("GRADLE_USER_HOME") or "~/.gradle").expanduser().resolve()


def _distribution(root: Path) -> str:
    """The distribution that a project's wrapper names, `gradle-8.5-bin`; empty where there is no wrapper."""
    path = root / _WRAPPER
    told = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = re.search(r"^\s*distributionUrl\s*=.*?([^/\s]+)\.zip\s*$", told, re.MULTILINE)
    return found[1] if found else ""


def _program(home: Path, distribution: str) -> Path | None:
    """What the wrapper would start, had it downloaded that; the wrapper itself writes where it keeps it."""
    found = sorted((home / "wrapper" / "dists" / distribution).glob("*/*/bin/gradle"))
    return found[0].resolve() if found else None
