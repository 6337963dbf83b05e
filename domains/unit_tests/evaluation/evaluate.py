"""The verb `evaluate`: tests that a model writes, run on whole modules; or read beside reference tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from domains.unit_tests.inference.runs import MEGABYTE, Limits
from domains.unit_tests.types import RunnerName, WriterQuery
from suite.errors import InputError
from suite.scores import Scores
from suite.tables import aligned

_SHOWN = {
    "generated": "tests generated",
    "parsed": "that parse",
    "ran": "that were run",
    "passed": "that pass",
    "working_share": "run, pass and cover",
    "functions_with_a_test": "functions with a test",
    "line_coverage": "lines run",
    "branch_coverage": "branches run",
    "mutation_score": "mutation score",
}


def evaluate(
    data: str = "world:test:40",
    *,
    adapter: str = "tiny",
    base: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    alone: bool = False,
    complete: bool = False,
    qkv_blocks: int | None = None,
    predictions: Path | None = None,
    parity: bool = False,
    level: str = "src_fm_fc_ms_ff",
    most: int | None = None,
    shots: int = 0,
    shots_from: str | None = None,
    samples: int = 1,
    max_tests: int = 3,
    rounds: int = 1,
    temperature: float = 0.0,
    max_new_tokens: int = 256,
    batch_size: int = 16,
    repeat: int = 1,
    timeout: float = 10.0,
    workers: int = 2,
    mutants: int = 0,
    seed: int = 0,
    runner: RunnerName = "namespaces",
    image: str | None = None,
    unsafe: bool = False,
    out: Path | None = None,
) -> dict[str, Any]:
    """Score an adapter beside the frozen base: share of its tests that run, pass and cover their function, and more.

    Args:
        data: world:test:COUNT, functions of the made world; a file of HumanEval or HumanEval-X, for whose
            functions tests are written; pairs of a source and a test, which are compared as texts; or problems of
            CoNaLa, CodeAlpaca, APPS or MBPP with code.
        adapter: reference of the adapter; none asks the base alone.
        base: reference of the base; the one that the adapter names where it is left out.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, bfloat16 or float16.
        alone: do not ask the frozen base, too.
        complete: of HumanEval, HumanEval-X (Python, Java) and MBPP: let the model complete the functions, and the
            benchmark's tests judge them.
        qkv_blocks: of a CodeGen base, in how many blocks its fused projections lie; the adapter's, else 4.
        predictions: file of id and prediction to be scored in place of a model; `data` may hold its own.
        parity: repair Java as the study does, also where that is wrong.
        level: of a Methods2Test corpus, how much of the class its sources hold.
        most: problems or pairs at most.
        shots: of pairs: solved ones that stand before each, as in-context learning; drawn by the seed.
        shots_from: what those are drawn from, as `data`.
        samples: answers of the model for each function.
        max_tests: tests of an answer.
        rounds: how often the model is asked.
        temperature: of the sampling; 0 takes the likeliest token.
        max_new_tokens: longest answer.
        batch_size: answers side by side.
        repeat: runs of each test.
        timeout: seconds of a run.
        workers: sandboxes at once.
        mutants: small changes of each module that its kept tests are tried on.
        seed: of the made world, the sampling and the mutants.
        runner: what the tests are kept in: namespaces of this machine, or containers of docker or podman.
        image: of the containers: one that is on this machine, with Python 3.9 or newer, pytest and coverage; for Java
            with a JDK.
        unsafe: run the tests with limits alone where the machine cannot isolate them.
        out: folder for metrics.json and report.html.
    """
    started = time.perf_counter()
    query: dict[str, Any] = {
        **{"samples": samples, "max_tests": max_tests, "rounds": rounds, "temperature": temperature, "seed": seed},
        **{"max_new_tokens": max_new_tokens, "batch_size": batch_size, "repeat": repeat, "timeout": timeout},
        **{"workers": workers, "mutants": mutants, "runner": runner, "image": image, "unsafe": unsafe},
    }
    asked = WriterQuery(**query)
    if shots and shots_from is None:
        raise InputError(f"--shots {shots}: say with --shots-from what the examples are drawn from")
    world = data.startswith("world:")
    if not world and not Path(data).expanduser().exists():
        raise InputError(f"data {data}: no such file; give a path, or world:test for the made world")
    path = Path(data).expanduser()
    about: dict[str, Any] = {"data": data}
    if predictions is not None or (not world and _holds(path, "prediction")):
        from domains.unit_tests.evaluation import texts

        found = texts.read_predictions(path, predictions)[:most]
        return _answer({"predictions": texts.figures(found, parity)}, about, started, out)
    from domains.unit_tests.predict import TestWriter

    writer = TestWriter.from_pretrained(adapter, base, device, dtype)
    writer.use_blocks(qkv_blocks)
    about |= {"adapter": adapter, "base": writer.base, "seed": seed}
    beside = not alone and writer.chosen is not None
    writers = {"adapter": writer, **({"frozen base": writer.frozen()} if beside else {})}
    limits = Limits(seconds=timeout, processor=max(1, round(timeout)), memory=1024 * MEGABYTE)
    scored = {
        name: _scored(one, data, asked, query, limits, complete, level, most, (shots, shots_from))
        for name, one in writers.items()
    }
    return _answer(scored, about, started, out)


def _scored(
    writer: Any,
    data: str,
    asked: WriterQuery,
    query: dict[str, Any],
    limits: Limits,
    complete: bool,
    level: str,
    most: int | None,
    examples: tuple[int, str | None],
) -> dict[str, Any]:
    """The figures of one writer."""
    from itertools import islice

    from domains.unit_tests.data.sources import read_pairs
    from domains.unit_tests.evaluation import completion, funnel, texts

    path = Path(data).expanduser()
    if data.startswith("world:"):
        return funnel.run(writer, funnel.made_projects(data, asked.seed), **query).figures()
    if _holds(path, "task_id") and (complete or not _holds(path, "test_list")):
        if complete:
            return completion.figures(writer, path, asked, limits, most)
        return funnel.run(writer, funnel.benchmark_projects(path, most), **query).figures()
    pairs = list(islice(read_pairs(data, level), most))
    shots, shots_from = examples
    if shots and shots_from is not None:
        pairs = texts.with_examples(pairs, list(read_pairs(shots_from, level)), shots, asked.seed)
    found, left_out = texts.predict(writer, pairs, asked)
    return {**texts.figures(found), "left_out": left_out}


def _holds(path: Path, key: str) -> bool:
    """Whether the first record of a file has a key."""
    from domains.unit_tests.data.sources import records

    return key in next(iter(records(path)), ("", {}))[1]


def _answer(
    scored: dict[str, dict[str, Any]], about: dict[str, Any], started: float, out: Path | None
) -> dict[str, Any]:
    first = next(iter(scored.values()))
    shown = {name: label for name, label in _SHOWN.items() if name in first}
    shown = shown or {name: name.replace("_", " ") for name, value in first.items() if isinstance(value, int | float)}
    rows = [["", *scored], *([label, *(_cell(one[name]) for one in scored.values())] for name, label in shown.items())]
    lines = [aligned(rows)]
    for name, figures in scored.items():
        if reasons := figures.get("reasons"):
            lines.append(f"{name}: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
        lines += [f"{name}: not tested: {line}" for line in figures.get("not_tested", [])]
    figures = {**scored, "seconds": round(time.perf_counter() - started, 3)}
    return Scores(figures, about, title="Unit tests: evaluation", message="\n".join(lines)).answer(out)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
