"""The sibling study: problems in words, answered by code in a fenced block; its recipes, figures and examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from domains.unit_tests import TestWriter, UnitTestData, UnitTestRecipe, WriterQuery
from domains.unit_tests.data.problems import INSTRUCTION, asked
from domains.unit_tests.data.sources import TextPair, read_pairs
from domains.unit_tests.evaluation import completion, funnel, texts
from domains.unit_tests.evaluation.evaluate import evaluate
from domains.unit_tests.inference.loaded import Answer
from domains.unit_tests.inference.runs import Limits
from domains.unit_tests.inference.sandbox import probe
from suite import training
from suite.cli.main import main
from suite.errors import InputError
from suite.hub import paths
from suite.training.settings import TrainerConfig
from tests.unit_tests.scripted import Scripted
from tests.unit_tests.small import tokenizer, write_base

FOLDER = paths.assets() / "configs" / "unit_tests"
MBPP = {
    "task_id": 3,
    "text": "Write a function to add.",
    "code": "def add(a, b):\n    return a + b\n",
    "test_list": ["assert add(1, 2) == 3"],
}


class Answering(Scripted):
    """Gives every source the same answers."""

    def __init__(self, *answers: str) -> None:
        super().__init__({})
        self.given = answers

    def answers(self, sources, query, ends, attempt=0):  # type: ignore[no-untyped-def]
        self.sources, self.ends = list(sources), list(ends)
        return [[Answer(text, complete=True) for text in self.given[: query.samples]] for _ in sources]


def file_of(folder: Path, *rows: dict) -> Path:
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "problem", "code"),
    [
        ({"instruction": "Add.", "input": "1 2", "output": "print(1 + 2)"}, "Add.\n1 2", "print(1 + 2)"),
        ({"instruction": "Add.", "input": "", "output": "a + b"}, "Add.", "a + b"),
        ({"intent": "sum", "rewritten_intent": "sum of `x`", "snippet": "sum(x)"}, "sum of `x`", "sum(x)"),
        ({"intent": "sum", "rewritten_intent": None, "snippet": "sum(x)"}, "sum", "sum(x)"),
        ({"question": "Read.\n", "solutions": '["input()", "x"]'}, "Read.", "input()"),
        (MBPP, "Write a function to add.\n\nassert add(1, 2) == 3", "def add(a, b):\n    return a + b"),
    ],
)
def test_problems_are_read_in_the_columns_of_their_sets(tmp_path, row, problem, code):
    [pair] = read_pairs(str(file_of(tmp_path, row)))
    assert pair.source == f"{INSTRUCTION}```\n{problem}\n```\n```python\n" and pair.target == f"{code}\n```"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Read.", "solutions": ""}, r":1: solutions is no list of programs in JSON, or is empty"),
        ({"question": "Read.", "solutions": "[]"}, r":1: solutions is no list of programs in JSON, or is empty"),
        ({"instruction": "Add.", "output": 3}, r":1: problem and code must be texts"),
        ({"question": "Read."}, r":1: has the columns question; wanted are .* CoNaLa, CodeAlpaca, APPS and MBPP"),
    ],
)
def test_a_problem_that_is_damaged_is_told_by_its_line(tmp_path, row, said):
    with pytest.raises(InputError, match=said):
        list(read_pairs(str(file_of(tmp_path, row))))


def test_an_answer_ends_at_the_next_fence_and_any_of_the_samples_may_match(tmp_path):
    pairs = [TextPair("1", asked("Add."), "a + b\n```"), TextPair("2", asked("Take."), "a - b\n```")]
    writer = Answering("a  + b\n```\nThat is it.", "a - b")
    found, left_out = texts.predict(writer, pairs, WriterQuery(samples=2))
    assert writer.ends[0]("a\n```") and not writer.ends[0]("a\n``") and left_out == 0
    figures = texts.figures(found)
    assert (figures["language"], figures["pairs"], figures["valid_syntax"]) == ("python", 2, 1.0)
    assert (figures["exact_match"], figures["exact_match@2"]) == (0.5, 1.0) and 0 < figures["codebleu"] <= 1


def test_examples_stand_before_what_is_asked_and_are_drawn_by_the_seed(tmp_path):
    pairs = [TextPair(str(n), asked(f"Problem {n}."), f"{n}\n```") for n in range(6)]
    [first, *_] = texts.with_examples(pairs, pairs, 2, 42)
    assert first.source.endswith(pairs[0].source) and first.source.count("```python\n") == 3
    assert pairs[0].source not in first.source.removesuffix(pairs[0].source), "its own answer is never shown"
    assert texts.with_examples(pairs, pairs, 2, 42)[0] == first != texts.with_examples(pairs, pairs, 2, 777)[0]
    with pytest.raises(InputError, match="--shots 3: --shots-from has 2 other pairs"):
        texts.with_examples(pairs[:1], pairs[:3], 3, 0)
    with pytest.raises(InputError, match="say with --shots-from"):
        evaluate(str(file_of(tmp_path, {"intent": "sum", "snippet": "sum(x)"})), shots=1)


@pytest.mark.skipif(not probe().namespaces, reason="this machine offers no namespaces")
def test_programs_for_mbpp_are_judged_by_its_tests(tmp_path):
    path, limits = file_of(tmp_path, MBPP), Limits(seconds=60)
    answers = ("def add(a, b):\n    return a - b\n", f"{MBPP['code']}```\nDone.")
    found = completion.figures(Answering(*answers), path, WriterQuery(samples=2), limits)
    assert found == {"problems": 1, "too_long": 0, "pass@1": 0.5, "pass@2": 1.0, "temperature": 0.8}
    with pytest.raises(InputError, match="holds no function in Python"):
        next(funnel.benchmark_projects(path))


@pytest.mark.parametrize("name", ["lora", "qlora", "prefix", "ptuning", "prompt"])
def test_a_recipe_of_the_sibling_explains_every_line_and_is_counted_without_a_download(name, capsys):
    path = FOLDER / f"codegen_peft_{name}.yaml"
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert all(" # " in line for line in lines), [line for line in lines if " # " not in line]
    words = ["unit_tests", "count", "--config", str(path), "--base", "hf:Qwen/Qwen2.5-Coder-3B", "--json"]
    if name == "prompt":
        assert main(words) == 2 and "say --recipe.adapter.num_virtual_tokens to count" in capsys.readouterr().err
        words += ["--recipe.adapter.num_virtual_tokens", "10"]
    assert main(words) == 0
    # 36 layers of width 2,048, two heads of keys and values of 128; the network: 2048 x 128, 128 x 128, 128 x 2048.
    wanted = {"prefix": 36 * 2 * 20 * 256, "prompt": 10 * 2048, "lora": 29_933_568, "qlora": 29_933_568}
    found = json.loads(capsys.readouterr().out)["trainable"]
    assert found == wanted.get(name, 20 * 2048 + 2048 * 128 + 128 + 128 * 128 + 128 + 128 * 2048 + 2048)


def test_telly_leaves_as_many_blocks_as_it_says(capsys):
    words = ["unit_tests", "count", "--config", str(FOLDER / "telly.yaml"), "--json", "--recipe.adapter.frozen"]
    found = []
    for frozen in (5, 8):
        assert main([*words, str(frozen)]) == 0
        found.append(json.loads(capsys.readouterr().out)["trainable"])
    # A block of CodeGen-350M: its norm, fused and output projections without biases, and two layers with biases.
    block = 2 * 1024 + 1024 * 3072 + 1024 * 1024 + (1024 * 4096 + 4096) + (4096 * 1024 + 1024)
    assert found[0] - found[1] == 3 * block and found[0] == 15 * block


def test_virtual_tokens_begin_as_a_text_and_are_as_many_as_it_has(tmp_path):
    base, text = write_base(tmp_path / "base", "llama"), "def f(x):\n    return x\n"
    section = {"method": "prompt_tuning", "task_type": "CAUSAL_LM", "init_text": text}
    recipe = UnitTestRecipe(str(base), adapter=section)
    model = recipe.build()
    ids = tokenizer()(text, add_special_tokens=False)["input_ids"]
    tokens = model.prompt_encoder["default"].embedding.weight
    torch.testing.assert_close(tokens.detach(), model.get_base_model().get_input_embeddings().weight[ids])
    data = UnitTestData(str(file_of(tmp_path, MBPP)), None, block_size=400)
    recipe.bind(data)
    assert data._virtual == len(ids)
    longer = UnitTestRecipe(str(base), adapter={**section, "num_virtual_tokens": len(ids) + 2}).build()
    again = longer.prompt_encoder["default"].embedding.weight
    torch.testing.assert_close(again[len(ids) :], again[:2])
    for wrong, said in (({"init_text": ""}, "is empty"), ({"preset": "lora", "method": None}, "is of prompt_tuning")):
        given = {name: value for name, value in {**section, **wrong}.items() if value is not None}
        with pytest.raises(InputError, match=said):
            UnitTestRecipe(str(base), adapter=given).bind(data)


@pytest.mark.parametrize(
    "section",
    [
        {"method": "prefix_tuning", "num_virtual_tokens": 4, "task_type": "CAUSAL_LM"},
        {"method": "p_tuning", "num_virtual_tokens": 4, "encoder_hidden_size": 16, "task_type": "CAUSAL_LM"},
        {"method": "prompt_tuning", "init_text": "def f(x):\n", "task_type": "CAUSAL_LM"},
        {"method": "telly", "frozen": 1},
    ],
    ids=lambda section: section["method"],
)
def test_an_adapter_of_the_sibling_is_trained_saved_and_loaded_with_the_same_logits(tmp_path, section):
    base = write_base(tmp_path / "base", "llama")
    recipe, data = (
        UnitTestRecipe(str(base), adapter=section),
        UnitTestData(str(file_of(tmp_path, MBPP)), None, block_size=400),
    )
    config = TrainerConfig(max_steps=2, max_epochs=-1, lr=0.1, accelerator="cpu")
    run = training.fit(recipe, data, config, folder=tmp_path / "run")
    ids = torch.tensor([tokenizer()("def f(x):\n    return 1\n")["input_ids"]])
    writer = TestWriter.from_pretrained(str(run.adapter), base=str(base))
    bare = TestWriter.from_pretrained("none", base=str(base))
    with torch.inference_mode():
        found = writer.model(ids).logits[:, -ids.shape[1] :]
        torch.testing.assert_close(found, recipe.model.eval()(ids).logits[:, -ids.shape[1] :], rtol=1e-4, atol=1e-4)
        assert (found - bare.model(ids).logits).abs().max() > 1e-3, "it learnt nothing"
    [[answer]] = writer.answers(["def g(x):\n"], WriterQuery(samples=1, max_new_tokens=4), [lambda text: False])
    assert answer.text


def test_every_recipe_of_the_domain_is_read():
    for path in FOLDER.glob("*.yaml"):
        assert yaml.safe_load(path.read_text())["domain"] == "unit_tests", path
