"""Judged tests in the forms that other programs read."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import version
from itertools import groupby
from typing import Any
from xml.etree import ElementTree

import suite
from domains.unit_tests.data.python_text import lines_of
from domains.unit_tests.types import Candidate, Coverage, Judged, Verdict

SCHEMA_VERSION = 2


def record(judged: Judged, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything about them, ready for `json.dumps`.

    Args:
        about: what wrote them: `base`, `adapter`, `seed`.
    """
    counts = Counter(verdict.reason for verdict in judged.verdicts if verdict.reason)
    ran = [verdict for verdict in judged.verdicts if verdict.runs]
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": f"peft-suite {suite.__version__}",
        **(about or {}),
        "environment": {
            "python": platform.python_version(),
            "pytest": version("pytest"),
            "coverage": version("coverage"),
        },
        "isolation": dict(judged.isolation),
        "file": judged.path,
        "focal": list(by_function(judged)),
        "totals": {
            "given": len(judged.verdicts),
            "ran": len(ran),
            "passed": sum(verdict.runs[0] == "passed" for verdict in ran),
            "kept": len(judged.kept),
        },
        "dropped": [{"reason": reason, "count": count} for reason, count in counts.most_common()],
        "coverage_before": _shares(judged.before),
        "coverage_after": _shares(judged.after),
        "uncovered_lines": sorted(judged.after.missing),
        "mutation": None
        if judged.mutants is None
        else {
            "total": len(judged.mutants),
            "score": judged.mutation_score,
            "fates": dict(Counter(one.fate for one in judged.mutants)),
            "survived": [
                {"line": one.line, "operator": one.operator, "diff": one.diff}
                for one in judged.mutants
                if one.fate in ("survived", "not run")
            ],
        },
        "tests": [
            {
                "name": verdict.candidate.name,
                "kept": verdict.kept,
                "reason": verdict.reason or None,
                "detail": verdict.detail,
                "focal": verdict.candidate.focal or None,
                **({"snapshot": True} if verdict.candidate.snapshot else {}),
                **_answered(verdict.candidate),
                "code": verdict.candidate.code,
                "seconds": round(verdict.seconds, 3),
                "runs": list(verdict.runs),
                "new_lines": verdict.new_lines,
                "new_branches": verdict.new_branches,
                "kills": None if judged.mutants is None else verdict.kills,
            }
            for verdict in judged.verdicts
        ],
        "warnings": list(judged.notices),
    }


def _answered(test: Candidate) -> dict[str, Any]:
    """How the model's answer ended, and how likely it was to it; nothing of tests that no model wrote."""
    if not test.finish_reason:
        return {}
    return {"finish_reason": test.finish_reason, "logprob": None if test.logprob is None else round(test.logprob, 4)}


def by_function(judged: Judged) -> Iterator[dict[str, Any]]:
    """What was made of each function; how many tests are its own is told where they say whom they are for."""
    for one in judged.focal:
        own = [verdict for verdict in judged.verdicts if verdict.candidate.focal == one.name]
        before, after = (found.within(one.first, one.last) for found in (judged.before, judged.after))
        fates = [fate for fate in judged.mutants or () if one.first <= fate.line <= one.last]
        killed = sum(fate.fate in ("killed", "timeout") for fate in fates)
        yield {
            "name": one.name,
            "file": one.path,
            "first": one.first,
            "last": one.last,
            **_counted(own),
            "coverage_before": _shares(before),
            "coverage_after": _shares(after),
            "uncovered_lines": sorted(after.missing),
            "mutation": None if judged.mutants is None else {"total": len(fates), "killed": killed},
        }


def _counted(verdicts: Collection[Verdict]) -> dict[str, Any]:
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason)
    ran = [verdict for verdict in verdicts if verdict.runs]
    return {
        "generated": len(verdicts),
        "parsed": len(verdicts) - reasons["does not parse"],
        "ran": len(ran),
        "passed": sum(verdict.runs[0] == "passed" for verdict in ran),
        "kept": sum(verdict.kept for verdict in verdicts),
        "dropped": [{"reason": reason, "count": count} for reason, count in reasons.most_common()],
    }


def as_json(judged: Judged, about: Mapping[str, Any] | None = None) -> str:
    return json.dumps(record(judged, about), ensure_ascii=False, indent=2) + "\n"


