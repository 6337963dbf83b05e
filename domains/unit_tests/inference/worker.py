"""Runs tests inside the sandbox and prints what became of them as one line of JSON behind a word that it was given.

Started as a program; imports pytest and coverage, and nothing of the suite, which cannot be seen there.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from contextlib import suppress

REPORT = os.path.join(os.environ["TMPDIR"], "coverage.json")


class Outcomes:
    """Takes pytest's reports."""

    def __init__(self) -> None:
        self.found: dict[str, dict] = {}
        self.collection: list[str] = []

    def pytest_collectreport(self, report) -> None:  # type: ignore[no-untyped-def]
        if report.failed:
            self.collection.append(str(report.longrepr)[-4000:])

    def pytest_runtest_logreport(self, report) -> None:  # type: ignore[no-untyped-def]
        name = report.nodeid.partition("::")[2]
        row = self.found.setdefault(name, {"outcome": "passed", "seconds": 0.0, "said": ""})
        row["seconds"] += report.duration
        if report.failed:
            row["outcome"] = "failed" if report.when == "call" and row["outcome"] == "passed" else "error"
            row["said"] = str(report.longrepr)[-4000:]
        elif report.skipped and row["outcome"] == "passed":
            row["outcome"] = "skipped"
            row["said"] = str(report.longrepr)[-400:]


class Shuffled:
    """Runs tests in an order of its own."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def pytest_collection_modifyitems(self, items: list) -> None:
        random.Random(self.seed).shuffle(items)


def shift_clock(seconds: float) -> None:
    """Let the clock say another time: a test that reads it gives another result in this run."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


class Mutated:
    """Finds one module as a changed text; all others are found as ever."""

    def __init__(self, name: str, source: str, path: str) -> None:
        self.name, self.source, self.path = name, source, path

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name != self.name:
            return None
        from importlib.util import spec_from_file_location

        within = [os.path.dirname(self.path)] if self.path.endswith("__init__.py") else None
        return spec_from_file_location(name, self.path, loader=self, submodule_search_locations=within)  # type: ignore[arg-type]

    def create_module(self, spec):  # type: ignore[no-untyped-def]
        return None

    def exec_module(self, module) -> None:  # type: ignore[no-untyped-def]
        exec(compile(self.source, self.path, "exec"), module.__dict__)


def run_cases(paths: list) -> dict:
    """Run the `unittest.TestCase` classes of files without pytest, as `python -m unittest` does."""
    import traceback
    import unittest
    from importlib.util import module_from_spec, spec_from_file_location

    found = Outcomes()
    rows = found.found

    class Result(unittest.TestResult):
        def startTest(self, test) -> None:  # type: ignore[no-untyped-def]
            super().startTest(test)
            self.began = time.perf_counter()
            name = f"{type(test).__name__}::{getattr(test, '_testMethodName', test)}"
            self.row = rows.setdefault(name, {"outcome": "passed", "seconds": 0.0, "said": ""})

        def stopTest(self, test) -> None:  # type: ignore[no-untyped-def]
            self.row["seconds"] = time.perf_counter() - self.began
            super().stopTest(test)

        def told(self, outcome: str, error) -> None:  # type: ignore[no-untyped-def]
            self.row |= {"outcome": outcome, "said": "".join(traceback.format_exception(*error))[-4000:]}

        def addFailure(self, test, err) -> None:  # type: ignore[no-untyped-def]
            self.told("failed", err)

        def addError(self, test, err) -> None:  # type: ignore[no-untyped-def]
            self.told("error", err)

        def addSubTest(self, test, subtest, err) -> None:  # type: ignore[no-untyped-def]
            if err is not None:
                self.told("failed", err)

        def addUnexpectedSuccess(self, test) -> None:  # type: ignore[no-untyped-def]
            self.row |= {"outcome": "failed", "said": "it was expected to fail, and passes"}

        def addSkip(self, test, reason) -> None:  # type: ignore[no-untyped-def]
            self.row |= {"outcome": "skipped", "said": str(reason)[-400:]}

    for number, path in enumerate(paths):
        try:
            spec = spec_from_file_location(f"whole_file_{number}", path)
            module = module_from_spec(spec)  # type: ignore[arg-type]
            spec.loader.exec_module(module)  # type: ignore[union-attr]
        except Exception:
            found.collection.append(traceback.format_exc()[-4000:])
            continue
        unittest.defaultTestLoader.loadTestsFromModule(module).run(Result())
    return {"code": 0, "tests": rows, "collection": found.collection, "coverage": None}


def answer(job: dict, report: dict) -> None:
    """Print the report, and end without whatever the tests left behind."""
    sys.stdout.flush()
    sys.stdout.write(f"\n{job['word']}{json.dumps(report)}\n")
    sys.stdout.flush()
    os._exit(0)


def noted(name: str) -> list:
    """Values that a test wrote down, as lines of JSON."""
    path = os.path.join(os.environ["TMPDIR"], name)
    if not os.path.isfile(path):
        return []
    found = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file.read(2**18).splitlines():
            with suppress(ValueError):  # cut off, or none of ours
                found.append(json.loads(line))
    return found


def main() -> None:
    job = json.loads(sys.argv[1])
    sys.path[:0] = job["path"]
    if job["mutant"]:
        with open(job["mutant"], encoding="utf-8") as file:
            sys.meta_path.insert(0, Mutated(job["module"], file.read(), job["focal_path"]))
    if job["clock"]:
        shift_clock(job["clock"])
    if job["cases"]:
        answer(job, run_cases(job["tests"]))
    import pytest

    measured = None
    if job["focal"]:
        from coverage import Coverage

        measured = Coverage(branch=True, include=[job["focal"]], data_file=None, config_file=False)
        measured.start()
    outcomes = Outcomes()
    plugins = [outcomes] + ([Shuffled(job["seed"])] if job["seed"] is not None else [])
    words = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "/tmp", "--import-mode=importlib"]
    words += ["-x"] if job["first"] else []
    words += [word for name in job["plugins"] for word in ("-p", name)]
    words += job["tests"]
    code = int(pytest.main(words, plugins=plugins))
    report = {"code": code, "tests": outcomes.found, "collection": outcomes.collection, "coverage": None}
    if measured is not None:
        measured.stop()
        report["coverage"] = covered(measured, job["focal"])
    if job["notes"]:
        report["notes"] = noted(job["notes"])
    answer(job, report)


def covered(measured, path: str) -> dict | None:  # type: ignore[no-untyped-def]
    """Lines and branches of the focal file; None where it was not run at all."""
    if path not in measured.get_data().measured_files():
        return None
    measured.json_report(morfs=[path], outfile=REPORT)
    with open(REPORT, encoding="utf-8") as file:
        [found] = json.load(file)["files"].values()
    return {
        "executed": found["executed_lines"],
        "missing": found["missing_lines"],
        "branches": found["executed_branches"],
        "missed_branches": found["missing_branches"],
    }


if __name__ == "__main__":
    main()
