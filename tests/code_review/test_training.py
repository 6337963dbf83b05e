"""Cases from every source, their encoding, and the recipes that train on them."""

from __future__ import annotations

import json
from itertools import islice

import pytest
import torch
import yaml

from domains.code_review import CodeReviewData, CommentRecipe
from domains.code_review.data.encoding import encoded, prompt_of
from domains.code_review.data.examples import Example, hunk_of
from domains.code_review.data.sources import examples
from domains.code_review.model.encoding import text_of, yes_and_no
from domains.code_review.model.wording import LANGUAGE_LABEL, LLAMA_REVIEWER
from suite import training
from suite.cli.main import main
from suite.code.faults import fault_named
from suite.errors import InputError
from suite.generation.chat import IGNORED
from suite.generation.tokenizer import load_tokenizer
from suite.hub import paths
from tests.code_review import small

PATCH = "@@ -1,3 +1,3 @@ def f():\n a = 1\n-b = 2\n+b = 3\n c = 4"


def words():
    return load_tokenizer(small.home() / "base")


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        ({"patch": PATCH, "y": 1, "msg": ""}, "yes"),
        ({"patch": PATCH, "y": 0, "msg": ""}, "no"),
        ({"patch": PATCH, "y": 0, "msg": "why?"}, "yes"),
        ({"patch": PATCH}, "no"),
    ],
)
def test_a_hunk_without_a_label_needs_no_review_and_one_with_a_comment_does(tmp_path, record, answer):
    file = small.records(tmp_path / "cls.jsonl", [record])
    [case] = examples(str(file), "necessity")
    assert case.answer == answer and case.hunk is not None and text_of(case.hunk) == PATCH


def test_the_release_is_read_by_folder_task_and_split(tmp_path):
    row = {"patch": PATCH, "msg": "Say why.", "id": 7, "lang": "py"}
    for number in range(2):
        small.records(tmp_path / f"Diff_Quality_Estimation/cls-train-chunk-{number}.jsonl", [row] * (number + 1))
    small.records(tmp_path / "Comment_Generation/msg-test.jsonl", [row])
    # The release's headers of refinements count other lines than there are.
    old = {"old": " a\n-b", "new": " a\n+  c", "comment": "Use c.", "old_hunk": "@@ -1,9 +1,9 @@\n a\n-b", "lang": "go"}
    small.records(tmp_path / "Code_Refinement/ref-valid.jsonl", [old])
    assert len(list(examples(str(tmp_path), "necessity", "train"))) == 3
    [said] = examples(str(tmp_path), "comment", "test")
    assert (said.id, said.answer, said.language) == ("7", "Say why.", "py")
    [mended] = examples(str(tmp_path), "refinement", "val")
    assert (mended.code, mended.comment, mended.answer) == ("a\nb", "Use c.", "a\n  c")
    with pytest.raises(InputError, match=r"Comment_Generation/msg-train\.jsonl there"):
        list(examples(str(tmp_path), "comment", "train"))


def test_methods_of_tufano_are_read_without_the_prefix_of_their_task(tmp_path):
    file = tmp_path / "train.tsv"
    file.write_text("code2comment: int f ( ) { <START> return 1 ; <END> }\twhy 1?\n")
    [case] = examples(str(file), "comment")
    assert (case.code, case.answer, case.hunk) == ("int f ( ) { <START> return 1 ; <END> }", "why 1?", None)
    assert "The code is: 'int f" in prompt_of(LLAMA_REVIEWER, case)
    file.write_text("a\tb\tc\td\n")
    with pytest.raises(InputError, match=r"train\.tsv:1: 4 columns"):
        list(examples(str(file), "refinement"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"patch": "x"', r"cls\.jsonl:2: not JSON"),
        ("[1]", r"cls\.jsonl:2: expected one JSON object"),
        ('{"y": 1}', r"cls\.jsonl:2: the key 'patch' is missing"),
        ('{"patch": 3}', r"cls\.jsonl:2: 'patch' is int"),
        ('{"patch": "x", "y": "maybe"}', r"cls\.jsonl:2: 'y' is 'maybe'"),
    ],
)
def test_a_broken_line_is_named_and_may_be_passed_over(tmp_path, line, said):
    file = tmp_path / "cls.jsonl"
    good = json.dumps({"patch": PATCH})
    file.write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(InputError, match=said):
        list(examples(str(file), "necessity"))
    assert len(list(examples(str(file), "necessity", skip_bad=1))) == 2
    file.write_text(f"{line}\n{good}\n{line}\n")
    with pytest.raises(InputError, match="1 lines were passed over before it"):
        list(examples(str(file), "necessity", skip_bad=1))


