"""Unit tests (PEFT for test generation): functions in, tests that run out."""

from __future__ import annotations

from suite.domain import Domain, Task, on_use

DOMAIN = Domain(
    name="unit_tests",
    title="functions to unit tests that ran in a sandbox, passed and cover them (LoRA, IA3, prompt tuning)",
    extra="unit_tests",
    tasks={
        "default": Task(
            recipe="domains.unit_tests.recipe:UnitTestRecipe",
            data="domains.unit_tests.data.datamodule:UnitTestData",
            predictor="domains.unit_tests.predict:TestWriter",
            query="domains.unit_tests.types:WriterQuery",
            result="domains.unit_tests.output.result:WrittenTests",
        )
    },
    verbs={
        "evaluate": "domains.unit_tests.evaluation.evaluate:evaluate",
        "demo": "domains.unit_tests.demo:demo",
        "judge": "domains.unit_tests.predict:judge",
        "doctor": "domains.unit_tests.predict:doctor",
        "mine": "domains.unit_tests.data.mining:mine_command",
        "params": "domains.unit_tests.model.study:params",
    },
)

_PUBLIC = {
    "TestWriter": "predict",
    "UnitTestRecipe": "recipe",
    "UnitTestData": "data.datamodule",
    "WriterQuery": "types",
    "WrittenTests": "output.result",
    "judge_file": "predict",
    "JudgedResult": "output.result",
    "Rules": "inference.judge",
    "Limits": "inference.runs",
    "Sandbox": "inference.sandbox",
    "discover": "data.focal",
    "Focal": "types",
    "Candidate": "types",
    "Verdict": "types",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
