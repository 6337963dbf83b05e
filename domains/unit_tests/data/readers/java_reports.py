"""Reports of Java's tools: Surefire's outcomes, JaCoCo's coverage and PIT's mutants.

`parity` repeats what the study's code does, also where it is wrong; otherwise descriptors are those of the JVM.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from xml.etree import ElementTree

from domains.unit_tests.types import Coverage, MutantFate
from suite.errors import InputError

MOST_BYTES = 200 * 2**20
"""Of a report."""

_PRIMITIVES = {
    **{"boolean": "Z", "byte": "B", "char": "C", "short": "S"},
    **{"int": "I", "long": "J", "float": "F", "double": "D", "void": "V"},
}
_COUNTERS = ("INSTRUCTION", "BRANCH", "LINE", "COMPLEXITY", "METHOD")


def parse(text: str | bytes) -> ElementTree.Element:
    """A report's XML. Its document type, which may name files and grow without end, is taken out unread.

    Raises:
        InputError: it is no XML in UTF-8, declares entities, or is larger than any report.
    """
    if len(text) > MOST_BYTES:
        raise InputError(f"a report of {len(text):,} bytes; the most is {MOST_BYTES:,}")
    raw = text.encode(errors="replace") if isinstance(text, str) else text
    if b"<!ENTITY" in raw:
        raise InputError("a report that declares entities is not read")
    # All three tools write UTF-8; in another encoding a declaration of entities would not have been seen above.
    if b"\0" in raw:
        raise InputError("a report that is no XML in UTF-8")
    parser = ElementTree.XMLParser(encoding="utf-8")
    try:
        return ElementTree.fromstring(re.sub(rb"<!DOCTYPE[^>\[]*>", b"", raw), parser)
    except ElementTree.ParseError as error:
        raise InputError(f"a report that is no XML: {error}") from error


@dataclass(frozen=True)
class Outcome:
    """What Surefire says of a test.

    Attributes:
        name: of its method. state: `passed`, `failed`, `error` or `skipped`.
        said: the message with its trace. seconds: that it took.
    """

    name: str
    state: Literal["passed", "failed", "error", "skipped"]
    said: str
    seconds: float


def outcomes(report: ElementTree.Element) -> Iterator[Outcome]:
    """The tests of a Surefire report; what tells runs of one apart is no part of its name."""
    for case in report.iter("testcase"):
        state: Literal["passed", "failed", "error", "skipped"] = "passed"
        said = ""
        for tag, name in _STATES.items():
            if (element := case.find(tag)) is not None:
                state, said = name, element.text or element.get("message") or ""
                break
        plain = re.sub(r"[\[({].*", "", case.get("name", ""))
        yield Outcome(plain, state, said.strip(), _number(case.get("time")))


_STATES: dict[str, Literal["failed", "error", "skipped"]] = {
    "failure": "failed",
    "error": "error",
    "skipped": "skipped",
}


def lines(report: ElementTree.Element, package: str, file: str) -> Coverage:
    """The lines and branches of a source file in a JaCoCo report.

    JaCoCo counts the branches of a line and does not tell which were taken: those of a line are numbered from 1, the
    taken ones first.

    Args:
        package: `org.x`. file: name of the source file.

    Raises:
        InputError: the report has no such file.
    """
    path = package.replace(".", "/")
    element = report.find(f".//package[@name='{path}']/sourcefile[@name='{file}']")
    if element is None:
        raise InputError(f"the coverage report has no {path}/{file}")
    ran: dict[bool, set[int]] = {True: set(), False: set()}
    taken: dict[bool, set[tuple[int, int]]] = {True: set(), False: set()}
    for line in element.iterfind("line"):
        number, covered, missed = (int(line.get(name, 0)) for name in ("nr", "cb", "mb"))
        ran[int(line.get("ci", 0)) > 0].add(number)
        taken[True] |= {(number, one) for one in range(1, covered + 1)}
        taken[False] |= {(number, one) for one in range(covered + 1, covered + missed + 1)}
    return Coverage(frozenset(ran[True]), frozenset(ran[False]), frozenset(taken[True]), frozenset(taken[False]))


def mutants(report: ElementTree.Element, file: str, name: str) -> Iterator[MutantFate]:
    """The mutants of a class in a PIT report; those that no virtual machine would load are none.

    Args:
        file: name of the source file. name: of the class with its package.
    """
    for mutant in report.iterfind("mutation"):
        of_class = mutant.findtext("mutatedClass", "")
        fate = _FATES.get(mutant.get("status", ""))
        if fate is None or mutant.findtext("sourceFile") != file or of_class.partition("$")[0] != name:
            continue
        operator = mutant.findtext("mutator", "").rpartition(".")[2].removesuffix("Mutator")
        line = int(_number(mutant.findtext("lineNumber")))
        yield MutantFate(line, operator, mutant.findtext("description", ""), fate)


_FATES: dict[str, Literal["killed", "timeout", "survived", "not run"]] = {
    **dict.fromkeys(("KILLED", "MEMORY_ERROR", "RUN_ERROR"), "killed"),
    "TIMED_OUT": "timeout",
    "SURVIVED": "survived",
    "NO_COVERAGE": "not run",
}


def _number(text: str | None) -> float:
    try:
        return float((text or "0").replace(",", ""))
    except ValueError:
        return 0.0


def coverage(report: ElementTree.Element, package: str, name: str, identifier: str, signature: str) -> dict[str, Any]:
    """Counters and shares of a method in a JaCoCo report; a method without branches has a branch coverage of 0.

    Args:
        package: `org.x`. name: of the class. identifier: of the method.
        signature: `int add(int a, int b)`; tells overloads apart.

    Raises:
        InputError: the report has no such method.
    """
    path = package.replace(".", "/")
    of_class = f"{path}/{name}" if path else name
    wanted = simplified(descriptor(signature))
    variables = set(re.findall(r"\b[A-Z]\b", signature))
    for element in report.iterfind(f".//package[@name='{path}']/class[@name='{of_class}']/method"):
        if element.get("name") != identifier:
            continue
        found = simplified(element.get("desc", ""))
        if found in (wanted, _erased(wanted, variables)):
            return {
                "PACKAGE": path,
                "CLASS": of_class,
                "METHOD_NAME": identifier,
                "METHOD_DESC": element.get("desc", ""),
                **_counters(element),
            }
    raise InputError(f"{package}.{name}: the report has no method {signature!r}")


def _counters(element: ElementTree.Element) -> dict[str, Any]:
    known = {
        one.get("type"): (int(one.get("missed", 0)), int(one.get("covered", 0))) for one in element.iter("counter")
    }
    found: dict[str, Any] = {}
    for kind in _COUNTERS:
        missed, covered = known.get(kind, (0, 0))
        found |= {f"{kind}_MISSED": missed, f"{kind}_COVERED": covered}
    for kind in ("INSTRUCTION", "BRANCH"):
        missed, covered = found[f"{kind}_MISSED"], found[f"{kind}_COVERED"]
        found[f"{kind.lower()}_coverage"] = covered / (missed + covered) if missed + covered else 0
    return found


def mutation(report: ElementTree.Element, name: str, focal: str, test: str) -> dict[str, Any]:
    """Mutants of a method that a test killed, let live or never reached, in a PIT report with a full matrix.

    Args:
        name: of the focal class with its package. focal: the method. test: the test method.
    """
    killed = survived = unreached = 0
    for mutant in report.iterfind("mutation"):
        if mutant.findtext("mutatedClass") != name or mutant.findtext("mutatedMethod") != focal:
            continue
        if test in _tests(mutant, "killingTests"):
            killed += 1
        elif test in _tests(mutant, "succeedingTests"):
            survived += 1
        elif mutant.get("status") == "NO_COVERAGE":
            unreached += 1
    total = killed + survived + unreached
    return {
        "killed_mutants": killed,
        "survived_mutants": survived,
        "no_coverage_mutants": unreached,
        "mutation_score": killed / total if total else 0.0,
    }


def _tests(mutant: ElementTree.Element, kind: str) -> Iterator[str]:
    """Names of test methods without their class and what tells their runs apart: `a.B.test[1](a.B)` is `test`."""
    for written in (mutant.findtext(kind) or "").split("|"):
        plain = re.sub(r"\[.*?\]$", "", written.partition("(")[0])
        if plain:
            yield plain.rpartition(".")[2]


def descriptor(signature: str, parity: bool = False) -> str:
    """The JVM's descriptor of a method, names of classes without their packages: `(I[LString;)V`.

    Args:
        parity: as the study's code: `long...` becomes a class of that name, which no report has.
    """
    match = re.fullmatch(r"\s*(?:<.*?>\s*)?(.*?)\s*\b\w+\s*\((.*)\)\s*(?:throws .*)?", signature, re.DOTALL)
    if match is None:
        raise InputError(f"{signature!r} is no signature of a method")
    parameters = [_type_of(one) for one in _split(match[2])]
    made = "".join(_described(one, parity) for one in parameters)
    return f"({made}){_described(match[1].split()[-1] if match[1].split() else 'void', parity)}"


def simplified(text: str) -> str:
    """A descriptor without the packages of its classes."""
    return re.sub(r"L[^;]*/([^;/]+);", r"L\1;", text)


def package_and_class(path: str) -> tuple[str, str] | None:
    """Package and class of a file in Maven's layout; None of any other."""
    match = re.search(r"(?:^|/)src/(?:main|test)/java/(.+)\.java$", path)
    if match is None:
        return None
    inside = PurePosixPath(match[1])
    return ".".join(inside.parts[:-1]), inside.name


