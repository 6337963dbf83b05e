"""CodeReviewer's encoder-decoder: what it reads and writes, its head, training and reviews with it."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import T5ForConditionalGeneration

from domains.code_review import CodeReviewer, CodeReviewerT5, NecessityRecipe, ReviewQuery
from domains.code_review.data.encoding import encoded_pair, hunk_text
from domains.code_review.data.examples import Example, hunk_of
from domains.code_review.model import marks
from domains.code_review.model.bases import load_base
from domains.code_review.model.wording import CODEREVIEWER
from suite import training
from suite.cli.main import main
from suite.hub import paths
from tests.code_review import small, small_pairs

PATCH = "@@ -2,2 +2,2 @@ def f():\n     a = 1\n-    b = 2\n+    b = 3"
OLD = "import os\n    a = 1\n    b = 2\n    return b\n"
DIFF = f"--- a/f.py\n+++ b/f.py\n{PATCH}\n"


@pytest.fixture(scope="module")
def base():
    return load_base(str(small_pairs.home() / "t5"))


def decoded(words, ids: list[int]) -> str:
    return words.decode(ids, skip_special_tokens=False)


def test_a_decision_reads_the_hunk_between_marks_in_its_file(base):
    _, words = base
    case = Example("x", "necessity", "yes", hunk=hunk_of(PATCH), old_file=OLD)
    pair = encoded_pair(words, CODEREVIEWER, case, 512, 128)
    assert decoded(words, pair.source) == ("<s>import os<start><keep>a = 1<del>b = 2<add>b = 3<end>return b</s>")
    assert (pair.label, pair.target) == (1, [])
    # Lines round the hunk are tokenised each by itself, as the published code does.
    assert "<e0>" in hunk_text(CODEREVIEWER, "necessity", case.hunk, OLD)
    alone = words.encode("import os", add_special_tokens=False)
    assert pair.source[1 : 1 + len(alone)] == alone


def test_a_hunk_whose_header_leaves_out_a_count_is_read_all_the_same():
    text = hunk_text(CODEREVIEWER, "necessity", hunk_of("@@ -1 +1 @@\n-a\n+b"))
    assert text == "<start><del>a<e0><add>b<end>"


def test_a_comment_is_written_behind_its_mark(base):
    _, words = base
    case = Example("x", "comment", "Why 3?", hunk=hunk_of(PATCH), old_file=OLD)
    pair = encoded_pair(words, CODEREVIEWER, case, 512, 128)
    assert decoded(words, pair.source) == "<s><keep>a = 1<del>b = 2<add>b = 3</s>"
    assert decoded(words, pair.target) == "<msg>Why 3?</s>"
    assert CODEREVIEWER.answered("comment", "<msg>Why 3?") == "Why 3?"
    cut = encoded_pair(words, CODEREVIEWER, case, 512, 3)
    assert len(cut.target) == 3 and cut.target[-1] == words.eos_token_id


def test_a_refinement_keeps_its_comment_where_the_code_is_too_long(base):
    _, words = base
    code = "\n".join(f"    line {number}" for number in range(40))
    case = Example("x", "refinement", "a\n  b", code=code, comment="Use b.")
    pair = encoded_pair(words, CODEREVIEWER, case, 40, 200)
    text = decoded(words, pair.source)
    assert pair.truncated and len(pair.source) <= 40
    assert text.startswith("<s><add>line 0<add>line 1") and text.endswith("<msg>Use b.</s>")
    assert decoded(words, pair.target) == "<s><add>a<add>b</s>"
    assert CODEREVIEWER.answered("refinement", "<add>a<add> b") == "a\nb"


def test_the_published_number_of_parameters_on_the_meta_device(capsys):
    for name in ("codereviewer", "codereviewer_comment", "codereviewer_refinement"):
        file = paths.assets() / f"configs/code_review/{name}.yaml"
        assert main(["code_review", "count", "--config", str(file), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["total"] == found["trainable"] == 222_972_674
        assert round(found["trainable"] / 1e6) == 223
    lora = ["--recipe.adapter", "{method: lora, r: 8, targets: [q, v]}"]
    assert main(["code_review", "count", "--config", str(file), "--json", *lora]) == 0
    assert json.loads(capsys.readouterr().out)["trainable"] == 72 * 8 * (768 + 768)


def test_the_released_files_are_read_whole_with_the_head(tmp_path, capsys):
    folder = small_pairs.home() / "codereviewer"
    model = CodeReviewerT5.from_pretrained(folder)
    plain = T5ForConditionalGeneration.from_pretrained(small_pairs.home() / "t5")
    assert set(model.state_dict()) - set(plain.state_dict()) == {"cls_head.weight", "cls_head.bias"}
    assert not model.decides_at_random
    model.save_pretrained(tmp_path / "again")
    again = CodeReviewerT5.from_pretrained(tmp_path / "again")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    ids = torch.arange(3, 13)[None]
    assert torch.equal(model.decide(ids, torch.ones_like(ids)), again.decide(ids, torch.ones_like(ids)))


def test_files_of_another_model_are_refused(tmp_path, capsys):
    place = small_pairs.home() / "t5"
    model = T5ForConditionalGeneration.from_pretrained(place)
    state = {name: value for name, value in model.state_dict().items() if "block.1" not in name}
    model.save_pretrained(tmp_path / "less", state_dict=state)
    small.tokenizer().save_pretrained(tmp_path / "less")
    assert train(tmp_path, "necessity", "--base", str(tmp_path / "less")) == 2
    assert "no T5 as CodeReviewer is one; its files differ in decoder.block.1" in capsys.readouterr().err


def test_new_tokens_are_the_same_whenever_the_base_is_loaded(base):
    model, words = base
    again, _ = load_base(str(small_pairs.home() / "t5"))
    assert len(words) == len(small.tokenizer()) + 106
    rows = words.convert_tokens_to_ids([marks.ADDED, marks.REMOVED, marks.MESSAGE])
    embeddings = model.get_input_embeddings().weight
    assert torch.equal(embeddings, again.get_input_embeddings().weight)
    assert model.get_output_embeddings().weight is embeddings
    assert len({tuple(embeddings[row].tolist()) for row in rows}) == 3


def overrides(folder, task: str, *more: str) -> list[str]:
    """A short run on hunks that need a review where they speak of money."""
    rows = []
    for number in range(16):
        need = number % 2
        word = ("money", "grass")[1 - need]
        patch = f"@@ -{number + 1},1 +{number + 1},1 @@\n-a = {number}\n+a = {word}"
        rows.append({"patch": patch, "y": need, "msg": f"No {word}." if task != "necessity" else "", "comment": "Why?"})
        rows[-1] |= {"old": f"-a = {number}", "new": f"+a = {word}"}
    file = small.records(folder / "cases.jsonl", rows)
    return [
        *("--base", str(small_pairs.home() / "t5"), "--data.train", str(file), "--data.val", f"{file}[:4]"),
        *("--data.batch_size", "4", "--trainer.max_steps", "4", "--trainer.val_every", "4", "--trainer.lr", "0.01"),
        *("--trainer.accumulate_grad_batches", "1", "--trainer.precision", "32-true"),
        *("--recipe.adapter", "{method: lora, r: 4, targets: [q, v]}", *more),
    ]


NAMES = {"necessity": "codereviewer", "comment": "codereviewer_comment", "refinement": "codereviewer_refinement"}


def train(folder, task: str, *more: str) -> int:
    file = paths.assets() / f"configs/code_review/{NAMES[task]}.yaml"
    words = ["code_review", "train", "--config", str(file), "--run-dir", str(folder / "run")]
    return main([*words, *overrides(folder, task, *more)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run of each task, and what the first said."""
    made = {}
    for task, name in NAMES.items():
        folder = tmp_path_factory.mktemp(task)
        config = training.load_config(paths.assets() / f"configs/code_review/{name}.yaml", overrides(folder, task))
        made[task] = training.run(config, run_dir=folder / "run"), config
    return made