def as_mutation_elements(judged: Judged, source: str) -> str:
    """The mutants in the schema of mutation-testing-elements, which its report shows.

    Args:
        source: text of the focal file.
    """
    lines = [line.rstrip("\n") for line in lines_of(source)]
    states = {"killed": "Killed", "timeout": "Timeout", "survived": "Survived", "not run": "NoCoverage"}
    found = [
        {
            "id": str(number),
            "mutatorName": fate.operator,
            "location": {
                "start": {"line": fate.line, "column": 1},
                "end": {"line": fate.line, "column": len(lines[fate.line - 1]) + 1},
            },
            "status": states[fate.fate],
            "description": fate.diff,
        }
        for number, fate in enumerate(judged.mutants or ())
    ]
    files = {
        judged.path: {
            "language": "java" if judged.path.endswith(".java") else "python",
            "source": source,
            "mutants": found,
        }
    }
    content = {"schemaVersion": "2", "thresholds": {"high": 80, "low": 60}, "files": files}
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def as_junit(judged: Judged) -> str:
    """JUnit XML: a test that was dropped for its outcome has failed, one that was dropped otherwise was skipped."""
    outcomes = {
        "failed",
        "error",
        "timeout",
        "memory",
        "output",
        "network",
        "ended the process",
        "import error",
        "does not compile",
        "flaky",
    }
    failed = [verdict for verdict in judged.verdicts if verdict.reason in outcomes]
    skipped = [verdict for verdict in judged.verdicts if verdict.reason and verdict.reason not in outcomes]
    root = ElementTree.Element(
        "testsuite",
        name=judged.path,
        tests=str(len(judged.verdicts)),
        failures=str(len(failed)),
        errors="0",
        skipped=str(len(skipped)),
        time=f"{sum(verdict.seconds for verdict in judged.verdicts):.3f}",
    )
    for verdict in judged.verdicts:
        holder, _, name = verdict.candidate.name.rpartition("::")
        place = judged.path.rpartition(".")[0].replace("/", ".")
        case = ElementTree.SubElement(
            root, "testcase", classname=f"{place}.{holder}".rstrip("."), name=name, time=f"{verdict.seconds:.3f}"
        )
        if verdict in failed:
            ElementTree.SubElement(case, "failure", message=verdict.reason).text = plain(verdict.detail)
        elif verdict.reason:
            ElementTree.SubElement(case, "skipped", message=verdict.reason)
    return _xml(root)


def as_cobertura(judged: Judged) -> str:
    """Cobertura's XML of the focal functions, with the kept tests."""
    found = judged.after
    rates = {"line-rate": f"{found.line_share:.4f}", "branch-rate": f"{found.branch_share:.4f}"}
    about = {"version": suite.__version__, "timestamp": "0", "complexity": "0", **_counts(found), **rates}
    root = ElementTree.Element("coverage", about)
    ElementTree.SubElement(ElementTree.SubElement(root, "sources"), "source").text = "."
    name = judged.path.rpartition("/")[0].replace("/", ".") or "."
    packages = ElementTree.SubElement(root, "packages")
    package = ElementTree.SubElement(packages, "package", {"name": name, "complexity": "0", **rates})
    classes = ElementTree.SubElement(package, "classes")
    file = judged.path.rpartition("/")[2]
    named = {"name": file, "filename": judged.path, "complexity": "0", **rates}
    one = ElementTree.SubElement(classes, "class", named)
    ElementTree.SubElement(one, "methods")
    lines = ElementTree.SubElement(one, "lines")
    for number in sorted(found.executed | found.missing):
        element = ElementTree.SubElement(lines, "line", number=str(number), hits=str(int(number in found.executed)))
        taken = sum(start == number for start, _ in found.branches)
        total = taken + sum(start == number for start, _ in found.missed_branches)
        if total:
            element.set("branch", "true")
            element.set("condition-coverage", f"{round(100 * taken / total)}% ({taken}/{total})")
    return _xml(root)


def as_lcov(judged: Judged) -> str:
    """lcov's tracefile of the focal functions, with the kept tests."""
    found = judged.after
    lines = [f"SF:{judged.path}"]
    for number, (start, end) in enumerate(sorted(found.branches | found.missed_branches)):
        lines.append(f"BRDA:{start},0,{number},{int((start, end) in found.branches)}")
    lines += [f"BRF:{len(found.branches | found.missed_branches)}", f"BRH:{len(found.branches)}"]
    lines += [f"DA:{number},{int(number in found.executed)}" for number in sorted(found.executed | found.missing)]
    lines += [f"LF:{len(found.executed | found.missing)}", f"LH:{len(found.executed)}", "end_of_record"]
    return "".join(f"{line}\n" for line in lines)


def spans(numbers: Collection[int]) -> str:
    """Numbers as people write them: `3-5, 9`."""
    ordered = sorted(numbers)
    groups = groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in groups]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def plain(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return "".join(c for c in text if c in "\n\t" or (c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF))


def _shares(found: Coverage) -> dict[str, float]:
    return {"lines": round(found.line_share, 4), "branches": round(found.branch_share, 4)}


def _counts(found: Coverage) -> dict[str, str]:
    return {
        "lines-valid": str(len(found.executed | found.missing)),
        "lines-covered": str(len(found.executed)),
        "branches-valid": str(len(found.branches | found.missed_branches)),
        "branches-covered": str(len(found.branches)),
    }


def _xml(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