def _split(parameters: str) -> list[str]:
    """Parameters, cut at commas outside of angle brackets."""
    found, depth, start = [], 0, 0
    for at, character in enumerate(parameters):
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "," and depth == 0:
            found.append(parameters[start:at])
            start = at + 1
    found.append(parameters[start:])
    return [one.strip() for one in found if one.strip()]


def _type_of(parameter: str) -> str:
    """A parameter's type, without its annotations, `final` and its name."""
    words = re.sub(r"@\w+(\([^)]*\))?", "", parameter).replace("final ", " ")
    words = re.sub(r"<.*>", "", words).strip()
    match = re.fullmatch(r"(.+?)\s*(\w+)\s*((?:\[\])*)", words)
    return re.sub(r"\s+", "", match[1] + match[3]) if match else words


def _described(kind: str, parity: bool) -> str:
    kind = re.sub(r"<.*>", "", kind)
    if kind.endswith("...") and not parity:
        kind = kind[:-3] + "[]"
    arrays = kind.count("[]")
    plain = kind.replace("[]", "").rpartition(".")[2] if not kind.endswith("...") else kind
    return "[" * arrays + _PRIMITIVES.get(plain, f"L{plain};")


def _erased(text: str, variables: set[str]) -> str:
    """A descriptor whose type variables are what the compiler leaves of them."""
    return re.sub(r"L([A-Z]);", lambda match: "LObject;" if match[1] in variables else match[0], text)