@pytest.mark.parametrize("source", ["world:all", "world:train:x", "absent.jsonl", "world:train:1:2"])
def test_a_source_that_is_none_is_refused(source):
    with pytest.raises(InputError, match="data"):
        list(examples(source, "necessity"))


def test_the_made_world_gives_every_task_its_answers():
    needed = list(islice(examples("world:train", "necessity"), 60))
    assert {case.answer for case in needed} == {"yes", "no"}
    for case in islice(examples("world:train", "comment"), 20):
        assert fault_named(case.answer)
    for case in islice(examples("world:train", "refinement"), 20):
        assert case.code != case.answer and case.comment


@pytest.mark.parametrize("task", ["necessity", "comment"])
def test_a_long_hunk_loses_its_last_lines_and_never_its_answer(task):
    tokenizer = words()
    body = "\n".join(f"+line {n} of the file" for n in range(200))
    case = Example("x", task, "yes", hunk=hunk_of(f"@@ -0,0 +1,200 @@\n{body}"))
    made = encoded(tokenizer, LLAMA_REVIEWER, case, 300)
    assert made is not None
    sample, asked = made
    text = tokenizer.decode(sample.input_ids)
    assert sample.truncated and len(sample.input_ids) <= 300
    assert text.endswith("### Response:yes</s>") and "+line 0 of" in text and "+line 199" not in text
    kept = sum(f"+line {n} of" in text for n in range(200))
    assert f"@@ -0,0 +1,{kept} @@" in text, "the header counts what is left"
    assert tokenizer.decode(sample.input_ids[asked:]) == "yes</s>"
    assert encoded(tokenizer, LLAMA_REVIEWER, case, 60) is None
    cut, _ = encoded(tokenizer, LLAMA_REVIEWER, case, 300, cut="right") or pytest.fail("nothing")
    assert len(cut.input_ids) == 300 and not tokenizer.decode(cut.input_ids).endswith("yes</s>")


def test_the_loss_is_on_all_tokens_or_on_the_answer_alone():
    case = Example("x", "necessity", "no", hunk=hunk_of(PATCH))
    whole, asked = encoded(words(), LLAMA_REVIEWER, case, 512) or pytest.fail("nothing")
    masked, _ = encoded(words(), LLAMA_REVIEWER, case, 512, mask_prompt=True) or pytest.fail("nothing")
    assert whole.labels == whole.input_ids
    assert masked.labels == [IGNORED] * asked + whole.input_ids[asked:] and len(whole.input_ids) - asked == 2


def test_the_language_is_the_last_line_of_the_input_where_the_template_names_it():
    case = Example("x", "comment", "no", hunk=hunk_of(PATCH), language="go")
    assert "The programming language is: go\n\n### Response:" in prompt_of(LANGUAGE_LABEL, case)
    assert "language" not in prompt_of(LLAMA_REVIEWER, case)


def test_yes_and_no_are_the_tokens_that_follow_the_prompt():
    tokenizer = words()
    ids, (yes, no) = yes_and_no(tokenizer, "a ### Response:")
    assert tokenizer.decode(ids + yes) == "<s>a ### Response:yes" and tokenizer.decode(ids + no).endswith(":no")