@pytest.mark.parametrize("task", NAMES)
def test_a_short_training_learns_and_its_adapter_gives_the_same_figures_again(trained, task):
    run, config = trained[task]
    again = training.evaluate(config, run.adapter)
    assert again["val/loss"] == pytest.approx(run.metrics["val/loss"], abs=1e-6)
    assert training.evaluate(config, None)["val/loss"] > again["val/loss"]


def words(trained, *more: str) -> list[str]:
    parts = [word for task, (run, _) in trained.items() for word in (f"--{task}", str(run.adapter))]
    base = ["--base", str(small_pairs.home() / "t5")]
    return [*parts, *base, "--threshold", "0", "--max-new-tokens", "12", *more]


def test_a_diff_is_reviewed_by_the_three_adapters_on_one_base(trained, tmp_path, capsys):
    (tmp_path / "change.diff").write_text(DIFF)
    assert main(["code_review", "predict", str(tmp_path / "change.diff"), "--json", *words(trained)]) == 0
    [result] = json.loads(capsys.readouterr().out)["results"]
    assert result["error"] is None
    for one in result["findings"]:
        assert 0 <= one["need"] <= 1 and not any(mark in one["comment"] for mark in marks.ALL)
    assert result["findings"] or result["dropped"]
    assert main(["code_review", "predict", str(tmp_path / "change.diff"), "--json", *words(trained)]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == [result], "twice the same"


def test_answers_in_a_batch_are_those_of_one_by_one(trained):
    parts = {task: str(run.adapter) for task, (run, _) in trained.items()}
    reviewer = CodeReviewer.from_pretrained(None, base=str(small_pairs.home() / "t5"), **parts)
    session = reviewer.session(ReviewQuery(max_new_tokens=8, cache=False))
    prompts = ["<add>a", "<del>return b<add>return c + d"]
    together, alone = session.chances(prompts), [session.chances([one])[0] for one in prompts]
    assert together == pytest.approx(alone, abs=1e-6)
    both, single = session.written("comment", prompts), [session.written("comment", [one])[0] for one in prompts]
    assert [one.text for one in both] == [one.text for one in single]
    assert [one.logprob for one in both] == pytest.approx([one.logprob for one in single], abs=1e-5)
    assert len(session.logprobs("comment", prompts, "Why?")) == 2


@pytest.mark.parametrize("task", NAMES)
def test_labelled_cases_are_scored(trained, task, capsys):
    run, config = trained[task]
    given = ["--task", task, "--adapter", str(run.adapter), "--base", str(small_pairs.home() / "t5")]
    data = str(config.data["train"])
    assert main(["code_review", "evaluate", f"{data}[:4]", *given, "--max-new-tokens", "8", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["n"] == 4 and "cls_head" not in captured.err
    if task == "necessity":
        assert main(["code_review", "evaluate", f"{data}[:4]", *given, "--frozen", "--json"]) == 0
        assert "has no cls_head: decisions start at random" in capsys.readouterr().err
        assert main(["code_review", "evaluate", f"{data}[:4]", *given, "--decode"]) == 2
        assert "leave --decode out" in capsys.readouterr().err


def test_a_head_that_nobody_trained_is_told_of(capsys):
    for name, told in (("t5", True), ("codereviewer", False)):
        NecessityRecipe(str(small_pairs.home() / name), template=CODEREVIEWER.name).prepare()
        assert ("has no cls_head: decisions start at random" in capsys.readouterr().err) == told


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--recipe.template", "llama-reviewer-v1"], "is an encoder-decoder, and recipe.template llama-reviewer-v1"),
        (["--base", "{small}"], "is a causal language model, and recipe.template codereviewer-v1 is not for it"),
    ],
)
def test_template_and_base_must_be_of_one_kind(tmp_path, capsys, more, said):
    more = [word.replace("{small}", str(small.home() / "base")) for word in more]
    assert train(tmp_path, "comment", *more) == 2
    assert said in capsys.readouterr().err


def test_beams_say_how_likely_their_text_is(trained):
    run, _ = trained["comment"]
    reviewer = CodeReviewer.from_pretrained(None, base=str(small_pairs.home() / "t5"), comment=str(run.adapter))
    prompt = hunk_text(CODEREVIEWER, "comment", hunk_of(PATCH))
    session = reviewer.session(ReviewQuery(max_new_tokens=6, num_beams=4, cache=False))
    [found] = session.written("comment", [prompt])
    [greedy] = reviewer.session(ReviewQuery(max_new_tokens=6, cache=False)).written("comment", [prompt])
    assert found.logprob >= greedy.logprob - 1e-5
    alike = session.logprobs("comment", [prompt], found.text)[0]
    if found.complete:
        tokens = len(marks.ids(session.tokenizer, CODEREVIEWER.answer("comment", found.text), 100)) - 1
        assert found.logprob == pytest.approx(alike / tokens, abs=1e-4)
