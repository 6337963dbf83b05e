"""From files to tests that ran: the predictor, and the verbs `judge` and `doctor`.

Imports no torch before a model is loaded: what is wrong with files and options is told before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tqdm import tqdm

from domains.unit_tests.data import focal as source_files
from domains.unit_tests.inference.candidates import pruned, split
from domains.unit_tests.inference.container import container_of, examined
from domains.unit_tests.inference.judge import Judge, Rules
from domains.unit_tests.inference.loaded import DOMAIN, LoadedWriter
from domains.unit_tests.inference.mutants import mutants as small_changes
from domains.unit_tests.inference.runs import MEGABYTE, Limits
from domains.unit_tests.inference.sandbox import probe
from domains.unit_tests.inference.session import Session
from domains.unit_tests.output.result import JudgedResult, WrittenTests
from domains.unit_tests.types import RunnerName, WriterQuery, check_least, check_runner
from suite.errors import InputError
from suite.prediction.folder import ResultFolder
from suite.prediction.inputs import several
from suite.prediction.loading import choose
from suite.prediction.loop import each, reason

NO_ADAPTER = "none"


class TestWriter(LoadedWriter):
    """Files in, tests out that ran, passed and cover something; of Java that compile and pass where a JDK is there.

    >>> writer = TestWriter.from_pretrained("tiny")
    >>> [written] = writer.predict("src/pkg/mod.py", project=".")
    >>> print(written.tests)
    """

    __test__ = False  # pytest takes classes of such names for tests
    suffixes = (".py", ".java")

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Self:
        """Find adapter and base; nothing big is loaded yet.

        Args:
            adapter: reference of the adapter; `none` asks the base alone.
            base: reference of the base; the one that the adapter names by default.
            device: auto, cpu, cuda or cuda:N. dtype: auto, float32, bfloat16 or float16.

        Raises:
            InputError: adapter or base does not exist, or the base is not known.
        """
        if adapter == NO_ADAPTER:
            if base is None:
                raise InputError(f"adapter {NO_ADAPTER}: name the model with --base, for example hf:org/name")
            return cls(None, adapter=adapter, base=base, device=device, dtype=dtype)
        chosen = choose(adapter, base, DOMAIN)
        return cls(chosen, adapter=adapter, base=chosen.base, device=device, dtype=dtype)

    def predict(
        self, inputs: Any, *, out: ResultFolder | str | Path | None = None, **options: Any
    ) -> Iterator[WrittenTests]:
        """Yield the tests of every file; a bad file has its `error`, and the next one goes on.

        Args:
            inputs: paths of Python files, one or several.
            out: folder for tests and reports; a test file that is there is gone on in, the user's tests untouched.
            **options: the fields of `WriterQuery`.

        Raises:
            InputError: an option is wrong, or the machine cannot isolate the tests.
        """
        folder = ResultFolder.of(out)
        given = [inputs] if isinstance(inputs, str | Path) else inputs
        query = WriterQuery(**options)
        self.use_blocks(query.qkv_blocks)
        session = Session(self, query, {"base": self.base, "adapter": self.adapter}, folder.path)
        self.prepare()
        yield from folder.keep(each(map(Path, several(given)), session.file, _failed))


def _failed(path: Path, why: str) -> WrittenTests:
    place = why.removeprefix(str(path))
    return WrittenTests(str(path), place if place[:2].strip(":").isdecimal() else reason(why, str(path)))


def judge_file(
    module: str | Path,
    tests: str | Path,
    project: str | Path = ".",
    functions: tuple[str, ...] = (),
    existing: tuple[Path, ...] = (),
    rules: Rules | None = None,
    mutants: int = 0,
    seed: int = 0,
) -> JudgedResult:
    """Judge the tests of a file for a module: which of them run, assert something, hold, and add something.

    >>> judge_file("src/pkg/mod.py", "candidates.py").judged.kept

    Args:
        module: the Python file that they are for. tests: a file of tests, generated or written.
        project: the folder that tests are run from.
        functions: names `f`, `C` or `C.m` of what is tested; all public ones where it is empty.
        existing: test files of the project whose coverage is there already.
        mutants: try the kept tests on at most this many small changes of the functions, drawn by `seed`.

    Raises:
        InputError: a file is no Python or outside the project, or the machine cannot isolate the tests.
    """
    module, tests, project = Path(module), Path(tests), Path(project)
    text, _ = source_files.parse(tests)
    candidates = split(text, str(tests))
    if not candidates:
        raise InputError(f"{tests}: holds no test; functions whose names begin with test are")
    known = source_files.discover(module, project, functions)
    worker = Judge(project, known, rules or Rules(), existing)
    worker.check(module)
    with tqdm(total=len(candidates), desc="tests", unit="test", disable=not sys.stderr.isatty()) as bar:
        judged = worker.judge(candidates, lambda verdict: bar.update())
    focal_text, _ = source_files.parse(module)
    if mutants:
        made = small_changes(focal_text, known, mutants, seed)
        with tqdm(total=len(made), desc="mutants", unit="mutant", disable=not sys.stderr.isatty()) as bar:
            judged = worker.mutate(judged, made, lambda fate: bar.update())
    dropped = {verdict.candidate.name for verdict in judged.verdicts if not verdict.kept}
    name = f"test_{module.stem}"
    return JudgedResult(str(tests), None, judged, pruned(text, dropped), focal_text, name)


def judge(
    module: Path,
    tests: Path,
    *,
    out: Path | None = None,
    project: Path = Path("."),
    function: list[str] | None = None,
    existing: list[Path] | None = None,
    repeat: int = 3,
    timeout: float = 20.0,
    memory: int = 1024,
    workers: int = 2,
    plugins: list[str] | None = None,
    mutants: int = 0,
    seed: int = 0,
    keep_redundant: bool = False,
    keep_trivial: bool = False,
    runner: RunnerName = "namespaces",
    image: str | None = None,
    unsafe: bool = False,
) -> dict[str, Any]:
    """Judge tests for a Python module in a sandbox: which of them run, assert, hold every time, and add coverage.

    Args:
        module: the Python file that they are for.
        tests: a file of tests, generated or written.
        out: folder for the tests that are kept and for JSON, JUnit, Cobertura, lcov and HTML reports.
        project: the folder that tests are run from; shown to them read-only.
        function: names f, C or C.m of what is tested; all public ones where it is left out.
        existing: test files of the project whose coverage is there already.
        repeat: runs of each test, with other hash seeds, orders and clocks; a different outcome makes it flaky.
        timeout: seconds of a run.
        memory: megabytes of a process.
        workers: sandboxes at once.
        plugins: of pytest that the tests need, as its -p takes them.
        mutants: try the kept tests on at most this many small changes of the functions, and say which they notice.
        seed: draws the mutants, where there are more.
        keep_redundant: keep tests that run no line or branch that others before them have not.
        keep_trivial: keep tests whose assertions cannot fail.
        runner: what the tests are kept in: namespaces of this machine, or containers of docker or podman.
        image: of the containers: one that is on this machine, with Python 3.9 or newer, pytest, coverage and all that
            the project needs.
        unsafe: run the tests with limits alone where the machine cannot isolate them.
    """
    check_runner(runner, image, unsafe)
    check_least(repeat=repeat, timeout=timeout, memory=memory, workers=workers, mutants=mutants)
    limits = Limits(seconds=timeout, processor=max(1, round(timeout)), memory=memory * MEGABYTE)
    rules = Rules(
        repeat,
        keep_redundant,
        keep_trivial,
        tuple(plugins or ()),
        workers,
        limits,
        unsafe,
        container=container_of(runner, image),
    )
    folder = ResultFolder(out)
    result = judge_file(module, tests, project, tuple(function or ()), tuple(existing or ()), rules, mutants, seed)
    files = folder.add(result)
    judged = result.judged
    assert judged is not None
    lines = [str(result)]
    if out is not None:
        lines.append(f"results  {out}")
        lines += [f"next     open {file}" for file in files if file.suffix == ".html"]
    return {**result.to_dict(), "files": files, "message": "\n".join(lines), "exit_code": 0 if judged.kept else 3}


def doctor(*, runner: RunnerName = "namespaces", image: str | None = None) -> dict[str, Any]:
    """Say what this machine holds off from generated tests; exit with 2 where it cannot isolate them.

    Args:
        runner: what the tests are kept in: namespaces of this machine, or containers of docker or podman.
        image: of the containers; what it has that tests need is said, too.
    """
    check_runner(runner, image, unsafe=False)
    container = container_of(runner, image)
    isolation = probe() if container is None else examined(container).isolation
    rows = isolation.rows()
    if container is not None:
        rows["image"] = examined(container).told()
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {state}" for name, state in rows.items()]
    if not isolation.namespaces:
        lines.append("generated tests are not run on this machine unless --unsafe is given")
    return {"isolation": rows, "message": "\n".join(lines), "exit_code": 0 if isolation.namespaces else 2}
