"""Figures of tests that a model writes: of whole modules that are run, and of texts beside references."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from domains.unit_tests import WriterQuery
from domains.unit_tests.data.readers.humaneval_x import read
from domains.unit_tests.data.sources import made_pairs, read_pairs
from domains.unit_tests.evaluation import completion, funnel, texts
from domains.unit_tests.evaluation.evaluate import evaluate
from domains.unit_tests.inference.loaded import Answer, Ends
from domains.unit_tests.inference.runs import Limits
from domains.unit_tests.inference.sandbox import probe
from suite.errors import InputError
from tests.real_data import real_data
from tests.unit_tests.scripted import Scripted

isolated = pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")


class Knowing(Scripted):
    """Answers with the made world's own tests, or something else for every second function."""

    def __init__(self, known: dict[str, str]) -> None:
        super().__init__({})
        self.known = known

    def answers(
        self, sources: Sequence[str], query: WriterQuery, ends: Sequence[Ends], attempt: int = 0
    ) -> list[list[Answer]]:
        return [[Answer(self.known[source.rpartition("\n")[2]], complete=True)] for source in sources]


@isolated
def test_of_made_modules_every_test_that_was_generated_counts():
    """The share is of all tests; what is no test, fails or repeats another lowers it."""
    known = {pair.source.rpartition("\n")[2]: pair.target for pair in made_pairs("world:test:2")}
    known[list(known)[1]] = "():\n    assert ("
    found = funnel.run(
        Knowing(known), funnel.made_projects("world:test:2"), samples=1, max_tests=2, repeat=1, mutants=4, timeout=60.0
    ).figures()
    assert (found["functions"], found["generated"], found["parsed"], found["working"]) == (2, 3, 2, 2)
    assert found["working_share"] == pytest.approx(2 / 3) and found["functions_with_a_test"] == 0.5
    assert found["reasons"]["does not parse"] == 1 and 0 < found["line_coverage"] < 1
    assert found["mutants"] > 0 and 0 <= found["mutation_score"] <= 1


def problems(folder: Path) -> Path:
    rows = [
        {
            "task_id": f"HumanEval/{number}",
            "prompt": f'def add{number}(a, b):\n    """Add."""\n',
            "canonical_solution": "    return a + b\n",
            "test": "def check(f):\n    assert f(1, 2) == 3\n",
            "entry_point": f"add{number}",
        }
        for number in range(2)
    ]
    path = folder / "problems.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


@isolated
def test_the_benchmarks_functions_go_through_the_whole_funnel(tmp_path):
    known = {"def test_add0": "():\n    assert add0(1, 2) == 3\n", "def test_add1": "():\n    assert add1(1, 2) == 4\n"}
    projects = funnel.benchmark_projects(problems(tmp_path))
    found = funnel.run(Knowing(known), projects, samples=1, repeat=1, timeout=60.0).figures()
    assert (found["functions"], found["ran"], found["passed"], found["kept"]) == (2, 2, 1, 1)
    assert found["reasons"] == {"kept": 1, "failed": 1} and found["mutation_score"] is None


@isolated
def test_completions_are_judged_by_the_benchmarks_own_tests(tmp_path):
    writer = Knowing({"": "    return a + b\n\n\ndef other"})
    found = completion.figures(
        writer, problems(tmp_path), WriterQuery(samples=1, workers=1), Limits(seconds=60), most=1
    )
    assert found == {"problems": 1, "too_long": 0, "pass@1": 1.0, "temperature": 0.8}
    wrong = completion.figures(
        Knowing({"": "    return a\n"}), problems(tmp_path), WriterQuery(samples=1), Limits(seconds=60)
    )
    assert wrong["pass@1"] == 0.0
    exits = Knowing({"": "    import os\n    os._exit(0)\n"})
    assert completion.figures(exits, problems(tmp_path), WriterQuery(samples=1), Limits(seconds=60))["pass@1"] == 0.0


@isolated
@pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK here")
def test_completions_in_java_are_compiled_and_judged_by_the_benchmarks_own_tests():
    path = real_data("code/humaneval_java.jsonl.gz")
    problem = read(path)[0]
    limits = Limits(seconds=60)
    right, wrong = problem.solution, "        return false;\n    }\n}"
    answers = [
        f"{right}\nclass Solution {{ }}\n",
        wrong,
        "        System.exit(0);\n        return true;\n    }\n}",
    ]
    for text, passes in zip(answers, (1.0, 0.0, 0.0), strict=True):
        given = Knowing({"": text})
        found = completion.figures(given, path, WriterQuery(samples=1, workers=1), limits, most=1)
        assert found == {"problems": 1, "too_long": 0, "pass@1": passes, "temperature": 0.8}, text


def test_completions_in_java_without_a_jdk_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    path = real_data("code/humaneval_java.jsonl.gz")
    with pytest.raises(InputError, match="there is no java and no javac"):
        completion.figures(Knowing({}), path, WriterQuery(), Limits(), most=1)


def test_texts_are_scored_from_a_file_of_predictions(tmp_path):
    body = "        int size = stack.size();\n        assertEquals(0, size);\n    }\n\n}"
    rows = [
        {"id": str(n), "source": "class StackTest {\n\n    @Test\n    public void testSize() {\n", "target": body}
        for n in range(3)
    ]
    data, given = tmp_path / "data.jsonl", tmp_path / "given.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    predictions = [body, body.removesuffix("\n\n}"), "        int = ;", "never: the first of an id counts"]
    given.write_text(
        "".join(json.dumps({"id": str(min(n, 2)), "prediction": text}) + "\n" for n, text in enumerate(predictions))
    )
    found = evaluate(str(data), predictions=given, out=tmp_path / "out")["predictions"]
    assert (found["pairs"], found["language"], found["scored"]) == (3, "java", 2)
    assert found["valid_syntax"] == found["parses_as_it_is"] == pytest.approx(2 / 3)
    assert found["exact_match"] == pytest.approx(1 / 3) and found["codebleu_strict"] > 0.9
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["predictions"]["pairs"] == 3
    given.write_text(json.dumps({"id": "0", "prediction": body}) + "\n")
    with pytest.raises(InputError, match=r"data.jsonl:2: there is no prediction for 1"):
        evaluate(str(data), predictions=given)
    with pytest.raises(InputError, match=r"data absent: no such file"):
        evaluate("absent")


def test_texts_of_a_model_end_where_the_language_ends_them():
    pair = next(read_pairs("world:test:1"))
    more = pair.target + "\n\ndef helper():\n    pass\n"
    writer = Knowing({pair.source.rpartition("\n")[2]: more})
    found, left_out = texts.predict(writer, [pair], WriterQuery(samples=1))
    figures = texts.figures(found)
    assert left_out == 0 and figures["valid_syntax"] == 1.0 and "helper" not in found[0].prediction
    assert figures["language"] == "python" and 0.5 < figures["codebleu"] <= 1.0
    java = texts.Predicted("1", "class A {\n", "x", "y")
    with pytest.raises(InputError, match=r"2 pairs in java and python"):
        texts.figures([*found, java])


def test_a_models_real_answers_of_the_study_are_scored():
    found = evaluate(str(real_data("code/methods2test_codegen350m_300.jsonl.gz")))["predictions"]
    assert (
        found["pairs"] == 300
        and found["valid_syntax"] == pytest.approx(0.99)
        and found["codebleu"] == pytest.approx(0.241, abs=1e-3)
    )
    assert 0 < found["parses_as_it_is"] < found["valid_syntax"]