def separable(folder, count: int):
    """Hunks that need a review where they add a line about money, and none where they do not."""
    rows = []
    for number in range(count):
        need = number % 2
        word = ("money", "grass")[1 - need]
        rows.append({"patch": f"@@ -{number},1 +{number},1 @@\n-a = {number}\n+a = {word}", "y": need})
    return small.records(folder / "cls.jsonl", rows)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run."""
    folder = tmp_path_factory.mktemp("trained")
    file = separable(folder, 16)
    overrides = [
        *("--base", str(small.home() / "base"), "--data.train", str(file), "--data.val", f"{file}[:8]"),
        *("--data.batch_size", "4", "--trainer.max_steps", "4", "--trainer.val_every", "4", "--trainer.lr", "0.01"),
    ]
    config = training.load_config(paths.assets() / "configs/code_review/tiny.yaml", overrides)
    return training.run(config, run_dir=folder / "run"), config


def test_a_saved_adapter_gives_the_same_figures_again(trained):
    run, config = trained
    again = training.evaluate(config, run.adapter)
    assert again["val/loss"] == pytest.approx(run.metrics["val/loss"], abs=1e-6)
    frozen = training.evaluate(config, None)
    assert frozen["val/loss"] > again["val/loss"]


def test_what_trains_is_the_base_and_never_its_architecture_block():
    """The block is for counting: a model made of it has random weights."""
    given = {"class": "transformers:LlamaForCausalLM", "config": {"hidden_size": 16, "num_hidden_layers": 1}}
    place = str(small.home() / "base")
    assert CommentRecipe(place, architecture=given).build().config._name_or_path == place


def test_training_goes_on_from_another_adapter(trained, tmp_path):
    run, config = trained
    config = training.load_config(
        run.folder / "config.yaml",
        [
            "--recipe.init_adapter",
            str(run.adapter),
            "--trainer.max_steps",
            "1",
            "--trainer.lr",
            "1e-12",  # a step that changes nothing
            "--trainer.val_every",
            "1",
        ],
    )
    again = training.run(config, run_dir=tmp_path / "run")
    assert again.metrics["val/loss"] == pytest.approx(run.metrics["val/loss"], abs=1e-5)


def test_the_data_say_what_was_cut(tmp_path, capsys):
    data = CodeReviewData(train=str(separable(tmp_path, 4)), val=None, max_length=80)
    data.bind(lambda: (words(), LLAMA_REVIEWER, "necessity"))
    data.setup()
    assert "train: 4 of 4 samples were" in capsys.readouterr().err


COUNTS = {
    "llama_reviewer_lora": 8_388_608,
    "llama_reviewer_lora_r8": 4_194_304,
    "llama_reviewer_prefix": 1_229_760,
    "llama_reviewer_prefix_scalar": 1_228_830,
}


@pytest.mark.parametrize(("name", "trainable"), COUNTS.items())
def test_the_published_counts_on_the_meta_device(name, trainable, capsys):
    file = paths.assets() / f"configs/code_review/{name}.yaml"
    assert main(["code_review", "count", "--config", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trainable"] == trainable and found["total"] == 6_738_415_616 + trainable


def test_every_line_of_a_configuration_is_commented():
    for file in sorted((paths.assets() / "configs/code_review").glob("*.yaml")):
        for line in file.read_text().splitlines():
            assert not line.strip() or "#" in line or line.rstrip().endswith(":"), f"{file.name}: {line}"
        assert yaml.safe_load(file.read_text())["domain"] == "code_review"


def test_at_the_start_an_adapter_changes_nothing():
    """LoRA with B at 0 and a prefix with its gates at 0 give the base's own numbers, to the bit."""
    from transformers import LlamaForCausalLM

    from suite import adapters

    ids = torch.arange(40)[None]
    for spec in (
        {"method": "lora", "targets": ["q_proj", "v_proj"], "r": 4},
        {"method": "llama_adapter", "adapter_len": 3, "adapter_layers": 2},
    ):
        base = LlamaForCausalLM.from_pretrained(small.home() / "base").eval()
        before = base(ids).logits.detach()
        model = adapters.attach(base, spec).eval()
        assert torch.equal(model(ids).logits, before), spec["method"]
